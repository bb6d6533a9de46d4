//! A HAProxy that runs `deploy/haproxy.cfg`, its server slots filled through the runtime API.

#[cfg(feature = "testcontainers")]
mod container;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    IoContext, LineSink, NoProgress, Process, Program, Progress, Result, TestbedError, Tool, Toolbox, ports,
    process::poll, project_root,
};

const START: Duration = Duration::from_secs(15);
const ATTEMPTS: usize = 5;
/// The two backends of `deploy/haproxy.cfg`.
const BACKENDS: [&str; 2] = ["ready", "alive"];

/// A running HAProxy. ProcessEnd on drop.
#[derive(Debug)]
pub struct HaProxy {
    server: BalancerServer,
    port: u16,
    slots: usize,
    /// Holds the socket of the runtime API: in the system's folder for such things, since a socket's path must be short.
    folder: TempDir,
}

#[derive(Debug)]
enum BalancerServer {
    Process(Process),
    #[cfg(feature = "testcontainers")]
    Container(Box<crate::docker::Container>),
}

/// What the instance in a slot of the balancer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// No new requests: the slot is empty, or the instance is not ready.
    OutOfService,
    /// New requests, on trust: no check has passed since the slot was filled, or the last one failed.
    Unchecked,
    /// New requests; its last check on `/readyz` passed.
    Up,
}

impl HaProxy {
    /// `deploy/haproxy.cfg` on a free port, all its slots empty.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Settings for a new HAProxy.
    pub fn builder() -> HaProxyBuilder {
        HaProxyBuilder::default()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, unless it runs in Docker.
    pub fn pid(&self) -> Option<u32> {
        match &self.server {
            BalancerServer::Process(process) => Some(process.pid()),
            #[cfg(feature = "testcontainers")]
            BalancerServer::Container(_) => None,
        }
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.server {
            BalancerServer::Process(process) => process.ended().is_none(),
            #[cfg(feature = "testcontainers")]
            BalancerServer::Container(container) => container.is_running(),
        }
    }

    /// How many instances it can serve.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Sends requests to the instance at this loopback port as well. Slots are numbered from 1.
    pub fn fill_slot(&self, slot: usize, port: u16) -> Result<()> {
        for backend in BACKENDS {
            self.set_server(backend, slot, &format!("addr 127.0.0.1 port {port}"))?;
            self.set_server(backend, slot, "state ready")?;
        }
        Ok(())
    }

    /// Sends no more requests to this slot and stops checking it. Open sockets stay.
    pub fn clear_slot(&self, slot: usize) -> Result<()> {
        BACKENDS.iter().try_for_each(|backend| self.set_server(backend, slot, "state maint"))
    }

    /// What the slot's instance gets.
    pub fn slot(&self, slot: usize) -> Result<SlotState> {
        let table = self.command("show servers state ready")?;
        let name = slot_name(slot);
        let row = table.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|row| row.get(3) == Some(&&*name));
        Ok(row.map_or(SlotState::OutOfService, |row| SlotState::read(&row)))
    }

    /// Whether the slot's instance gets new requests and is known to be ready: [`SlotState::Up`].
    pub fn slot_is_up(&self, slot: usize) -> Result<bool> {
        Ok(self.slot(slot)? == SlotState::Up)
    }

    /// One command of HAProxy's runtime API.
    pub fn command(&self, command: &str) -> Result<String> {
        ask(&socket(self.folder.path()), command)
    }

    fn set_server(&self, backend: &str, slot: usize, change: &str) -> Result<()> {
        let answer = self.command(&format!("set server {backend}/{} {change}", slot_name(slot)))?;
        // Success is told in various words, or by none; these are the failures.
        let failed = ["No such", "Require", "Can't", "Invalid", "unknown", "Permission", "must"];
        if failed.iter().any(|word| answer.contains(word)) {
            return Err(TestbedError::Reply(format!("HAProxy: {}", answer.trim())));
        }
        Ok(())
    }
}

fn slot_name(slot: usize) -> String {
    format!("gw-{slot}")
}

