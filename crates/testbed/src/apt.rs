//! Debian packages without root privileges and without changes to the system: package lists and packages are downloaded
//! to private folders, and packages are unpacked instead of installed.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File, TryLockError},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use crate::{IoContext, Progress, Result, TestbedError, tools::find_on};

/// Maximum age of the package lists. Younger lists are not downloaded again.
const MAX_LIST_AGE: Duration = Duration::from_secs(60 * 60);

/// Whether the tools of Debian, Ubuntu and their derivatives are on `PATH`.
pub(crate) fn is_available() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    ["apt-get", "dpkg-deb", "dpkg-query"].iter().all(|name| find_on(&path, name).is_some())
}

/// Unpacks `packages`, and the libraries that they need and the system lacks, to `target`. Does nothing if `done` returns
/// true once the lock is held: another process was faster. `target` appears complete or not at all.
pub(crate) fn unpack(
    tools: &Path,
    target: &Path,
    packages: &[&str],
    progress: &dyn Progress,
    done: impl Fn() -> bool,
) -> Result<()> {
    fs::create_dir_all(tools).on_path("cannot create", tools)?;
    let _lock = lock(&tools.join("lock"), progress)?;
    if done() {
        return Ok(());
    }
    let apt = PrivateApt::new(tools.join("apt"), progress)?;
    apt.update()?;
    let staging = tempfile::tempdir_in(tools).on_path("cannot create a folder in", tools)?;
    let root = staging.path().join("root");
    for package in apt.download_with_libraries(packages, staging.path())? {
        apt.run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root))?;
    }
    if target.exists() {
        // An earlier copy that does not run.
        fs::remove_dir_all(target).on_path("cannot remove", target)?;
    }
    fs::rename(&root, target).on_path("cannot create", target)
}

/// Installs packages for the whole system. Needs root.
pub(crate) fn install(packages: &[&str], progress: &dyn Progress) -> Result<()> {
    progress.step(&format!("installing {} (apt-get)", packages.join(" ")));
    run(Command::new("apt-get").arg("update"), progress)?;
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run(&mut command, progress).map(drop)
}

/// Waits for the lock. Dropping the file releases it.
fn lock(path: &Path, progress: &dyn Progress) -> Result<File> {
    let file = File::create(path).on_path("cannot create", path)?;
    let mut reported = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if progress.cancelled() => return Err(TestbedError::Cancelled),
            Err(TryLockError::WouldBlock) => {
                if !reported {
                    progress.step("waiting for another process that unpacks programs");
                    reported = true;
                }
                thread::sleep(Duration::from_millis(100));
            }
            Err(TryLockError::Error(e)) => return Err(e).on_path("cannot lock", path),
        }
    }
}

/// `apt-get` with lists and caches in a private folder.
struct PrivateApt<'a> {
    folder: PathBuf,
    progress: &'a dyn Progress,
}

impl<'a> PrivateApt<'a> {
    fn new(folder: PathBuf, progress: &'a dyn Progress) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).on_path("cannot create", &part)?;
        }
        // apt reads this file after the system's settings, whose hooks would clean the system's cache or notify the desktop.
        let settings = format!(
            "Dir::State::Lists \"{0}/lists\";\n\
             Dir::Cache \"{0}/cache\";\n\
             #clear APT::Update::Pre-Invoke;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::Retries \"3\";\n\
             APT::Sandbox::User \"root\";\n",
            folder.display()
        );
        let file = folder.join("apt.conf");
        fs::write(&file, settings).on_path("cannot write", &file)?;
        Ok(Self { folder, progress })
    }

    /// Downloads the package lists, unless they are fresh.
    fn update(&self) -> Result<()> {
        let stamp = self.folder.join("updated");
        let age =
            fs::metadata(&stamp).and_then(|m| m.modified()).ok().and_then(|t| SystemTime::now().duration_since(t).ok());
        if age.is_some_and(|age| age < MAX_LIST_AGE) {
            return Ok(());
        }
        self.progress.step("downloading package lists (apt-get update in a private folder)");
        self.run(self.apt_get().arg("update"))?;
        fs::write(&stamp, "").on_path("cannot write", &stamp)
    }

    /// Downloads packages and, recursively, the libraries that they depend on and that are not installed.
    fn download_with_libraries(&self, packages: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
        let mut wanted: BTreeSet<String> = packages.iter().map(|&name| name.to_owned()).collect();
        let mut known = wanted.clone();
        let mut all = Vec::new();
        for round in 0.. {
            if wanted.is_empty() {
                break;
            }
            self.progress.step(&format!("downloading {}", Vec::from_iter(wanted.iter().map(String::as_str)).join(" ")));
            let folder = folder.join(round.to_string());
            fs::create_dir(&folder).on_path("cannot create", &folder)?;
            self.run(self.apt_get().arg("download").args(&wanted).current_dir(&folder))?;
            let entries = fs::read_dir(&folder).on_path("cannot read", &folder)?;
            let new: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            wanted.clear();
            for package in &new {
                let depends = self.run(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"))?;
                for library in libraries(&depends) {
                    if known.insert(library.to_owned()) && !self.is_installed(library) {
                        wanted.insert(library.to_owned());
                    }
                }
            }
            all.extend(new);
        }
        Ok(all)
    }

    fn is_installed(&self, package: &str) -> bool {
        let status =
            self.run(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status} ", package]));
        status.is_ok_and(|status| status.split_whitespace().any(|word| word == "installed"))
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-c").arg(self.folder.join("apt.conf")).arg("--quiet");
        command
    }

    fn run(&self, command: &mut Command) -> Result<String> {
        run(command, self.progress)
    }
}

/// The libraries in a `Depends` field. Other packages are left out, because an unpacked server does not need `adduser` and
/// the like. Of alternatives, the first is used.
fn libraries(depends: &str) -> impl Iterator<Item = &str> {
    let name = |entry: &'_ str| entry.trim_start().find([' ', '(', ':', '|', '\n']);
    depends
        .split(',')
        .map(move |entry| {
            let entry = entry.trim();
            &entry[..name(entry).unwrap_or(entry.len())]
        })
        .filter(|name| name.starts_with("lib"))
}

/// Runs a program until it exits and returns its standard output, or an error with the end of its output.
fn run(command: &mut Command, progress: &dyn Progress) -> Result<String> {
    let shown = || format!("{command:?}").replace('"', "");
    let name = shown();
    command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().on_path("cannot run", command.get_program().as_ref())?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = (thread::spawn(move || read(out)), thread::spawn(move || read(err)));
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a process")? {
            break status;
        }
        if progress.cancelled() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(TestbedError::Cancelled);
        }
        thread::sleep(Duration::from_millis(20));
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if status.success() {
        return Ok(out);
    }
    let text = if err.trim().is_empty() { out } else { err };
    let last: Vec<_> = text.trim().lines().rev().take(5).collect();
    let detail = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(TestbedError::Command { command: name, detail })
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_field_is_reduced_to_libraries() {
        let field = "redis-tools (= 5:7.0), adduser, libc6 (>= 2.34), libssl3:any, libfoo1|libbar2, liblzf1\n";
        assert_eq!(libraries(field).collect::<Vec<_>>(), ["libc6", "libssl3", "libfoo1", "liblzf1"]);
    }
}
