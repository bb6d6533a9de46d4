//! A Redis process of ours and its data.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::RedisBuilder;
use crate::{Error, Process, Program, Result, error::Doing, ports, process::poll, resp::Address};

/// How long a server may take until it answers, its data loaded.
const START: Duration = Duration::from_secs(30);
/// How long a server may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(10);

/// A Redis process of ours.
#[derive(Debug)]
pub(super) struct Own {
    // Dropped in this order: the process must not write any more when its folder goes.
    process: Process,
    data: Data,
    builder: RedisBuilder,
    program: Program,
    address: Address,
}

impl Own {
    pub(super) fn start(builder: RedisBuilder, program: Program, address: &Address) -> Result<Self> {
        let data = match &builder.folder {
            Some(folder) => Data::Given(folder.clone()),
            None => Data::Temporary(
                tempfile::Builder::new().prefix("testbed-redis-").tempdir().doing("cannot create a folder")?,
            ),
        };
        empty(data.path())?;
        let process = launch(&builder, &program, data.path(), address)?;
        Ok(Self { process, data, builder, program, address: address.clone() })
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        // A paused process would not see the other signal.
        self.process.resume()?;
        self.process.terminate()?;
        if self.process.wait(STOP).is_none() {
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

/// The folder of a server; a temporary one is removed on drop.
#[derive(Debug)]
enum Data {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Data {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

/// Starts the server and waits until it answers.
fn launch(builder: &RedisBuilder, program: &Program, folder: &Path, address: &Address) -> Result<Process> {
    if !ports::is_free(address.port) {
        return Err(Error::PortTaken(address.port));
    }
    let mut command = program.command();
    command.current_dir(folder).args(builder.arguments("127.0.0.1", address.port));
    let mut process = Process::spawn(format!("Redis on port {}", address.port), command, builder.log.clone())?;
    let answered = poll(START, || match process.ended() {
        Some(ended) => Err(process.start_error(ended.to_string())),
        // Refused while it starts, an error reply while it loads its data.
        None => Ok(address.call(&["PING"]).ok().filter(|_| process.ended().is_none())),
    });
    match answered {
        Ok(Some(_)) => Ok(process),
        Ok(None) => Err(process.start_error(format!("no answer within {} s", START.as_secs()))),
        Err(_) if process.last_lines().contains("Address already in use") => Err(Error::PortTaken(address.port)),
        Err(e) => Err(e),
    }
}

/// Makes `folder` an empty folder.
fn empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).on("cannot create", folder)?;
    for entry in fs::read_dir(folder).on("cannot read", folder)? {
        let path = entry.on("cannot read", folder)?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.on("cannot remove", &path)?;
    }
    Ok(())
}
