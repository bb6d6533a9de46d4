//! Settings of a new Redis.

use std::path::PathBuf;

use super::{AppendFsync, Redis, RedisProcess, RedisServer};
use crate::{LineSink, NoProgress, Program, Progress, Result, TestbedError, Tool, Toolbox, ports, resp::RedisAddress};

/// How often another port is tried when somebody else was faster.
const ATTEMPTS: usize = 5;

/// Settings of a new Redis; see [`Redis::builder`].
#[derive(Clone, Default)]
pub struct RedisBuilder {
    pub(super) fsync: Option<AppendFsync>,
    pub(super) password: Option<String>,
    pub(super) replica_of: Option<(u16, Option<String>)>,
    pub(super) config: Vec<(String, String)>,
    pub(super) folder: Option<PathBuf>,
    pub(super) log: Option<LineSink>,
    port: Option<u16>,
    program: Option<Program>,
    toolbox: Option<Toolbox>,
}

impl RedisBuilder {
    /// Keeps its data in an append-only file. Without this nothing outlives the process.
    #[must_use]
    pub fn append_only(mut self, fsync: AppendFsync) -> Self {
        self.fsync = Some(fsync);
        self
    }

    /// Clients must name this password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Listens here, or fails with [`TestbedError::PortTaken`]. Else a free port is chosen.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Follows another server.
    #[must_use]
    pub fn replica_of(mut self, master: &Redis) -> Self {
        self.replica_of = Some((master.port(), master.address.password.clone()));
        self
    }

    /// One more line of configuration: `config("maxmemory", "20mb")`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// Keeps its data in this folder, which is emptied now and left there on drop. Else in a temporary one.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Where its log lines go.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Runs this program instead of looking for one.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Looks for its program here instead of in [`Toolbox::project`].
    #[must_use]
    pub fn toolbox(mut self, toolbox: Toolbox) -> Self {
        self.toolbox = Some(toolbox);
        self
    }

    /// Starts it, and returns when it answers.
    pub fn start(self) -> Result<Redis> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], telling what it does.
    pub fn start_with(mut self, progress: &dyn Progress) -> Result<Redis> {
        let program = match self.program.take() {
            Some(program) => Ok(program),
            None => self.toolbox.take().unwrap_or_else(Toolbox::project).get(Tool::Redis, progress),
        };
        #[cfg(feature = "testcontainers")]
        if let Err(not_found @ TestbedError::NotFound { .. }) = program {
            progress.step("starting Redis in Docker (the first time its image is pulled)");
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            return super::container::start(self, port).map_err(|e| not_found.but_also("Docker", e));
        }
        let program = program?;
        progress.step("starting Redis");
        let mut attempts = if self.port.is_some() { 1 } else { ATTEMPTS };
        loop {
            attempts -= 1;
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            let address = RedisAddress::local(port, self.password.clone());
            match RedisProcess::start(self.clone(), program.clone(), &address) {
                Ok(own) => return Ok(Redis { address, server: RedisServer::Process(Box::new(own)) }),
                Err(TestbedError::PortTaken(_)) if attempts > 0 => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// What `redis-server` is started with; data goes to its working folder.
    pub(super) fn arguments(&self, bind: &str, port: u16) -> Vec<String> {
        let port = port.to_string();
        let mut args = vec!["--port", &port, "--bind", bind, "--daemonize", "no", "--dir", "."];
        // No snapshots: what a test kills must not come back by chance.
        args.extend(["--save", ""]);
        // A replica waits for no others: there are none.
        args.extend(["--repl-diskless-sync-delay", "0"]);
        match self.fsync {
            None => args.extend(["--appendonly", "no"]),
            Some(AppendFsync::EverySec) => args.extend(["--appendonly", "yes", "--appendfsync", "everysec"]),
            Some(AppendFsync::Always) => args.extend(["--appendonly", "yes", "--appendfsync", "always"]),
        }
        if let Some(password) = &self.password {
            args.extend(["--requirepass", password]);
        }
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        if let Some((master, password)) = &self.replica_of {
            args.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.to_string()]);
            if let Some(password) = password {
                args.extend(["--masterauth".to_owned(), password.clone()]);
            }
        }
        for (name, value) in &self.config {
            args.push(format!("--{name}"));
            // As in a configuration file: words are arguments, and no word is an empty one.
            args.extend(value.split(' ').map(str::to_owned));
        }
        args
    }
}

impl std::fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBuilder").field("port", &self.port).field("fsync", &self.fsync).finish_non_exhaustive()
    }
}
