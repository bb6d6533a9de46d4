//! Records the history of a run and judges it at the same time.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use trunkline_domain::millis;

use crate::{
    CheckError,
    history::{HistoryLine, Micros},
    judge::{Judge, Quantiles, RunCounts, Verdict},
};

/// Largest backlog of recorded lines that the judge has not read, in bytes: 256 MiB. Lines beyond it are dropped, and the
/// run fails.
const BACKLOG_BYTES_MAX: usize = 256 << 20;
/// Time that the judge sleeps when there is nothing to read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Records the history of a run. Clones share the history.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    shared: Arc<RecorderState>,
}

#[derive(Debug)]
struct RecorderState {
    start: Instant,
    /// Recorded lines that the judge has not read.
    backlog: Mutex<Vec<u8>>,
    overflowed: AtomicBool,
    finished: AtomicBool,
    metrics: Mutex<LiveMetrics>,
}

/// Counts and latencies of a run so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveMetrics {
    /// Counts so far.
    pub counts: RunCounts,
    /// Delivery latencies so far.
    pub delivery: Quantiles,
    /// Whether presence equalled the open sockets when it was last compared.
    pub is_presence_right: bool,
}

impl Recorder {
    /// Starts a thread that judges the history and writes it to `file`.
    ///
    /// # Errors
    /// [`CheckError::File`] if the file cannot be created, [`CheckError::System`] if the thread cannot be started.
    pub(crate) fn start(url: &str, seed: u64, file: Option<&Path>) -> Result<(Self, JudgeThread), CheckError> {
        let file = match file {
            Some(path) => Some((BufWriter::new(File::create(path).map_err(CheckError::file(path))?), path.to_owned())),
            None => None,
        };
        let shared = Arc::new(RecorderState {
            start: Instant::now(),
            backlog: Mutex::default(),
            overflowed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            metrics: Mutex::default(),
        });
        let recorder = Self { shared: shared.clone() };
        let started = millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        recorder.record(|_| Some(HistoryLine::Run { version: 2, started, url: url.into(), seed }));
        let thread = thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || shared.judge(file))
            .map_err(|source| CheckError::System { action: "start a thread".to_owned(), source })?;
        Ok((recorder, JudgeThread { thread }))
    }

    /// Records a line, if `line` returns one. The time is read under the lock, so that lines are in the order of their times.
    pub(crate) fn record<'a>(&self, line: impl FnOnce(Micros) -> Option<HistoryLine<'a>>) {
        let mut backlog = lock(&self.shared.backlog);
        if backlog.len() > BACKLOG_BYTES_MAX {
            self.shared.overflowed.store(true, Ordering::Relaxed);
            return;
        }
        if let Some(line) = line(self.now()) {
            line.write(&mut backlog);
        }
    }

    /// Returns the microseconds since the start of the run.
    pub(crate) fn now(&self) -> Micros {
        Micros::try_from(self.shared.start.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Converts microseconds since the start of the run to an instant.
    pub(crate) fn instant(&self, at: Micros) -> Instant {
        self.shared.start + Duration::from_micros(at)
    }

    /// Returns counts and latencies so far.
    pub(crate) fn metrics(&self) -> LiveMetrics {
        *lock(&self.shared.metrics)
    }

    /// Signals the judge that no more lines follow.
    pub(crate) fn finish(&self) {
        self.shared.finished.store(true, Ordering::Release);
    }
}

/// The thread that judges the history.
#[derive(Debug)]
pub(crate) struct JudgeThread {
    thread: JoinHandle<Result<Verdict, CheckError>>,
}

impl JudgeThread {
    /// Waits for the verdict. Call [`Recorder::finish`] first.
    ///
    /// # Errors
    /// [`CheckError::File`] if the history could not be written, [`CheckError::Usage`] if the judge was too slow.
    pub(crate) fn verdict(self) -> Result<Verdict, CheckError> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl RecorderState {
    fn judge(&self, mut file: Option<(BufWriter<File>, PathBuf)>) -> Result<Verdict, CheckError> {
        let mut judge = Judge::new();
        let (mut bytes, mut lines) = (Vec::new(), 0);
        loop {
            // Read before the backlog is taken, so that no line is missed after the flag is set.
            let finished = self.finished.load(Ordering::Acquire);
            std::mem::swap(&mut bytes, &mut *lock(&self.backlog));
            if let Some((file, path)) = &mut file {
                file.write_all(&bytes).map_err(CheckError::file(&*path))?;
            }
            lines = judge.take_lines(&bytes, lines)?;
            let idle = bytes.is_empty();
            bytes.clear();
            *lock(&self.metrics) = LiveMetrics {
                counts: judge.counts(),
                delivery: judge.delivery(),
                is_presence_right: judge.is_presence_right(),
            };
            if finished && idle {
                break;
            }
            if idle {
                thread::sleep(POLL_INTERVAL);
            }
        }
        if let Some((file, path)) = &mut file {
            file.flush().map_err(CheckError::file(&*path))?;
        }
        if self.overflowed.load(Ordering::Relaxed) {
            let advice = "the judge cannot keep up with the run on this machine; lower --rate or the number of readers";
            return Err(CheckError::Usage(advice.to_owned()));
        }
        Ok(judge.verdict())
    }
}

/// Locks a mutex. A panic in another thread does not invalidate what was recorded before it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
