//! Embeds the files of `web/` under content-hashed names, with the feature `scripts`: see `src/assets/bundle.rs`.

#[cfg(feature = "scripts")]
#[path = "src/assets/bundle.rs"]
mod bundle;

#[cfg(not(feature = "scripts"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "scripts")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{env, fmt::Write as _, fs, path::Path};

    let web = Path::new("../../web");
    println!("cargo::rerun-if-changed={}", web.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(web)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_file() && bundle::content_type(&name).is_some() {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    let out = env::var("OUT_DIR")?;
    let mut table = String::new();
    let mut hrefs = String::new();
    for asset in bundle::bundle(files)? {
        let path = Path::new(&out).join(&asset.file);
        fs::write(&path, &asset.text)?;
        writeln!(
            table,
            "    Asset {{ name: {:?}, file: {:?}, content_type: {:?}, bytes: include_bytes!({path:?}) }},",
            asset.name, asset.file, asset.content_type
        )?;
        let constant = asset.name.replace(['.', '-'], "_").to_uppercase();
        writeln!(
            hrefs,
            "/// Path of `{}`.\npub(crate) const {constant}: &str = \"/assets/{}\";",
            asset.name, asset.file
        )?;
    }
    let source = format!("{hrefs}\n/// All files.\npub(crate) static ALL: &[Asset] = &[\n{table}];\n");
    fs::write(Path::new(&out).join("assets.rs"), source)?;
    Ok(())
}
