//! HAProxy with `deploy/haproxy.cfg`. Its server slots are filled through the runtime API.

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

/// Maximum time until HAProxy answers on its runtime API.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// The two backends of `deploy/haproxy.cfg`.
const BACKENDS: [&str; 2] = ["ready", "alive"];

/// A running HAProxy. It ends on drop.
#[derive(Debug)]
pub struct HaProxy {
    server: BalancerServer,
    port: u16,
    slots: usize,
    /// Contains the socket of the runtime API. A temporary folder, because the path of a Unix socket must be short.
    folder: TempDir,
}

#[derive(Debug)]
enum BalancerServer {
    Process(Process),
    #[cfg(feature = "testcontainers")]
    Container(Box<crate::docker::DockerContainer>),
}

/// State of one server slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// The slot gets no new requests: it is empty, or its instance is not ready.
    OutOfService,
    /// The slot gets new requests, but no check has passed since it was filled, or the last check failed.
    Unchecked,
    /// The slot gets new requests, and the last check of `/readyz` passed.
    Up,
}

impl HaProxy {
    /// Starts HAProxy with `deploy/haproxy.cfg` on a free port, with empty slots.
    ///
    /// # Errors
    /// See [`HaProxyBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Settings of a new HAProxy.
    pub fn builder() -> HaProxyBuilder {
        HaProxyBuilder::default()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port of that URL.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id, or `None` in Docker.
    pub fn pid(&self) -> Option<u32> {
        match &self.server {
            BalancerServer::Process(process) => Some(process.pid()),
            #[cfg(feature = "testcontainers")]
            BalancerServer::Container(_) => None,
        }
    }

    /// Whether HAProxy runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.server {
            BalancerServer::Process(process) => process.ended().is_none(),
            #[cfg(feature = "testcontainers")]
            BalancerServer::Container(container) => container.is_running(),
        }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Assigns a slot to the instance at this loopback port. Slots are numbered from 1.
    ///
    /// # Errors
    /// Returns [`TestbedError::Reply`] if HAProxy rejects the change, and [`TestbedError::Io`] if it does not answer.
    pub fn fill_slot(&self, slot: usize, port: u16) -> Result<()> {
        for backend in BACKENDS {
            self.set_server(backend, slot, &format!("addr 127.0.0.1 port {port}"))?;
            self.set_server(backend, slot, "state ready")?;
        }
        Ok(())
    }

    /// Stops new requests to a slot and its checks. Open sockets remain.
    ///
    /// # Errors
    /// See [`Self::fill_slot`].
    pub fn clear_slot(&self, slot: usize) -> Result<()> {
        BACKENDS.iter().try_for_each(|backend| self.set_server(backend, slot, "state maint"))
    }

