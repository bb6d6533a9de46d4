//! A Redis of one's own.

mod builder;
#[cfg(feature = "testcontainers")]
mod container;
mod process;

use std::env;

pub use self::builder::RedisBuilder;
use self::process::RedisProcess;
use crate::{Result, TestbedError, resp::RedisAddress};

/// When Redis forces its append-only file to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFsync {
    /// Once a second: what production uses.
    EverySec,
    /// Before each answer.
    Always,
}

/// A running Redis. ProcessEnd on drop, its data with it (unless the folder was given).
#[derive(Debug)]
pub struct Redis {
    address: RedisAddress,
    server: RedisServer,
}

#[derive(Debug)]
enum RedisServer {
    /// Given by URL: not ours to stop.
    Given(String),
    Process(Box<RedisProcess>),
    #[cfg(feature = "testcontainers")]
    Container(Box<container::RedisContainer>),
}

impl Redis {
    /// A Redis for a test: the one that `TRUNKLINE_TEST_REDIS` names, else a new, empty one without persistence.
    ///
    /// A given one is shared by all tests and not emptied: use keys of one's own. A test that breaks its Redis takes
    /// [`Redis::builder`], which always starts a new one.
    pub fn start() -> Result<Self> {
        match env::var("TRUNKLINE_TEST_REDIS") {
            Ok(url) if !url.is_empty() => Self::given(&url),
            _ => Self::builder().start(),
        }
    }

    /// A server that somebody else runs.
    pub fn given(url: &str) -> Result<Self> {
        let address = RedisAddress::parse(url).ok_or_else(|| {
            TestbedError::Reply(format!("{url} is no Redis URL: redis://[[user]:password@]host[:port]"))
        })?;
        Ok(Self { address, server: RedisServer::Given(url.to_owned()) })
    }

    /// Settings for a new server.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// For clients: `redis://127.0.0.1:PORT`, with the password if there is one.
    pub fn url(&self) -> String {
        match (&self.server, &self.address.password) {
            (RedisServer::Given(url), _) => url.clone(),
            (_, Some(password)) => format!("redis://:{password}@127.0.0.1:{}", self.port()),
            (_, None) => format!("redis://127.0.0.1:{}", self.port()),
        }
    }

    /// Where it listens. Kept over restarts.
    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// Its process, unless it was given by URL or runs in Docker.
    pub fn pid(&self) -> Option<u32> {
        match &self.server {
            RedisServer::Process(own) => Some(own.pid()),
            _ => None,
        }
    }

    /// Whether the process runs (always, if it was given by URL).
    pub fn is_running(&mut self) -> bool {
        match &mut self.server {
            RedisServer::Given(_) => true,
            RedisServer::Process(own) => own.process().ended().is_none(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().is_running(),
        }
    }

    /// Sends one command and shows the answer as `redis-cli` does into a pipe: a line an element, nothing for nil.
    pub fn cli(&self, args: &[&str]) -> Result<String> {
        self.address.call(args).map(|reply| reply.to_string())
    }

    /// SIGKILL. What it had not written is lost.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("killed")),
            RedisServer::Process(own) => own.process().kill(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().kill(),
        }
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    pub fn pause(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("paused")),
            RedisServer::Process(own) => own.process().pause(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().pause(),
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("resumed")),
            RedisServer::Process(own) => own.process().resume(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.container().resume(),
        }
    }

    /// Ends it cleanly if it runs, and starts it again on the same port. Its data comes back if it is append-only.
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("restarted")),
            RedisServer::Process(own) => own.restart(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.restart(),
        }
    }

    /// Kills it if it runs, removes its data, and starts it again on the same port.
    pub fn restart_empty(&mut self) -> Result<()> {
        match &mut self.server {
            RedisServer::Given(_) => Err(TestbedError::NotOurs("restarted")),
            RedisServer::Process(own) => own.restart_empty(),
            #[cfg(feature = "testcontainers")]
            RedisServer::Container(server) => server.restart_empty(),
        }
    }
}
