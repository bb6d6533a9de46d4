//! Servers in Docker, through Testcontainers: for machines with an engine and without the programs.
//!
//! Containers are named `trunkline-…`. They and their volumes are removed on drop. If this process is killed, the containers
//! stay; `docker rm -fv $(docker ps -aq --filter name=trunkline-)` removes them.

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

/// Maximum time until a server answers, after its image has been pulled.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Minimum time between two requests for a container's state.
const STATE_MAX_AGE: Duration = Duration::from_millis(500);
/// Number of output lines in an error message.
const SHOWN_LINES: usize = 30;

/// Name and tag of an image: the same as in `deploy/compose.yaml`.
#[derive(Clone, Copy)]
pub(crate) struct DockerImage(pub(crate) &'static str, pub(crate) &'static str);

impl fmt::Display for DockerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

/// A container that was started. It may have exited.
pub(crate) struct DockerContainer {
    image: DockerImage,
    name: String,
    /// `None` after the container was removed.
    running: Option<Running<GenericImage>>,
    looked: Option<(Instant, bool)>,
}

impl DockerContainer {
    /// Starts a container and pulls its image if necessary. `port` appears in the container's name only.
    pub(crate) fn start(
        image: DockerImage,
        port: u16,
        log: Option<LineSink>,
        settings: impl FnOnce(ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage>,
    ) -> Result<Self> {
        // Other users and earlier calls have containers on the same engine, so the name must be unique.
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
                // A container that was created and could not be started remains. There is none if the image is missing.
                let _ = container
                    .engine(async |docker: Docker, name: &str| docker.remove_container(name, Some(removal())).await);
                Err(container.failed(reason))
            }
        }
    }

    /// Calls `answers` until it returns true.
    ///
    /// # Errors
    /// Returns [`TestbedError::Start`] if the container exits first, or after 60 s.
    pub(crate) fn wait(&mut self, mut answers: impl FnMut() -> bool) -> Result<()> {
        let answered = poll(START_TIMEOUT, || match (answers(), self.is_running()) {
            (true, _) => Ok(Some(())),
            (false, true) => Ok(None),
            (false, false) => Err(self.start_error("it ended")),
        })?;
        answered.ok_or_else(|| self.start_error(&format!("no answer within {} s", START_TIMEOUT.as_secs())))
    }

    /// Whether the container runs. The answer is at most 500 ms old.
    pub(crate) fn is_running(&mut self) -> bool {
        match self.looked {
            Some((at, runs)) if at.elapsed() < STATE_MAX_AGE => runs,
            _ => {
                let runs = self.with(Running::is_running).unwrap_or(false);
                self.looked = Some((Instant::now(), runs));
                runs
            }
        }
    }

    /// Sends SIGKILL. Does nothing if the container has exited.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.looked = None;
        if self.is_running() {
            let kill = || KillContainerOptionsBuilder::new().signal("SIGKILL").build();
            self.engine(async |docker: Docker, name: &str| docker.kill_container(name, Some(kill())).await)?;
            let ended = poll(START_TIMEOUT, || Ok((!self.with(Running::is_running)?).then_some(())))?;
            ended.ok_or_else(|| self.failed("it was killed and still runs".to_owned()))?;
        }
        self.looked = Some((Instant::now(), false));
        Ok(())
    }

    /// Freezes the container: connections stay open and receive no answer.
    pub(crate) fn pause(&mut self) -> Result<()> {
        self.engine(async |docker: Docker, name: &str| docker.pause_container(name).await)
    }

    /// Undoes [`Self::pause`].
    pub(crate) fn resume(&mut self) -> Result<()> {
        self.engine(async |docker: Docker, name: &str| docker.unpause_container(name).await)
    }

    /// Stops the container if it runs, and starts it again with its files.
    pub(crate) fn restart(&mut self) -> Result<()> {
        // A frozen container does not stop. An error means that it is not frozen.
        let _ = self.resume();
        self.with(Running::stop)?;
        self.looked = None;
        self.with(Running::start)
    }

    /// Removes the container, whether it runs or not.
    pub(crate) fn remove(&mut self) -> Result<()> {
        self.looked = None;
        match self.running.take() {
            Some(running) => outside_async(|| running.rm()).map_err(|reason| self.failed(reason)),
            None => Ok(()),
        }
    }

    /// A [`TestbedError::Start`] with the last output lines.
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

    /// Calls the Docker Engine API where the synchronous API of Testcontainers has no equivalent.
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

impl Drop for DockerContainer {
    fn drop(&mut self) {
        // `drop` cannot return an error.
        let _ = self.remove();
    }
}

impl fmt::Debug for DockerContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerContainer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Options that also remove volumes and running containers.
fn removal() -> bollard::query_parameters::RemoveContainerOptions {
    RemoveContainerOptionsBuilder::new().force(true).v(true).build()
}

/// A log frame is one write of the server, usually one line.
fn pass_on(frame: &LogFrame, sink: &(dyn Fn(OutputLine<'_>) + Send + Sync)) {
    let stream = match frame {
        LogFrame::StdOut(_) => OutputStream::Out,
        LogFrame::StdErr(_) => OutputStream::Err,
    };
    String::from_utf8_lossy(frame.bytes()).lines().for_each(|text| sink(OutputLine { stream, text }));
}

/// The synchronous calls of Testcontainers block on their own runtime, which panics on a thread that already drives a
/// runtime, as in an async test. This runs them on a new thread.
fn outside_async<T: Send, E: error::Error>(act: impl FnOnce() -> Result<T, E> + Send) -> Result<T, String> {
    let result = thread::scope(|scope| scope.spawn(|| act().map_err(|e| chain(&e))).join());
    result.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// An error and its causes. Causes that the text already contains are left out.
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
