//! Settings and start of a master, a replica and their Sentinels.

use std::{fs, path::Path, process::Command};

use super::{PASSWORD, RedisSentinel, SENTINELS, SentinelProcess, USER};
use crate::{
    AppendFsync, IoContext, LineSink, NoProgress, Process, Progress, Redis, RedisBuilder, Result, TestbedError,
    TlsFiles, Tool, Toolbox, free_port, project_root,
};

/// Settings of a new [`RedisSentinel`]; see [`RedisSentinel::builder`].
#[derive(Clone, Default)]
pub struct RedisSentinelBuilder {
    log: Option<LineSink>,
    tls: Option<TlsFiles>,
    sentinel_password: Option<String>,
    without_proxy: bool,
}

impl RedisSentinelBuilder {
    /// Sends the log lines of all processes to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
        self
    }

    /// Starts no proxy: gateways ask the Sentinels. [`RedisSentinel::url`] is [`RedisSentinel::sentinel_url`] then.
    #[must_use]
    pub fn without_proxy(mut self) -> Self {
        self.without_proxy = true;
        self
    }

    /// The servers and the Sentinels speak TLS only. There is no proxy then, because HAProxy would have to end the TLS.
    #[must_use]
    pub fn tls(mut self, files: &TlsFiles) -> Self {
        self.tls = Some(files.clone());
        self.without_proxy()
    }

    /// Requires this password from clients of the Sentinels: the gateway's `--redis-sentinel-password-file`.
    ///
    /// It must not contain spaces or quotes. There is no proxy then, because `deploy/redis/master.cfg` has no such password.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl Into<String>) -> Self {
        self.sentinel_password = Some(password.into());
        self.without_proxy()
    }

    /// Starts all processes. Returns when the replica is connected, the Sentinels know each other, and the proxy forwards
    /// to the master.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] if a program is missing, and [`TestbedError::Start`] or [`TestbedError::Reply`] if
    /// a step takes longer than 60 s.
    pub fn start(self) -> Result<RedisSentinel> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], with reports to `progress`.
    ///
    /// # Errors
    /// See [`Self::start`]; also [`TestbedError::Cancelled`] if `progress` asks to stop.
    pub fn start_with(self, progress: &dyn Progress) -> Result<RedisSentinel> {
        let folder =
            tempfile::Builder::new().prefix("testbed-sentinel-").tempdir().context("cannot create a folder")?;
        Toolbox::project().get(Tool::Redis, progress)?;
        progress.step("starting a Redis master, a replica and three Sentinels");
        let node = || {
            let node = Redis::builder().append_only(AppendFsync::EverySec);
            let node = node.config("user", format!("{USER} on >{PASSWORD} ~* &* +@all"));
            let node = self.tls.iter().fold(node, RedisBuilder::tls);
            self.log.iter().fold(node, |node, log| node.log(log.clone()))
        };
        let master = node().start()?;
        let replica = node().replica_of(&master).start()?;
        if progress.cancelled() {
            return Err(TestbedError::Cancelled);
        }
        let sentinels = (0..SENTINELS).map(|number| {
            let folder = folder.path().join(format!("sentinel-{number}"));
            let password = self.sentinel_password.as_deref();
            SentinelProcess::start(&folder, &master, self.tls.as_ref(), password, self.log.as_ref())
        });
        let sentinels = sentinels.collect::<Result<Vec<_>>>()?;
        let proxy = if self.without_proxy {
            None
        } else {
            let port = free_port()?;
            let nodes = [master.port(), replica.port()];
            Some((self.proxy(&folder.path().join("master.cfg"), port, nodes, &sentinels)?, port))
        };
        let secure = self.tls.is_some();
        let group = RedisSentinel { proxy, sentinels, nodes: [master, replica], secure, _folder: folder };
        group.wait_until_stable()?;
        Ok(group)
    }

    /// The proxy of `deploy/redis/master.cfg` with the addresses replaced. The local addresses differ by port, so the checks
    /// compare ports in the replies of the Sentinels. The third Redis of the file does not exist.
    fn proxy(&self, path: &Path, port: u16, nodes: [u16; 2], sentinels: &[SentinelProcess]) -> Result<Process> {
        let original = project_root().join("deploy/redis/master.cfg");
        let mut text = fs::read_to_string(&original).on_path("cannot read", &original)?;
        let ports = [nodes[0], nodes[1], free_port()?];
        for (number, (node, sentinel)) in (1..).zip(ports.into_iter().zip(sentinels)) {
            let host = format!("10.0.0.1{number}");
            text = text
                .replace(&format!("{host}:6379"), &format!("127.0.0.1:{node}"))
                .replace(&format!("{host}:26379"), &format!("127.0.0.1:{}", sentinel.address.port))
                .replace(&format!(r"\n{host}\r"), &format!(r"\n{node}\r"));
        }
        let votes = free_port()?.to_string();
        text = text.replace("127.0.0.1:6379", &format!("127.0.0.1:{port}")).replace("6380", &votes);
        fs::write(path, text).on_path("cannot write", path)?;
        let mut command: Command = Toolbox::project().get(Tool::HaProxy, &NoProgress)?.command();
        command.arg("-db").arg("-f").arg(path).env("REDIS_PASSWORD", PASSWORD);
        Process::spawn(format!("HAProxy on port {port}"), command, self.log.clone())
    }
}
