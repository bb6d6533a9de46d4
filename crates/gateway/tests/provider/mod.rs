//! The OpenID provider of the tests: npm's `oidc-provider`, which the OpenID Foundation has certified, as a process.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::{NamedTempFile, TempDir};
use trunkline_testbed::{Process, free_port, http_get, project_root};

const PACKAGE: &str = "oidc-provider";
/// Pinned: the tests depend on its pages for login and consent.
const VERSION: &str = "9.13.3";
const SCRIPT: &str = include_str!("provider.mjs");
/// Maximum time until the provider answers; generous, because the machine may be busy.
const START_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const CLIENT_SECRET: &str = "a-secret-between-gateway-and-provider";

/// A provider that knows one site as its client. It accepts any name and password; `ann` has the display name "Ann Example".
/// Ends on drop.
pub(crate) struct OidcProvider {
    pub(crate) process: Process,
    pub(crate) port: u16,
    secret: NamedTempFile,
}

impl OidcProvider {
    /// Starts a provider for the site at a port of this machine.
    pub(crate) fn start(site: u16) -> Self {
        let port = free_port().unwrap();
        let mut secret = NamedTempFile::new().unwrap();
        writeln!(secret, "{CLIENT_SECRET}").unwrap();
        let origin = format!("http://127.0.0.1:{site}");
        let settings = json!({ "port": port, "names": { "ann": "Ann Example" }, "clients": [{
            "client_id": "chat",
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [format!("{origin}/login/oidc/callback")],
            "post_logout_redirect_uris": [format!("{origin}/")],
        }] });
        let mut command = Command::new("node");
        // A script from the command line finds packages from the current folder on.
        command.current_dir(installed()).args(["--input-type=module", "--eval", SCRIPT]).arg(settings.to_string());
        let process = Process::spawn(PACKAGE, command, None)
            .unwrap_or_else(|e| panic!("node is missing ({e}), which runs {PACKAGE}: `sudo apt install nodejs npm`"));
        let mut provider = Self { process, port, secret };
        let deadline = Instant::now() + START_TIMEOUT;
        while http_get(port, "/.well-known/openid-configuration", START_TIMEOUT).is_err() {
            assert!(provider.process.ended().is_none(), "{PACKAGE} ended:{}", provider.process.last_lines());
            assert!(Instant::now() < deadline, "{PACKAGE} does not answer:{}", provider.process.last_lines());
            std::thread::sleep(Duration::from_millis(50));
        }
        provider
    }

    /// The flags of gateways that let users log in here.
    pub(crate) fn flags(&self) -> Vec<String> {
        flags(self.port, self.secret.path())
    }
}

/// The flags of a gateway whose provider listens on `port`.
pub(crate) fn flags(port: u16, secret: &Path) -> Vec<String> {
    let issuer = format!("http://127.0.0.1:{port}");
    let secret = secret.to_str().unwrap().to_owned();
    let flags = ["--oidc-issuer", &issuer, "--oidc-client-id", "chat", "--oidc-name", "Example", "--oidc-secret-file"];
    flags.into_iter().map(str::to_owned).chain([secret]).collect()
}

/// The folder in which the package is installed; installed once.
fn installed() -> PathBuf {
    let tools = project_root().join("target/tools");
    let folder = tools.join(format!("{PACKAGE}-{VERSION}"));
    if folder.join("node_modules").join(PACKAGE).exists() {
        return folder;
    }
    fs::create_dir_all(&tools).unwrap();
    // Installed beside its place and then moved: tests that run at the same time see the whole package or none.
    let fresh = TempDir::new_in(&tools).unwrap();
    let package = format!("{PACKAGE}@{VERSION}");
    let npm = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(fresh.path())
        .arg(&package)
        .output()
        .unwrap_or_else(|e| panic!("npm is missing ({e}), which installs {package}: `sudo apt install nodejs npm`"));
    assert!(npm.status.success(), "`npm install {package}`: {}", String::from_utf8_lossy(&npm.stderr));
    if let Err(e) = fs::rename(fresh.path(), &folder) {
        assert!(folder.exists(), "{e}"); // another test has moved it there first
    }
    folder
}
