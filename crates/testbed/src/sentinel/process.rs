//! One Sentinel.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use super::{NAME, STEP_TIMEOUT};
use crate::{
    IoContext, LineSink, NoProgress, Process, Program, Redis, Result, TestbedError, TlsFiles, Tool, Toolbox, ports,
    process::poll, resp::RedisAddress,
};

/// A Sentinel and its folder. The folder holds its configuration, which it rewrites, and its control socket.
pub(super) struct SentinelProcess {
    process: Process,
    pub(super) address: RedisAddress,
    program: Program,
    folder: PathBuf,
    log: Option<LineSink>,
}

impl SentinelProcess {
    /// Starts a Sentinel with shorter timeouts than in `deploy/redis/sentinel.conf`.
    pub(super) fn start(
        folder: &Path,
        master: &Redis,
        tls: Option<&TlsFiles>,
        password: Option<&str>,
        log: Option<&LineSink>,
    ) -> Result<Self> {
        fs::create_dir_all(folder).on_path("cannot create", folder)?;
        let program = Toolbox::project().get(Tool::Redis, &NoProgress)?;
        ports::start_on(None, |port| {
            let mut config = format!(
                "bind 127.0.0.1\ndir .\nsentinel monitor {NAME} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 3000\n\
                 sentinel parallel-syncs {NAME} 1\n",
                master.port()
            );
            let mut address = RedisAddress::local(port, password.map(str::to_owned));
            match tls {
                None => config += &format!("port {port}\n"),
                Some(tls) => {
                    let lines = tls.directives(port, false);
                    config.extend(lines.iter().map(|(name, value)| format!("{name} {value}\n")));
                    let socket = folder.join("sentinel.sock");
                    config += &format!("unixsocket {}\n", socket.display());
                    address.socket = Some(socket);
                }
            }
            if let Some(password) = password {
                // The Sentinels log in to each other with the same password.
                config += &format!("requirepass {password}\nsentinel sentinel-pass {password}\n");
            }
            let path = folder.join("sentinel.conf");
            fs::write(&path, config).on_path("cannot write", &path)?;
            let process = launch(&program, folder, &address, log.cloned()).map_err(|error| match error {
                TestbedError::Start { log, .. } if log.contains("Address already in use") => {
                    TestbedError::PortTaken(port)
                }
                error => error,
            })?;
            Ok(Self { process, address, program: program.clone(), folder: folder.to_owned(), log: log.cloned() })
        })
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = launch(&self.program, &self.folder, &self.address, self.log.clone())?;
        Ok(())
    }

    pub(super) fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.process.ended().is_none()
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it knows this master, one replica of it and the two other Sentinels.
    pub(super) fn knows(&self, master_port: u16) -> bool {
        let reply = self.address.call(&["SENTINEL", "MASTER", NAME]).map(|reply| reply.to_string()).unwrap_or_default();
        let fields: Vec<&str> = reply.lines().collect();
        let is = |name: &str, value: &str| fields.windows(2).any(|pair| pair == [name, value]);
        is("port", &master_port.to_string())
            && is("flags", "master")
            && is("num-slaves", "1")
            && is("num-other-sentinels", "2")
    }
}

impl fmt::Debug for SentinelProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelProcess").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Starts the process and waits until it answers.
fn launch(program: &Program, folder: &Path, address: &RedisAddress, log: Option<LineSink>) -> Result<Process> {
    let mut command = program.command();
    command.current_dir(folder).arg("sentinel.conf").arg("--sentinel");
    let mut process = Process::spawn(format!("Sentinel on port {}", address.port), command, log)?;
    let answers = poll(STEP_TIMEOUT, || match process.ended() {
        Some(ended) => Err(process.start_error(ended.to_string())),
        None => Ok(address.call(&["PING"]).ok()),
    })?;
    match answers {
        Some(_) => Ok(process),
        None => Err(process.start_error("does not answer")),
    }
}
