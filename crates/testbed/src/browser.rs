//! Chromium, controlled through WebDriver.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    IoContext, LineSink, NoProgress, Process, Progress, Result, TestbedError, apt, http_get, ports, process::poll,
    tools::find_on,
};

/// Maximum time until the driver answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const DRIVERS: [&str; 2] = ["chromedriver", "chromium-driver"];

/// Paths of a browser and its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser {
    /// Chromium, or Chrome.
    pub browser: PathBuf,
    /// `chromedriver` of the same version.
    pub driver: PathBuf,
}

impl Browser {
    /// Finds browser and driver on `PATH`. If they are missing and this process is root on Debian or Ubuntu (a container
    /// or a build machine), installs them.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] with the missing programs and the commands that install them, and
    /// [`TestbedError::Cancelled`] if `progress` asks to stop.
    pub fn get(progress: &dyn Progress) -> Result<Self> {
        let missing = match Self::installed() {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        let mut tried = format!("Missing on PATH: {missing}.\n");
        if rustix::process::geteuid().is_root() && apt::is_available() {
            match apt::install(&["chromium", "chromium-driver"], progress) {
                Ok(()) => return Self::installed().map_err(|_| not_found(tried)),
                Err(TestbedError::Cancelled) => return Err(TestbedError::Cancelled),
                Err(e) => tried += &format!("{e}\n"),
            }
        }
        Err(not_found(tried))
    }

    fn installed() -> Result<Self, &'static str> {
        let path = env::var_os("PATH").unwrap_or_default();
        let find = |names: &[&str]| names.iter().find_map(|name| find_on(&path, name));
        match (find(&BROWSERS), find(&DRIVERS)) {
            (Some(browser), Some(driver)) => Ok(Self { browser, driver }),
            (None, Some(_)) => Err("chromium"),
            (Some(_), None) => Err("chromedriver"),
            (None, None) => Err("chromium and chromedriver"),
        }
    }
}

fn not_found(tried: String) -> TestbedError {
    let install = "  sudo apt install chromium chromium-driver\n  sudo dnf install chromium chromedriver\n  \
                   brew install --cask chromium chromedriver";
    TestbedError::NotFound { what: "A browser for the tests", tried, install: install.to_owned() }
}

/// A running `chromedriver`. The driver and the browsers that it opened end on drop.
#[derive(Debug)]
pub struct ChromeDriver {
    process: Process,
    port: u16,
    browser: PathBuf,
    /// Profiles and other files of the browsers.
    folder: TempDir,
}

impl ChromeDriver {
    /// Finds or installs browser and driver, and starts the driver.
    ///
    /// # Errors
    /// See [`Browser::get`]. Returns [`TestbedError::Start`] if the driver does not answer within 30 s.
    pub fn start() -> Result<Self> {
        Self::start_with(&NoProgress, None)
    }

    /// As [`Self::start`], with reports to `progress` and the driver's output to `log`.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_with(progress: &dyn Progress, log: Option<LineSink>) -> Result<Self> {
        let Browser { browser, driver } = Browser::get(progress)?;
        let folder = tempfile::Builder::new().prefix("testbed-browser-").tempdir().context("cannot create a folder")?;
        let port = ports::free_port()?;
        let mut command = Command::new(driver);
        command.arg(format!("--port={port}")).env("TMPDIR", folder.path()).env("HOME", folder.path());
        let mut process = Process::spawn("chromedriver", command, log)?;
        let ready = poll(START_TIMEOUT, || match process.ended() {
            Some(ended) => Err(process.start_error(ended.to_string())),
            None => Ok(http_get(port, "/status", Duration::from_secs(1)).ok().filter(|answer| answer.status == 200)),
        })?;
        match ready {
            Some(_) => Ok(Self { process, port, browser, folder }),
            None => Err(process.start_error(format!("not ready after {} s", START_TIMEOUT.as_secs()))),
        }
    }

    /// The URL for WebDriver clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of that URL.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the driver.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Folder of the browsers' profiles. Removed on drop.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Capabilities of a headless session, as the JSON value of `alwaysMatch`. Each session gets a new, empty profile.
    pub fn capabilities(&self) -> String {
        let args: Vec<_> = browser_args().map(|arg| format!("\"{arg}\"")).collect();
        let binary = self.browser.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            r#"{{"browserName":"chrome","goog:loggingPrefs":{{"browser":"ALL"}},"goog:chromeOptions":{{"binary":"{binary}","args":[{}]}}}}"#,
            args.join(",")
        )
    }
}

fn browser_args() -> impl Iterator<Item = &'static str> {
    // No connections to other hosts, no desktop, little shared memory.
    let always = [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,800",
    ];
    // Chromium does not start its sandbox as root.
    always.into_iter().chain(rustix::process::geteuid().is_root().then_some("--no-sandbox"))
}
