//! `trunkline serve` as a child process.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{LineSink, OutputStream, Process, ProcessEnd, Result, process::poll};

/// Maximum time until the gateway listens. A debug build on a busy machine is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Beginning of the line that the gateway prints when it listens.
const LISTENING_PREFIX: &str = "listening on ";

/// A running `trunkline serve`. Killed on drop.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    url: Arc<OnceLock<String>>,
    admin: Option<u16>,
}

impl Gateway {
    /// Settings of a new gateway. `binary` is the path of `trunkline`; in the gateway's own integration tests that is
    /// `env!("CARGO_BIN_EXE_trunkline")`.
    pub fn builder(binary: impl Into<PathBuf>) -> GatewayCommand {
        GatewayCommand {
            binary: binary.into(),
            name: "gateway".to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            listen: 0,
            admin: None,
            log: None,
        }
    }

    /// Its URL, or `None` before it listens.
    pub fn url(&self) -> Option<&str> {
        self.url.get().map(String::as_str)
    }

    /// The port of that URL.
    pub fn port(&self) -> Option<u16> {
        self.url()?.rsplit_once(':')?.1.trim_end_matches('/').parse().ok()
    }

    /// The URL of its admin listener, or `None` without one.
    pub fn admin_url(&self) -> Option<String> {
        self.admin.map(|port| format!("http://127.0.0.1:{port}"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends SIGKILL and waits for the exit.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`](crate::TestbedError::Io) if the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Sends SIGTERM, which starts the drain. Returns at once.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn terminate(&mut self) -> Result<()> {
        self.process.terminate()
    }

    /// Sends SIGSTOP. Returns when all threads have stopped.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// How the process ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ProcessEnd> {
        self.process.ended()
    }

    /// Waits at most `timeout` for the exit. Returns `None` if the process still runs.
    pub fn wait(&mut self, timeout: Duration) -> Option<ProcessEnd> {
        self.process.wait(timeout)
    }

    /// The last output lines, for an error message.
    pub fn last_lines(&self) -> String {
        self.process.last_lines()
    }

    /// Waits until the gateway listens, and returns its URL.
    ///
    /// # Errors
    /// Returns [`TestbedError::Start`](crate::TestbedError::Start) if it exits first, or after 30 s.
    pub fn wait_listening(&mut self) -> Result<&str> {
        let Self { process, url, .. } = self;
        let listens = poll(START_TIMEOUT, || match (url.get(), process.ended()) {
            (Some(_), _) => Ok(Some(())),
            (None, Some(ended)) => Err(process.start_error(ended.to_string())),
            (None, None) => Ok(None),
        })?;
        match url.get().filter(|_| listens.is_some()) {
            Some(url) => Ok(url),
            None => Err(process
                .start_error(format!("did not print `{LISTENING_PREFIX}…` within {} s", START_TIMEOUT.as_secs()))),
        }
    }
}

/// Settings of a new gateway; see [`Gateway::builder`].
#[derive(Clone)]
pub struct GatewayCommand {
    binary: PathBuf,
    name: String,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    listen: u16,
    admin: Option<u16>,
    log: Option<LineSink>,
}

impl GatewayCommand {
    /// Sets `--instance`.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        let name = self.name.clone();
        self.arg("--instance").arg(name)
    }

    /// Sets `--redis`.
    #[must_use]
    pub fn redis(self, url: impl AsRef<OsStr>) -> Self {
        self.arg("--redis").arg(url)
    }

    /// Sets the port of `--listen` on loopback. Without this the gateway chooses a free port.
    #[must_use]
    pub fn listen(mut self, port: u16) -> Self {
        self.listen = port;
        self
    }

    /// Sets the port of `--admin-listen` on loopback. Without this there is no admin listener.
    #[must_use]
    pub fn admin_listen(mut self, port: u16) -> Self {
        self.admin = Some(port);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sends the output lines to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Starts the gateway and returns at once.
    ///
    /// # Errors
    /// Returns [`TestbedError::File`](crate::TestbedError::File) if the program cannot be executed.
    pub fn spawn(self) -> Result<Gateway> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--listen").arg(format!("127.0.0.1:{}", self.listen));
        if let Some(port) = self.admin {
            command.arg("--admin-listen").arg(format!("127.0.0.1:{port}"));
        }
        // A secret in the shell, exported for Compose for example, would contradict `--secret-file`.
        command.args(self.args).env_remove("TRUNKLINE_SECRET").envs(self.env);
        let url = Arc::new(OnceLock::new());
        let (sink_url, log) = (Arc::clone(&url), self.log);
        let sink: LineSink = Arc::new(move |line| {
            if line.stream == OutputStream::Out
                && let Some(url) = line.text.strip_prefix(LISTENING_PREFIX)
            {
                let _ = sink_url.set(url.trim().to_owned());
            }
            if let Some(log) = &log {
                log(line);
            }
        });
        Ok(Gateway { process: Process::spawn(self.name, command, Some(sink))?, url, admin: self.admin })
    }

    /// Starts the gateway and returns when it listens.
    ///
    /// # Errors
    /// See [`Self::spawn`] and [`Gateway::wait_listening`].
    pub fn start(self) -> Result<Gateway> {
        let mut gateway = self.spawn()?;
        gateway.wait_listening()?;
        Ok(gateway)
    }
}
