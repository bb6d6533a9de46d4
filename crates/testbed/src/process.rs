//! A child process in its own process group. Its output lines are passed on, and it ends on drop.

use std::{
    collections::VecDeque,
    fmt,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::{IoContext, Result, TestbedError, guard};

/// Number of output lines that a process keeps for error messages.
const KEPT_LINES: usize = 30;

/// The stream of an output line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// One output line, without its line end.
#[derive(Debug, Clone, Copy)]
pub struct OutputLine<'a> {
    /// The stream that the line was printed to.
    pub stream: OutputStream,
    /// The text. Bytes that are not UTF-8 are replaced.
    pub text: &'a str,
}

/// Receives each output line of a process, on a reader thread.
pub type LineSink = Arc<dyn Fn(OutputLine<'_>) + Send + Sync>;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl From<ExitStatus> for ProcessEnd {
    fn from(status: ExitStatus) -> Self {
        status.signal().map_or_else(|| Self::Code(status.code().unwrap_or(-1)), Self::Signal)
    }
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(9) => f.write_str("killed"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A child process. Signals are sent to its whole process group, so its own children get them too. Killed on drop.
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    ended: Option<ProcessEnd>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts the command without standard input. `sink` receives its output lines.
    ///
    /// # Errors
    /// Returns [`TestbedError::File`] if the program cannot be executed.
    pub fn spawn(name: impl Into<String>, mut command: Command, sink: Option<LineSink>) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::launch(name.into(), command, sink)
    }

    /// As [`Self::spawn`], with standard input for [`Self::write_line`].
    ///
    /// # Errors
    /// See [`Self::spawn`].
    pub fn spawn_with_input(name: impl Into<String>, mut command: Command, sink: Option<LineSink>) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::launch(name.into(), command, sink)
    }

    fn launch(name: String, mut command: Command, sink: Option<LineSink>) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().on_path("cannot run", command.get_program().as_ref())?;
        guard::watch(child.id());
        let last_lines = Arc::new(Mutex::new(VecDeque::with_capacity(KEPT_LINES)));
        let mut readers = Vec::with_capacity(2);
        if let Some(out) = child.stdout.take() {
            readers.push(read_lines(out, OutputStream::Out, sink.clone(), Arc::clone(&last_lines)));
        }
        if let Some(err) = child.stderr.take() {
            readers.push(read_lines(err, OutputStream::Err, sink, Arc::clone(&last_lines)));
        }
        let input = child.stdin.take();
        Ok(Self { name, child, input, ended: None, last_lines, readers })
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if the process has exited, or was started by [`Self::spawn`].
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        const DOING: &str = "cannot write to the standard input of a process";
        let input = self.input.as_mut().ok_or_else(|| std::io::ErrorKind::BrokenPipe.into()).context(DOING)?;
        input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush()).context(DOING)
    }

    /// The name given to [`Self::spawn`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id. After the process has ended, the kernel may reuse it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ProcessEnd> {
        if self.ended.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.reaped(status);
        }
        self.ended
    }

    /// Sends SIGKILL and waits for the exit. Does nothing if the process has ended.
    ///
    /// # Errors
    /// Returns [`TestbedError::Io`] if the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended().is_none() {
            self.signal(Signal::KILL)?;
            let status = self.child.wait().context("cannot wait for a process")?;
            self.reaped(status);
        }
        Ok(())
    }

    /// Sends SIGTERM. Returns at once.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGSTOP: the process keeps its sockets and stops running. Returns when all of its threads have stopped, which
    /// takes a while on a busy machine.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()).filter(|_| self.ended().is_none()) else {
            return Ok(());
        };
        // NOWAIT leaves the status of a process that has exited to `ended`.
        let stopped_or_ended = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), stopped_or_ended).map_err(Into::into).context("cannot stop a process").map(drop)
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// See [`Self::kill`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits at most `timeout` for the exit. Returns `None` if the process still runs.
    pub fn wait(&mut self, timeout: Duration) -> Option<ProcessEnd> {
        let deadline = Instant::now() + timeout;
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.ended
    }

    /// Waits until all output lines have been passed on. Call this only after the process has ended.
    pub fn finish_reading(&mut self) {
        self.readers.drain(..).for_each(|reader| _ = reader.join());
    }

    /// The last output lines for an error message: empty, or beginning with a line feed.
    pub fn last_lines(&self) -> String {
        let lines = self.last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }

    /// A [`TestbedError::Start`] with the last output lines.
    pub(crate) fn start_error(&mut self, reason: impl Into<String>) -> TestbedError {
        if self.ended().is_some() {
            self.finish_reading();
        }
        TestbedError::Start { name: self.name.clone(), reason: reason.into(), log: self.last_lines() }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // The kernel does not reuse the id of a child that was not waited for, so the signal cannot reach another process.
        match Pid::from_raw(self.child.id().cast_signed()) {
            Some(pid) if self.ended().is_none() => match kill_process_group(pid, signal) {
                // The process ended after the check.
                Err(rustix::io::Errno::SRCH) => Ok(()),
                other => other.map_err(Into::into).context("cannot signal a process"),
            },
            _ => Ok(()),
        }
    }

    fn reaped(&mut self, status: ExitStatus) {
        guard::forget(self.child.id());
        self.ended = Some(status.into());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("name", &self.name).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

fn read_lines(
    pipe: impl Read + Send + 'static,
    stream: OutputStream,
    sink: Option<LineSink>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\n', '\r']);
            {
                let mut last = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == KEPT_LINES {
                    last.pop_front();
                }
                last.push_back(text.to_owned());
            }
            if let Some(sink) = &sink {
                sink(OutputLine { stream, text });
            }
            bytes.clear();
        }
    })
}

/// Calls `ask` until it returns a value or `timeout` has passed.
pub(crate) fn poll<T>(timeout: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}
