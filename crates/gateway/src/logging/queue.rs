//! The log writer: a bounded queue of lines and a thread that writes them to standard error.
//!
//! Logging must never stop the service. A write to standard error blocks while the pipe is full and unread, and fails
//! once its reader is gone; both happen only on the writer thread. When the queue is full, new lines are dropped and
//! counted.
//!
//! `tracing-appender` is not used: its queue is bounded in lines, not in bytes, and lines that could not be written are
//! not counted.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;
use trunkline_gateway::count_dropped_log_lines;

/// Maximum size of the waiting lines, in bytes: about 5,000 lines.
const CAPACITY_BYTES: usize = 1 << 20;
/// Time between two attempts to write to a non-blocking standard error that is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Accepts log lines from every thread without blocking. Clones share the queue.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<SharedLines>);

struct SharedLines {
    lines: Mutex<QueuedLines>,
    /// Signals a change of `lines`.
    changed: Condvar,
}

#[derive(Default)]
struct QueuedLines {
    bytes: Vec<u8>,
    /// Dropped lines that no log line has reported yet.
    dropped: u64,
    /// Whether the writer thread holds lines that it has not written yet.
    writing: bool,
}

impl LogQueue {
    /// Starts the writer thread.
    ///
    /// # Errors
    /// Returns an error if the descriptor of standard error cannot be duplicated, or the thread cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        // A duplicate, because `io::Stderr` holds a lock during a blocked write, and other users of it would wait for
        // the lock.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let queue = Self(Arc::new(SharedLines { lines: Mutex::default(), changed: Condvar::new() }));
        let writer = queue.clone();
        thread::Builder::new().name("log writer".to_owned()).spawn(move || writer.write_to(stderr))?;
        Ok(queue)
    }

    /// Adds a line, or drops it if the queue is full.
    fn push(&self, line: &[u8]) {
        let mut lines = self.lock();
        if lines.bytes.len() + line.len() > CAPACITY_BYTES {
            lines.dropped += 1;
            count_dropped_log_lines(1);
        } else {
            lines.bytes.extend_from_slice(line);
            drop(lines);
            self.0.changed.notify_all();
        }
    }

    /// Waits until every line is written, for at most `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut lines = self.lock();
        while !lines.bytes.is_empty() || lines.writing {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            lines = self.0.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes lines as they come; the body of the writer thread.
    fn write_to(&self, mut output: impl Write) {
        loop {
            let bytes = {
                let mut lines = self.lock();
                while lines.bytes.is_empty() {
                    lines = self.0.changed.wait(lines).unwrap_or_else(PoisonError::into_inner);
                }
                lines.writing = true;
                std::mem::take(&mut lines.bytes)
            };
            let unwritten = write(&mut output, &bytes);
            let mut lines = self.lock();
            lines.writing = false;
            let dropped = if unwritten == 0 {
                std::mem::take(&mut lines.dropped)
            } else {
                lines.dropped += unwritten;
                count_dropped_log_lines(unwritten);
                0
            };
            drop(lines);
            self.0.changed.notify_all();
            if dropped > 0 {
                tracing::warn!(dropped, "log lines were dropped because standard error was not read fast enough");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueuedLines> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whole lines. Returns the number of lines that could not be written, because the reader is gone or the disk is
/// full.
fn write(output: &mut impl Write, mut bytes: &[u8]) -> u64 {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(written @ 1..) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_INTERVAL),
            Ok(0) | Err(_) => return bytes.iter().filter(|&&b| b == b'\n').count() as u64,
        }
    }
    0
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(self)
    }
}

/// Adds what is written to the queue. `tracing-subscriber` writes each line with one call.
pub(super) struct LineWriter<'a>(&'a LogQueue);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn queue() -> LogQueue {
        LogQueue(Arc::new(SharedLines { lines: Mutex::default(), changed: Condvar::new() }))
    }

    #[test]
    fn full_queue_drops_lines_without_blocking_and_counts_them() {
        let queue = queue();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        for _ in 0..CAPACITY_BYTES / 100 + 7 {
            queue.push(&line);
        }
        let lines = queue.lock();
        assert!(lines.bytes.len() <= CAPACITY_BYTES);
        assert_eq!(lines.dropped, 7);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_later_lines_are_written() {
        struct Output(mpsc::Sender<Vec<u8>>, u8);
        impl Write for Output {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                match self.1 {
                    1 => Err(ErrorKind::BrokenPipe.into()),
                    2 => Err(ErrorKind::WouldBlock.into()),
                    3 => Err(ErrorKind::Interrupted.into()),
                    _ => {
                        self.0.send(bytes.to_vec()).unwrap();
                        Ok(bytes.len())
                    }
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = queue();
        queue.push(b"one\ntwo\n");
        let (sender, written) = mpsc::channel();
        let writer = queue.clone();
        thread::spawn(move || writer.write_to(Output(sender, 0)));
        queue.flush(Duration::from_secs(10));
        assert_eq!(queue.lock().dropped, 2);
        queue.push(b"three\n");
        queue.flush(Duration::from_secs(10));
        assert_eq!(written.recv().unwrap(), b"three\n");
        assert_eq!(queue.lock().dropped, 0, "reported");
    }
}
