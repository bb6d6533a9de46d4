//! A Redis process and its data.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::RedisBuilder;
use crate::{IoContext, Process, Program, Result, TestbedError, ports, process::poll, resp::RedisAddress};

/// Maximum time until the server has loaded its data and answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a clean exit after SIGTERM. After that the process is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis process of this testbed.
#[derive(Debug)]
pub(super) struct RedisProcess {
    // Fields drop in this order: the process must end before its folder is removed.
    process: Process,
    data: DataFolder,
    builder: RedisBuilder,
    program: Program,
    address: RedisAddress,
    _socket_folder: Option<TempDir>,
}

impl RedisProcess {
    pub(super) fn start(builder: RedisBuilder, program: Program, address: &RedisAddress) -> Result<Self> {
        let data = match &builder.folder {
            Some(folder) => DataFolder::Given(folder.clone()),
            None => DataFolder::Temporary(
                tempfile::Builder::new().prefix("testbed-redis-").tempdir().context("cannot create a folder")?,
            ),
        };
        empty(data.path())?;
        let mut address = address.clone();
        let socket_folder = match &builder.tls {
            // Not the data folder: the path of a Unix socket is at most 107 bytes.
            Some(_) => {
                Some(tempfile::Builder::new().prefix("testbed-socket-").tempdir().context("cannot create a folder")?)
            }
            None => None,
        };
        address.socket = socket_folder.as_ref().map(|folder| folder.path().join("redis.sock"));
        let process = launch(&builder, &program, data.path(), &address)?;
        Ok(Self { process, data, builder, program, address, _socket_folder: socket_folder })
    }

    pub(super) fn address(&self) -> &RedisAddress {
        &self.address
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        // A stopped process does not handle SIGTERM.
        self.process.resume()?;
        self.process.terminate()?;
        if self.process.wait(STOP_TIMEOUT).is_none() {
            self.process.kill()?;
        }
        self.process = launch(&self.builder, &self.program, self.data.path(), &self.address)?;
        Ok(())
    }

    pub(super) fn restart_empty(&mut self) -> Result<()> {
        self.process.kill()?;
        empty(self.data.path())?;
        self.restart()
    }
}

/// Folder of the data. A temporary folder is removed on drop.
#[derive(Debug)]
enum DataFolder {
    Temporary(TempDir),
    Given(PathBuf),
}

impl DataFolder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

/// Starts the server and waits until it answers `PING`.
fn launch(builder: &RedisBuilder, program: &Program, folder: &Path, address: &RedisAddress) -> Result<Process> {
    if !ports::is_free(address.port) {
        return Err(TestbedError::PortTaken(address.port));
    }
    let mut command = program.command();
    command.current_dir(folder).args(builder.arguments("127.0.0.1", address.port));
    if let Some(socket) = &address.socket {
        command.arg("--unixsocket").arg(socket);
    }
    let mut process = Process::spawn(format!("Redis on port {}", address.port), command, builder.log.clone())?;
    let answered = poll(START_TIMEOUT, || match process.ended() {
        Some(ended) => Err(process.start_error(ended.to_string())),
        // The connection is refused while the server starts; an error reply arrives while it loads its data.
        None => Ok(address.call(&["PING"]).ok().filter(|_| process.ended().is_none())),
    });
    match answered {
        Ok(Some(_)) => Ok(process),
        Ok(None) => Err(process.start_error(format!("no answer within {} s", START_TIMEOUT.as_secs()))),
        Err(_) if process.last_lines().contains("Address already in use") => Err(TestbedError::PortTaken(address.port)),
        Err(e) => Err(e),
    }
}

/// Creates the folder if necessary and removes its content.
fn empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on_path("cannot create", folder)?;
    for entry in fs::read_dir(folder).on_path("cannot read", folder)? {
        let path = entry.on_path("cannot read", folder)?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.on_path("cannot remove", &path)?;
    }
    Ok(())
}
