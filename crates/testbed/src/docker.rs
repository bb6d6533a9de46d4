//! Servers in Docker, by Testcontainers: the last resort, for machines with an engine and none of the programs.
//!
//! Containers are named `trunkline-…` and removed on drop, their volumes with them. A process that is killed cannot do
//! that: `docker rm -fv $(docker ps -aq --filter name=trunkline-)` does.

use std::{
    error, fmt, process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use testcontainers::{
    Container as Running, ContainerRequest, GenericImage, ImageExt, TestcontainersError,
    bollard::{
        self, Docker,
        query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder},
    },
    core::{client::docker_client_instance, logs::LogFrame},
    runners::SyncRunner,
};

use crate::{LineSink, OutputLine, OutputStream, Result, TestbedError, process::poll};

/// How long a server may take until it answers, once its image is there.
const START: Duration = Duration::from_secs(60);
/// The engine is asked no more often than this whether a container runs.
const LOOK: Duration = Duration::from_millis(500);
/// How many of its last lines go into an error message.
const SHOWN_LINES: usize = 30;

/// An image and its version: the ones that `deploy/compose.yaml` runs.
#[derive(Clone, Copy)]
pub(crate) struct Image(pub(crate) &'static str, pub(crate) &'static str);

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// A container that was started, whether it still runs or not.
pub(crate) struct Container {
    image: Image,
    name: String,
    /// Nothing once it is removed.
    running: Option<Running<GenericImage>>,
    looked: Option<(Instant, bool)>,
}

impl Container {
    /// Starts a container, pulling the image if the engine lacks it. `port` only makes the name tell more.
    pub(crate) fn start(
        image: Image,
        port: u16,
        log: Option<LineSink>,
        settings: impl FnOnce(ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage>,
    ) -> Result<Self> {
        // The engine is shared: nobody else's container may be meant, nor an earlier one of ours.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("trunkline-{}-{port}-{}-{number}", image.0, process::id());
        let request = settings(GenericImage::new(image.0, image.1).with_container_name(&name));
        let request = match log {
            Some(sink) => request.with_log_consumer(move |frame: &LogFrame| pass_on(frame, &*sink)),
            None => request,
        };
        let started = outside_async(|| request.start());
        let mut container = Self { image, name, running: None, looked: None };
        match started {
            Ok(running) => {
                container.running = Some(running);
                Ok(container)
            }
            Err(reason) => {
                // One that was created and could not be started stays. There is none if the image was missing.
                let _ = container
                    .engine(async |docker: Docker, name: &str| docker.remove_container(name, Some(removal())).await);
                Err(container.failed(reason))
            }
        }
    }

    /// Asks until the server answers; an error if it has ended instead, or does not in time.
    pub(crate) fn wait(&mut self, mut answers: impl FnMut() -> bool) -> Result<()> {
        let answered = poll(START, || match (answers(), self.is_running()) {
            (true, _) => Ok(Some(())),
            (false, true) => Ok(None),
            (false, false) => Err(self.start_error("it ended")),
        })?;
        answered.ok_or_else(|| self.start_error(&format!("no answer within {} s", START.as_secs())))
    }

    /// Whether it runs, as of half a second ago.
    pub(crate) fn is_running(&mut self) -> bool {
        match self.looked {
            Some((at, runs)) if at.elapsed() < LOOK => runs,
            _ => {
                let runs = self.with(Running::is_running).unwrap_or(false);
                self.looked = Some((Instant::now(), runs));
                runs
            }
        }
    }

    /// SIGKILL. Harmless when it has ended.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.looked = None;
        if self.is_running() {
            let kill = || KillContainerOptionsBuilder::new().signal("SIGKILL").build();
            self.engine(async |docker: Docker, name: &str| docker.kill_container(name, Some(kill())).await)?;
            let ended = poll(START, || Ok((!self.with(Running::is_running)?).then_some(())))?;
            ended.ok_or_else(|| self.failed("it was killed and still runs".to_owned()))?;
        }
        self.looked = Some((Instant::now(), false));
        Ok(())
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.engine(async |docker: Docker, name: &str| docker.pause_container(name).await)
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.engine(async |docker: Docker, name: &str| docker.unpause_container(name).await)
    }

    /// Ends it cleanly if it runs, and starts it again with the files that it has.
    pub(crate) fn restart(&mut self) -> Result<()> {
        // A frozen one could not end; one that is not frozen cannot be thawed.
        let _ = self.resume();
        self.with(Running::stop)?;
        self.looked = None;
        self.with(Running::start)
    }

    /// Ends it at once, if it runs, and removes it.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.looked = None;
        match self.running.take() {
            Some(running) => outside_async(|| running.rm()).map_err(|reason| self.failed(reason)),
            None => Ok(()),
        }
    }

    /// An [`TestbedError::Start`] with its last lines.
    fn start_error(&self, reason: &str) -> TestbedError {
        let mut lines = self.with(Running::stdout_to_vec).unwrap_or_default();
        lines.extend(self.with(Running::stderr_to_vec).unwrap_or_default());
        let text = String::from_utf8_lossy(&lines);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        let log = last.iter().fold(String::new(), |text, line| text + "\n  " + line);
        TestbedError::Start { name: format!("{} in Docker", self.image), reason: reason.to_owned(), log }
    }

    fn with<T: Send>(
        &self,
        act: impl FnOnce(&Running<GenericImage>) -> Result<T, TestcontainersError> + Send,
    ) -> Result<T> {
        match &self.running {
            Some(running) => outside_async(|| act(running)).map_err(|reason| self.failed(reason)),
            None => Err(self.failed("the container is gone".to_owned())),
        }
    }

    /// Asks the engine for what Testcontainers' synchronous side does not offer.
    fn engine(&self, ask: impl AsyncFnOnce(Docker, &str) -> Result<(), bollard::errors::Error> + Send) -> Result<()> {
        let asked = outside_async(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                Ok::<_, TestcontainersError>(ask(docker_client_instance().await?, &self.name).await)
            })
        });
        asked.and_then(|result| result.map_err(|e| chain(&e))).map_err(|reason| self.failed(reason))
    }

    fn failed(&self, detail: String) -> TestbedError {
        TestbedError::Command { command: format!("docker run {}", self.image), detail }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Nobody can be told of a failure.
        let _ = self.remove();
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("name", &self.name).finish_non_exhaustive()
    }
}

/// With its volumes.
fn removal() -> bollard::query_parameters::RemoveContainerOptions {
    RemoveContainerOptionsBuilder::new().force(true).v(true).build()
}

/// A frame is what the server wrote at once: mostly one line.
fn pass_on(frame: &LogFrame, sink: &(dyn Fn(OutputLine<'_>) + Send + Sync)) {
    let stream = match frame {
        LogFrame::StdOut(_) => OutputStream::Out,
        LogFrame::StdErr(_) => OutputStream::Err,
    };
    String::from_utf8_lossy(frame.bytes()).lines().for_each(|text| sink(OutputLine { stream, text }));
}

/// Testcontainers' synchronous calls block on a runtime of their own, which a thread that already drives one (an async
/// test) must not do.
fn outside_async<T: Send, E: error::Error>(act: impl FnOnce() -> Result<T, E> + Send) -> Result<T, String> {
    let result = thread::scope(|scope| scope.spawn(|| act().map_err(|e| chain(&e))).join());
    result.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// An error and its causes, less those that it names itself: "cannot connect" says too little.
fn chain(error: &dyn error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = text + ": " + &said;
        }
        cause = error.source();
    }
    text
}
