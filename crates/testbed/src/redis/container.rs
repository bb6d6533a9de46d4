//! A Redis in Docker: the last resort, for machines that have Docker and neither Redis nor Debian's packages.

use std::{fmt, thread, time::Duration};

use testcontainers::{Container as Running, GenericImage, ImageExt, core::IntoContainerPort, runners::SyncRunner};

use super::{Redis, RedisBuilder, Server};
use crate::{Error, Result, process::poll, resp::Address};

const IMAGE: (&str, &str) = ("redis", "7-alpine");
/// With an image that may have to be loaded first.
const START: Duration = Duration::from_secs(60);

/// A container and what it was started with. Removed on drop.
pub(super) struct Container {
    running: Option<Running<GenericImage>>,
    builder: RedisBuilder,
    address: Address,
}

/// Starts a server that is reached at this port.
pub(super) fn start(builder: RedisBuilder, port: u16) -> Result<Redis> {
    let address = Address::local(port, builder.password.clone());
    let mut container = Container { running: None, builder, address: address.clone() };
    container.create()?;
    Ok(Redis { address, server: Server::Container(Box::new(container)) })
}

impl Container {
    pub(super) fn is_running(&self) -> bool {
        self.with(Running::is_running).unwrap_or(false)
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.with(|running| running.stop_with_timeout(Some(0)))
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.with(Running::stop)?;
        self.with(Running::start)?;
        self.wait()
    }

    /// Its data is in the container, so a new one has none.
    pub(super) fn restart_empty(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            outside_async(|| running.rm())?;
        }
        self.create()
    }

    fn create(&mut self) -> Result<()> {
        const PORT: u16 = 6379;
        let mut args = vec!["redis-server".to_owned()];
        // Inside, the loopback interface is not the one that Docker forwards to.
        args.extend(self.builder.arguments("0.0.0.0", PORT));
        args.extend(["--protected-mode".to_owned(), "no".to_owned()]);
        let image = GenericImage::new(IMAGE.0, IMAGE.1).with_cmd(args);
        let image = image.with_mapped_port(self.address.port, PORT.tcp());
        self.running = Some(outside_async(|| image.start())?);
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        let answered = poll(START, || Ok(self.address.call(&["PING"]).ok()))?;
        let late = || Error::Start {
            name: "Redis in Docker".to_owned(),
            reason: format!("no answer within {} s", START.as_secs()),
            log: String::new(),
        };
        answered.map(drop).ok_or_else(late)
    }

    fn with<T: Send>(
        &self,
        act: impl FnOnce(&Running<GenericImage>) -> testcontainers::core::error::Result<T> + Send,
    ) -> Result<T> {
        match &self.running {
            Some(running) => outside_async(|| act(running)),
            None => Err(failed("the container is gone")),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            // Nobody can be told; Docker removes it or not.
            let _ = outside_async(|| running.rm());
        }
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Testcontainers' synchronous calls block on a runtime of their own, which a thread that already drives one (an async
/// test) must not do.
fn outside_async<T: Send, E: fmt::Display + Send>(act: impl FnOnce() -> Result<T, E> + Send) -> Result<T> {
    let result = thread::scope(|scope| scope.spawn(|| act().map_err(|e| e.to_string())).join());
    match result {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed("it panicked")),
    }
}

fn failed(detail: impl Into<String>) -> Error {
    Error::Command { command: "docker".to_owned(), detail: detail.into() }
}
