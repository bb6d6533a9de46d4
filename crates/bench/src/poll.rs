//! epoll(7) with a timer: a thin shell over the kernel's interface.

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

/// Most events that one wake-up takes.
pub(crate) const EVENTS: usize = 256;
/// Token of the timer.
const TIMER: u64 = u64::MAX;
const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Which source something happened at, and what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketEvent {
    pub(crate) token: u64,
    /// There may be more to read than one short read tells: the peer has closed, or the source is broken.
    pub(crate) ending: bool,
}

/// Waits for many sources. Edge-triggered: a source is told of once for each change, so it must be read until a read is
/// short or would block (epoll(7), questions and answers).
pub(crate) struct Poll {
    epoll: OwnedFd,
    /// Finer than epoll's milliseconds.
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
        Ok(Self { epoll, timer, armed: None, happened: Vec::with_capacity(EVENTS) })
    }

    /// Watches a source until it is closed.
    pub(crate) fn add(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), flags)?)
    }

    /// Waits until something happens, or until then. `events` is filled anew.
    pub(crate) fn wait(&mut self, events: &mut Vec<SocketEvent>, until: Option<Instant>) -> io::Result<()> {
        let mut timeout = None;
        if let Some(until) = until.filter(|until| self.armed != Some(*until)) {
            let left = until.saturating_duration_since(Instant::now());
            match Timespec::try_from(left) {
                // Zero would disarm the timer.
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
