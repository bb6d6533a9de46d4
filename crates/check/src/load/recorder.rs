//! Writing the history down while it happens, and judging it at once.

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
    Error,
    history::{Line, Micros},
    judge::{Counts, Judge, Quantiles, Verdict},
};

/// Most bytes of history that may wait for the judge. Beyond, lines are dropped and the run counts for nothing.
const WAITING_MOST: usize = 256 << 20;
/// How often the judge looks.
const PACE: Duration = Duration::from_millis(50);

/// Where clients write down what they see. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    waiting: Mutex<Vec<u8>>,
    overflowed: AtomicBool,
    done: AtomicBool,
    glance: Mutex<Glance>,
}

/// The state of the judgement, for people who wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Glance {
    pub(crate) counts: Counts,
    pub(crate) delivery: Quantiles,
    /// Presence was right when it was last compared.
    pub(crate) present: bool,
}

impl Recorder {
    /// Starts the judge; the history goes to `file` too.
    pub(crate) fn start(url: &str, seed: u64, file: Option<&Path>) -> Result<(Self, Judging), Error> {
        let file = match file {
            Some(path) => Some((BufWriter::new(File::create(path).map_err(Error::file(path))?), path.to_owned())),
            None => None,
        };
        let shared = Arc::new(Shared {
            start: Instant::now(),
            waiting: Mutex::default(),
            overflowed: AtomicBool::new(false),
            done: AtomicBool::new(false),
            glance: Mutex::default(),
        });
        let recorder = Self { shared: shared.clone() };
        let started = millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        recorder.write(|_| Some(Line::Run { version: 1, started, url: url.into(), seed }));
        let judging = thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || shared.judge(file))
            .map_err(|source| Error::Network { doing: "start a thread".to_owned(), source })?;
        Ok((recorder, Judging { thread: judging }))
    }

    /// Writes a line, if it is one. Its time is taken while nobody else writes, so that the order of the lines is that of the times.
    pub(crate) fn write<'a>(&self, line: impl FnOnce(Micros) -> Option<Line<'a>>) {
        let mut waiting = lock(&self.shared.waiting);
        if waiting.len() > WAITING_MOST {
            self.shared.overflowed.store(true, Ordering::Relaxed);
            return;
        }
        if let Some(line) = line(self.now()) {
            line.write(&mut waiting);
        }
    }

    /// Microseconds since the run began.
    pub(crate) fn now(&self) -> Micros {
        Micros::try_from(self.shared.start.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// When that microsecond is.
    pub(crate) fn instant(&self, at: Micros) -> Instant {
        self.shared.start + Duration::from_micros(at)
    }

    /// How it stands.
    pub(crate) fn glance(&self) -> Glance {
        *lock(&self.shared.glance)
    }

    /// No more lines will come.
    pub(crate) fn finish(&self) {
        self.shared.done.store(true, Ordering::Release);
    }
}

/// The judge at work.
#[derive(Debug)]
pub(crate) struct Judging {
    thread: JoinHandle<Result<Verdict, Error>>,
}

impl Judging {
    /// The verdict, after [`Recorder::finish`].
    pub(crate) fn verdict(self) -> Result<Verdict, Error> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Shared {
    fn judge(&self, mut file: Option<(BufWriter<File>, PathBuf)>) -> Result<Verdict, Error> {
        let mut judge = Judge::new();
        let mut bytes = Vec::new();
        loop {
            // Read before the lines are taken: after the last line nothing is missed.
            let done = self.done.load(Ordering::Acquire);
            std::mem::swap(&mut bytes, &mut *lock(&self.waiting));
            if let Some((file, path)) = &mut file {
                file.write_all(&bytes).map_err(Error::file(&*path))?;
            }
            take_lines(&mut judge, &bytes, 0)?;
            let idle = bytes.is_empty();
            bytes.clear();
            let present = judge.is_present();
            *lock(&self.glance) = Glance { counts: judge.counts(), delivery: judge.delivery(), present };
            if done && idle {
                break;
            }
            if idle {
                thread::sleep(PACE);
            }
        }
        if let Some((file, path)) = &mut file {
            file.flush().map_err(Error::file(&*path))?;
        }
        if self.overflowed.load(Ordering::Relaxed) {
            let advice = "this machine cannot judge as fast as it records: lower the rate or the number of readers";
            return Err(Error::Usage(advice.to_owned()));
        }
        Ok(judge.verdict())
    }
}

/// Gives whole lines to a judge; `before` are the lines that were read earlier.
pub(crate) fn take_lines(judge: &mut Judge, bytes: &[u8], before: usize) -> Result<usize, Error> {
    let mut count = before;
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        count += 1;
        judge.take(serde_json::from_slice(line).map_err(|source| Error::History { line: count, source })?);
    }
    Ok(count)
}

/// A panic elsewhere does not make the lines wrong.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