impl SlotState {
    /// Reads a line of `show servers state`: columns 5 and 6, counted from 0, are its operational and administrative
    /// state, column 12 is the health that its checks found. HAProxy management guide, "show servers state".
    fn read(row: &[&str]) -> Self {
        const RUNNING: u32 = 2;
        /// None of the bits of `MAINT` or `DRAIN` may be set, but this one, which tells how the slot began.
        const BEGAN_DISABLED: u32 = 0x04;
        /// `rise` + `fall` - 1 of `deploy/haproxy.cfg`. A slot just filled has one less: HAProxy takes it for running until a check fails.
        const HEALTHY: u32 = 3;
        let column = |place: usize| row.get(place)?.parse::<u32>().ok();
        let runs = column(5) == Some(RUNNING) && column(6).is_some_and(|bits| bits & !BEGAN_DISABLED == 0);
        match column(12) {
            Some(HEALTHY) if runs => Self::Up,
            _ if runs => Self::Unchecked,
            _ => Self::OutOfService,
        }
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

fn ask(socket: &Path, command: &str) -> Result<String> {
    const DOING: &str = "cannot ask HAProxy";
    let mut stream = UnixStream::connect(socket).context(DOING)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).context(DOING)?;
    stream.write_all(command.as_bytes()).and_then(|()| stream.write_all(b"\n")).context(DOING)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context(DOING)?;
    Ok(answer)
}

/// Settings of a new HAProxy; see [`HaProxy::builder`].
#[derive(Clone)]
pub struct HaProxyBuilder {
    config: PathBuf,
    slots: usize,
    port: Option<u16>,
    log: Option<LineSink>,
    program: Option<Program>,
    toolbox: Option<Toolbox>,
}

impl Default for HaProxyBuilder {
    fn default() -> Self {
        let config = project_root().join("deploy/haproxy.cfg");
        Self { config, slots: 64, port: None, log: None, program: None, toolbox: None }
    }
}

impl HaProxyBuilder {
    /// Another configuration than `deploy/haproxy.cfg`; it must obey the same variables, and check with the same `rise`
    /// and `fall`.
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = file.into();
        self
    }

    /// How many instances there can be.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Listens here, or fails with [`TestbedError::PortTaken`]. Else a free port is chosen.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
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

    /// Starts it, and returns when it listens.
    pub fn start(self) -> Result<HaProxy> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], telling what it does.
    pub fn start_with(mut self, progress: &dyn Progress) -> Result<HaProxy> {
        let program = match self.program.take() {
            Some(program) => Ok(program),
            None => self.toolbox.take().unwrap_or_else(Toolbox::project).get(Tool::HaProxy, progress),
        };
        #[cfg(feature = "testcontainers")]
        if let Err(not_found @ TestbedError::NotFound { .. }) = program {
            progress.step("starting HAProxy in Docker (the first time its image is pulled)");
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            return container::start(&self, port).map_err(|e| not_found.but_also("Docker", e));
        }
        let program = program?;
        progress.step("starting HAProxy");
        let mut attempts = if self.port.is_some() { 1 } else { ATTEMPTS };
        loop {
            attempts -= 1;
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            match self.launch(&program, port) {
                Err(TestbedError::PortTaken(_)) if attempts > 0 => {}
                other => return other,
            }
        }
    }

    fn launch(&self, program: &Program, port: u16) -> Result<HaProxy> {
        if !ports::is_free(port) {
            return Err(TestbedError::PortTaken(port));
        }
        let folder = tempfile::Builder::new().prefix("testbed-lb-").tempdir().context("cannot create a folder")?;
        let socket = socket(folder.path());
        let mut command = program.command();
        // In the foreground, one process.
        command.arg("-db").arg("-f").arg(&self.config);
        command.envs(self.variables(port, &socket));
        let mut process = Process::spawn(format!("HAProxy on port {port}"), command, self.log.clone())?;
        let listens = poll(START, || match process.ended() {
            Some(ended) => Err(process.start_error(ended.to_string())),
            None => Ok(ask(&socket, "show version").ok()),
        });
        match listens {
            Ok(Some(_)) => Ok(HaProxy { server: BalancerServer::Process(process), port, slots: self.slots, folder }),
            Ok(None) => Err(process.start_error(format!("does not listen after {} s", START.as_secs()))),
            Err(_) if process.last_lines().contains("RedisAddress already in use") => {
                Err(TestbedError::PortTaken(port))
            }
            Err(e) => Err(e),
        }
    }

    /// What `deploy/haproxy.cfg` is told; `socket` as HAProxy sees it.
    fn variables(&self, port: u16, socket: &Path) -> [(&'static str, String); 5] {
        [
            ("TRUNKLINE_LB_BIND", format!("127.0.0.1:{port}")),
            // Only a placeholder: slots get their address when they are filled.
            ("TRUNKLINE_LB_GATEWAYS", "127.0.0.1:1".to_owned()),
            ("TRUNKLINE_LB_SLOTS", self.slots.to_string()),
            ("TRUNKLINE_LB_SLOT_STATE", "disabled".to_owned()),
            ("TRUNKLINE_LB_SOCKET", socket.display().to_string()),
        ]
    }
}
