//! epoll(7) with a timer.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};

/// Maximum number of events per wait.
pub(crate) const MAX_EVENTS: usize = 256;
/// Token of the timer.
const TIMER: u64 = u64::MAX;
const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An event of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketEvent {
    pub(crate) token: u64,
    /// The peer has closed the connection, or the socket has failed. There may be more bytes than a short read returns.
    pub(crate) ending: bool,
}

/// Waits for events of many sockets. Edge-triggered: each change is reported once, so a socket must be read until a read
/// is short or would block (epoll(7), "Questions and answers").
pub(crate) struct Poll {
    epoll: OwnedFd,
    /// A timer with a finer resolution than epoll's milliseconds.
    timer: OwnedFd,
    armed: Option<Instant>,
    happened: Vec<epoll::Event>,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None, happened: Vec::with_capacity(MAX_EVENTS) })
    }

    /// Watches a socket until it is closed.
    pub(crate) fn add(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), flags)?)
    }

    /// Waits for events until `until` at the latest. Replaces the content of `events`.
    pub(crate) fn wait(&mut self, events: &mut Vec<SocketEvent>, until: Option<Instant>) -> io::Result<()> {
        let mut timeout = None;
        if let Some(until) = until.filter(|until| self.armed != Some(*until)) {
            let left = until.saturating_duration_since(Instant::now());
            match Timespec::try_from(left) {
                // A zero timeout would disarm the timer.
                Ok(left) if left != ZERO => {
                    let once = Itimerspec { it_interval: ZERO, it_value: left };
                    timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
                    self.armed = Some(until);
                }
                _ => timeout = Some(&ZERO),
            }
        }
        self.happened.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.happened), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        events.clear();
        for event in &self.happened {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == TIMER {
                self.armed = None;
            } else {
                events.push(SocketEvent {
                    token,
                    ending: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                });
            }
        }
        Ok(())
    }
}