    /// The state of a slot. A slot that does not exist is [`SlotState::OutOfService`].
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if HAProxy does not answer.
    pub fn slot(&self, slot: usize) -> Result<SlotState> {
        let table = self.command("show servers state ready")?;
        let name = slot_name(slot);
        let row = table.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|row| row.get(3) == Some(&&*name));
        Ok(row.map_or(SlotState::OutOfService, |row| SlotState::read(&row)))
    }

    /// Whether the slot is [`SlotState::Up`].
    ///
    /// # Errors
    /// See [`Self::slot`].
    pub fn slot_is_up(&self, slot: usize) -> Result<bool> {
        Ok(self.slot(slot)? == SlotState::Up)
    }

    /// Sends one command to the runtime API and returns the answer.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if HAProxy does not answer within 5 s.
    pub fn command(&self, command: &str) -> Result<String> {
        ask(&socket(self.folder.path()), command)
    }

    fn set_server(&self, backend: &str, slot: usize, change: &str) -> Result<()> {
        let answer = self.command(&format!("set server {backend}/{} {change}", slot_name(slot)))?;
        // HAProxy reports success in several ways, or with an empty answer. These words occur in failures only.
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
    /// Parses a line of `show servers state`. Columns 5 and 6, counted from 0, hold the operational and the administrative
    /// state; column 12 holds the health of the checks (HAProxy management guide, "show servers state").
    fn read(row: &[&str]) -> Self {
        const RUNNING: u32 = 2;
        /// Set if the slot was configured as `disabled`. All other bits of column 6 are `MAINT` or `DRAIN` states.
        const CONFIGURED_DISABLED: u32 = 0x04;
        /// `rise` + `fall` - 1 of `deploy/haproxy.cfg`. A slot that was just filled has one less: HAProxy uses it until a
        /// check fails.
        const HEALTHY: u32 = 3;
        let column = |place: usize| row.get(place)?.parse::<u32>().ok();
        let runs = column(5) == Some(RUNNING) && column(6).is_some_and(|bits| bits & !CONFIGURED_DISABLED == 0);
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
    /// Uses another configuration than `deploy/haproxy.cfg`. It must read the same environment variables and use the same
    /// `rise` and `fall`.
    #[must_use]
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.config = file.into();
        self
    }

    /// Sets the number of slots. Default: 64.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Sets the port. If it is in use, [`Self::start`] returns [`TestbedError::PortTaken`]. Default: a free port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sends the log lines to `sink`.
    #[must_use]
    pub fn log(mut self, sink: LineSink) -> Self {
        self.log = Some(sink);
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

    /// Starts HAProxy and returns when it listens.
    ///
    /// # Errors
    /// Returns [`TestbedError::NotFound`] if no program is found, [`TestbedError::PortTaken`] if the given port is in use,
    /// and [`TestbedError::Start`] if HAProxy exits or does not answer within 15 s.
    pub fn start(self) -> Result<HaProxy> {
        self.start_with(&NoProgress)
    }

    /// As [`Self::start`], with reports to `progress`.
    ///
    /// # Errors
    /// See [`Self::start`]; also [`TestbedError::Cancelled`] if `progress` asks to stop.
    pub fn start_with(mut self, progress: &dyn Progress) -> Result<HaProxy> {
        let program = match self.program.take() {
            Some(program) => Ok(program),
            None => self.toolbox.take().unwrap_or_else(Toolbox::project).get(Tool::HaProxy, progress),
        };
        #[cfg(feature = "testcontainers")]
        if let Err(not_found @ TestbedError::NotFound { .. }) = program {
            progress.step("starting HAProxy in Docker (the first start pulls its image)");
            let port = self.port.map_or_else(ports::free_port, Ok)?;
            return container::start(&self, port).map_err(|e| not_found.but_also("Docker", e));
        }
        let program = program?;
        progress.step("starting HAProxy");
        ports::start_on(self.port, |port| self.launch(&program, port))
    }

    fn launch(&self, program: &Program, port: u16) -> Result<HaProxy> {
        if !ports::is_free(port) {
            return Err(TestbedError::PortTaken(port));
        }
        let folder = tempfile::Builder::new().prefix("testbed-lb-").tempdir().context("cannot create a folder")?;
        let socket = socket(folder.path());
        let mut command = program.command();
        // In the foreground, as one process.
        command.arg("-db").arg("-f").arg(&self.config);
        command.envs(self.variables(port, &socket));
        let mut process = Process::spawn(format!("HAProxy on port {port}"), command, self.log.clone())?;
        let listens = poll(START_TIMEOUT, || match process.ended() {
            Some(ended) => Err(process.start_error(ended.to_string())),
            None => Ok(ask(&socket, "show version").ok()),
        });
        match listens {
            Ok(Some(_)) => Ok(HaProxy { server: BalancerServer::Process(process), port, slots: self.slots, folder }),
            Ok(None) => Err(process.start_error(format!("does not listen after {} s", START_TIMEOUT.as_secs()))),
            Err(_) if process.last_lines().contains("Address already in use") => Err(TestbedError::PortTaken(port)),
            Err(e) => Err(e),
        }
    }

    /// The environment variables of `deploy/haproxy.cfg`. `socket` is the path as HAProxy sees it.
    fn variables(&self, port: u16, socket: &Path) -> [(&'static str, String); 5] {
        [
            ("TRUNKLINE_LB_BIND", format!("127.0.0.1:{port}")),
            // A placeholder. `fill_slot` sets the address.
            ("TRUNKLINE_LB_GATEWAYS", "127.0.0.1:1".to_owned()),
            ("TRUNKLINE_LB_SLOTS", self.slots.to_string()),
            ("TRUNKLINE_LB_SLOT_STATE", "disabled".to_owned()),
            ("TRUNKLINE_LB_SOCKET", socket.display().to_string()),
        ]
    }
}
