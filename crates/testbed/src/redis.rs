//! Redis servers.

mod builder;
#[cfg(feature = "testcontainers")]
mod container;
mod process;

use std::env;

pub use self::builder::RedisBuilder;
use self::process::RedisProcess;
use crate::{Result, ServerCertificate, TestbedError, TlsFiles, resp::RedisAddress};

/// When Redis writes its append-only file to disk (`appendfsync`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFsync {
    /// Once per second, as in production.
    EverySec,
    /// Before each reply.
    Always,
}

/// A running Redis. It ends on drop. Its data is removed on drop, unless a folder was given.
#[derive(Debug)]
pub struct Redis {
    address: RedisAddress,
    server: RedisServer,
}

#[derive(Debug)]
enum RedisServer {
    /// Given by URL, and therefore not controlled by this process.
    Given(String),
    Process(Box<RedisProcess>),
    #[cfg(feature = "testcontainers")]
    Container(Box<container::RedisContainer>),
}

impl Redis {
    /// A Redis for a test: the server at `TRUNKLINE_TEST_REDIS`, or else a new, empty server without persistence.
    ///
    /// All tests share the server at `TRUNKLINE_TEST_REDIS`, and it is not emptied, so each test needs its own keys. A test
    /// that stops or changes its Redis must use [`Redis::builder`], which always starts a new server.
    ///
    /// # Errors
    /// See [`Self::given`] and [`RedisBuilder::start`].
    pub fn start() -> Result<Self> {
        match env::var("TRUNKLINE_TEST_REDIS") {
            Ok(url) if !url.is_empty() => Self::given(&url),
            _ => Self::builder().start(),
        }
    }

    /// A server that this process does not control.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the URL cannot be parsed. The server is not contacted.
    pub fn given(url: &str) -> Result<Self> {
        let address = RedisAddress::parse(url).ok_or_else(|| {
            TestbedError::Reply(format!("{url} is no Redis URL: redis://[[user]:password@]host[:port]"))
        })?;
        Ok(Self { address, server: RedisServer::Given(url.to_owned()) })
    }

    /// Settings of a new server.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The URL for clients: `redis://127.0.0.1:PORT`, with the password if there is one, or `rediss://…` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.address.socket.is_some() { "rediss" } else { "redis" };
        match (&self.server, &self.address.password) {
            (RedisServer::Given(url), _) => url.clone(),
            (_, Some(password)) => format!("{scheme}://:{password}@127.0.0.1:{}", self.port()),
            (_, None) => format!("{scheme}://127.0.0.1:{}", self.port()),
        }
    }

    /// The port of that URL. It stays the same after a restart.
    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// The password of clients and replicas.
    pub(crate) fn password(&self) -> Option<&str> {
        self.address.password.as_deref()
    }

    /// Process id, or `None` if the server was given by URL or runs in Docker.
    pub fn pid(&self) -> Option<u32> {
        match &self.server {
            RedisServer::Process(own) => Some(own.pid()),
            _ => None,
        }
    }

    /// Whether the process runs. Always true if the server was given by URL.
    pub fn is_running(&mut self) -> bool {
        match &mut self.server {
            RedisServer::Given(_) => true,
            RedisServer::Process(own) => own.process().ended().is_none(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().is_running(),
        }
    }

    /// Sends one command on a new connection and returns the reply as `redis-cli` prints it to a pipe: one line per
    /// element, nothing for nil.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the server does not answer within 5 s or answers with an error.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        self.address.call(args).map(|reply| reply.to_string())
    }

    /// Presents another certificate on new connections. A restart returns to the valid one.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if the server does not speak TLS.
    pub fn present(&self, tls: &TlsFiles, certificate: ServerCertificate) -> Result<()> {
        let (certificate, key) = tls.server(certificate);
        let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
        self.cli(&["CONFIG", "SET", "tls-cert-file", &certificate, "tls-key-file", &key]).map(drop)
    }

    /// Sends SIGKILL. Data that was not written to disk is lost.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotOurs`] if the server was given by URL.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("killed")),
            RedisServer::Process(own) => own.process().kill(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().kill(),
        }
    }

    /// Sends SIGSTOP: connections stay open and receive no answer.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn pause(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("paused")),
            RedisServer::Process(own) => own.process().pause(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().pause(),
        }
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn resume(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("resumed")),
            RedisServer::Process(own) => own.process().resume(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().resume(),
        }
    }

    /// Stops the server if it runs, and starts it again on the same port. Its data remains if it is append-only.
    ///
    /// # Errors
    /// See [`Self::kill`] and [`RedisBuilder::start`].
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("restarted")),
            RedisServer::Process(own) => own.restart(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.restart(),
        }
    }

    /// Kills the server if it runs, removes its data, and starts it again on the same port.
    ///
    /// # Errors
    /// See [`Self::restart`].
    pub fn restart_empty(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("restarted")),
            RedisServer::Process(own) => own.restart_empty(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.restart_empty(),
        }
    }
}
