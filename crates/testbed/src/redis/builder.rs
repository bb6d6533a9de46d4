//! Settings of a new Redis.

use std::path::PathBuf;

use super::{AppendFsync, Redis, RedisProcess, RedisServer};
use crate::{LineSink, NoProgress, Program, Progress, Result, TlsFiles, Tool, Toolbox, ports, resp::RedisAddress};

/// Settings of a new Redis; see [`Redis::builder`].
#[derive(Clone, Default)]
pub struct RedisBuilder {
    pub(super) fsync: Option<AppendFsync>,
    pub(super) password: Option<String>,
    pub(super) replica_of: Option<(u16, Option<String>)>,
    pub(super) config: Vec<(String, String)>,
    pub(super) folder: Option<PathBuf>,
    pub(super) log: Option<LineSink>,
    pub(super) tls: Option<(TlsFiles, bool)>,
    port: Option<u16>,
    program: Option<Program>,
    toolbox: Option<Toolbox>,
}

impl RedisBuilder {
    /// Keeps the data in an append-only file. Without this, all data is lost when the process ends.
    #[must_use]
    pub fn append_only(mut self, fsync: AppendFsync) -> Self {
        self.fsync = Some(fsync);
        self
    }

    /// Requires this password from clients.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets the port. If it is in use, [`Self::start`] returns [`PortTaken`](crate::TestbedError::PortTaken). Default: a free
    /// port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Replicates another server.
    #[must_use]
    pub fn replica_of(mut self, master: &Redis) -> Self {
        self.replica_of = Some((master.port(), master.address.password.clone()));
        self
    }

    /// Adds a configuration directive, as in `config("maxmemory", "20mb")`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// Keeps the data in this folder, which is emptied now and remains on drop. Default: a temporary folder.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sends the log lines to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Listens with TLS only. Clients may present a certificate, and need none. [`Redis::cli`] uses a Unix socket then.
    #[must_use]
    pub fn tls(mut self, files: &TlsFiles) -> Self {
        self.tls = Some((files.clone(), false));
        self
    }

    /// As [`Self::tls`], and refuses clients without a certificate of the CA.
    #[must_use]
    pub fn mutual_tls(mut self, files: &TlsFiles) -> Self {
        self.tls = Some((files.clone(), true));
        self
    }

    /// Runs this program. Default: the program from [`Toolbox::project`].
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// Takes the program from this toolbox. Default: [`Toolbox::project`].
    #[must_use]
    pub fn toolbox(mut self, toolbox: Toolbox) -> Self {
        self.toolbox = Some(toolbox);
        self
    }

    /// Adds the directives of `other`, and takes its password, persistence, folder and log.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.config.extend(other.config.iter().cloned());
        Self { config: self.config, ..other.clone() }
    }

    /// Starts the server and returns when it answers `PING`.
    ///
    /// # Errors
    /// Returns [`NotFound`](crate::TestbedError::NotFound) if no program is found, [`PortTaken`](crate::TestbedError::PortTaken)
    /// if the given port is in use, and [`Start`](crate::TestbedError::Start) if the server exits or does not answer within
    /// 30 s.
    pub fn start(self) -> Result<Redis> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], with reports to `progress`.
    ///
    /// # Errors
    /// See [`Self::start`]; also [`Cancelled`](crate::TestbedError::Cancelled) if `progress` asks to stop.
    pub fn start_with(mut self, progress: &dyn Progress) -> Result<Redis> {
        let program = match self.program.take() {
            Some(program) => Ok(program),
            None => self.toolbox.take().unwrap_or_else(Toolbox::project).get(Tool::Redis, progress),
        };
        #[cfg(feature = "testcontainers")]
        if let Err(not_found @ crate::TestbedError::NotFound { .. }) = program {
            progress.step("starting Redis in Docker (the first start pulls its image)");
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            return super::container::start(self, port).map_err(|e| not_found.but_also("Docker", e));
        }
        let program = program?;
        progress.step("starting Redis");
        let own = ports::start_on(self.port, |port| {
            let address = RedisAddress::local(port, self.password.clone());
            RedisProcess::start(self.clone(), program.clone(), &address)
        })?;
        Ok(Redis { address: own.address().clone(), server: RedisServer::Process(Box::new(own)) })
    }

    /// The arguments of `redis-server`. Data goes to the working folder.
    pub(super) fn arguments(&self, bind: &str, port_number: u16) -> Vec<String> {
        let port = port_number.to_string();
        let mut args = vec!["--port", &port, "--bind", bind, "--daemonize", "no", "--dir", "."];
        // No snapshots: data that is not in the append-only file must not survive a kill.
        args.extend(["--save", ""]);
        // The master starts the transfer to a replica at once. The default waits 5 s for more replicas.
        args.extend(["--repl-diskless-sync-delay", "0"]);
        match self.fsync {
            None => args.extend(["--appendonly", "no"]),
            Some(AppendFsync::EverySec) => args.extend(["--appendonly", "yes", "--appendfsync", "everysec"]),
            Some(AppendFsync::Always) => args.extend(["--appendonly", "yes", "--appendfsync", "always"]),
        }
        if let Some(password) = &self.password {
            // The second is for a node of a cluster, which becomes a replica of a node with the same password.
            args.extend(["--requirepass", password, "--masterauth", password]);
        }
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        if let Some((master, password)) = &self.replica_of {
            args.extend(["--replicaof".to_owned(), "127.0.0.1".to_owned(), master.to_string()]);
            if let Some(password) = password {
                args.extend(["--masterauth".to_owned(), password.clone()]);
            }
        }
        if let Some((files, mutual)) = &self.tls {
            for (name, value) in files.directives(port_number, *mutual) {
                args.extend([format!("--{name}"), value]);
            }
        }
        for (name, value) in &self.config {
            args.push(format!("--{name}"));
            // As in redis.conf, spaces separate arguments, and an empty value is one empty argument.
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
