//! Runs the workloads.

use std::{
    io,
    sync::mpsc::{self, TryRecvError},
    thread,
};

use super::{
    LoadArguments, LoadKind,
    capacity::CapacitySearch,
    deliveries::WindowCounts,
    engine::SocketEngine,
    plan::SocketPlan,
    proc::{self, ProcessCpu},
    report::{CapacityStep, LatencyQuantiles, LoadReport},
    schedule::Schedule,
};
use crate::BenchError;

/// One second in ns.
const SECOND: u64 = 1_000_000_000;
/// After this time without a delivery or an acknowledgement, outstanding ones are given up. In ns.
const STALL_TIMEOUT: u64 = 2 * SECOND;
/// Maximum time to wait for outstanding deliveries after the window, in ns.
const SETTLE_TIMEOUT: u64 = 30 * SECOND;
/// Maximum time for all sockets of a herd to reconnect, in ns.
const RECONNECT_TIMEOUT: u64 = 60 * SECOND;
/// Share of a mixed load's reconnecting sockets that reconnect per second.
const RECONNECTS_PER_SOCKET_AND_S: f64 = 0.1;

/// A rate is not sustained if less than this share of its messages was sent in the window.
const MIN_SENT_SHARE: f64 = 0.95;

/// Maximum rate of the first messages of all rooms, in rooms per second. All peers sustain it.
const WARM_ROOMS_PER_S: f64 = 500.0;
/// Maximum time for the first messages of all rooms, in seconds. More than 20,000 rooms get theirs at a higher rate.
const MAX_WARM_SECONDS: f64 = 40.0;

#[derive(Debug)]
pub(super) struct WorkloadRunner<'a> {
    arguments: &'a LoadArguments,
    plan: &'a SocketPlan,
    engine: SocketEngine<'a>,
    /// Room of the next message.
    room: usize,
    /// Schedule of a paced load's messages.
    schedule: Schedule,
    /// Sockets that reconnect again and again, and their schedule.
    reconnecting: Vec<usize>,
    reconnects: Schedule,
}

/// CPU times of all processes at one time.
#[derive(Debug)]
struct CpuReading {
    at: u64,
    server: ProcessCpu,
    redis: ProcessCpu,
    load: ProcessCpu,
}

/// CPU times between two readings, in µs.
#[derive(Clone, Debug, Default)]
struct CpuSpent {
    seconds: f64,
    server: u64,
    /// Per process.
    redis: Vec<u64>,
    load: u64,
}

/// The measurements of one window.
#[derive(Clone, Debug, Default)]
struct MeasuredWindow {
    spent: CpuSpent,
    counts: WindowCounts,
    latency: LatencyQuantiles,
    /// In a herd, the number of sockets that reconnected, and the CPU time meanwhile.
    reconnects: Option<(u64, CpuSpent)>,
}

impl MeasuredWindow {
    /// Whether the server delivered everything in time at this rate of messages per second, and the load generator itself
    /// kept up.
    fn is_sustained(&self, rate: f64, limit_ms: f64) -> bool {
        let kept_up = self.counts.sent as f64 >= MIN_SENT_SHARE * rate * self.spent.seconds;
        kept_up && self.counts.lost == 0 && self.latency.p99 as f64 <= limit_ms * 1000.0
    }
}

impl CpuReading {
    fn since(&self, earlier: &Self) -> CpuSpent {
        let each = |now: &ProcessCpu, then: &ProcessCpu| -> Vec<u64> {
            now.since_each(then).map(|spent| spent.as_micros() as u64).collect()
        };
        let us = |now: &ProcessCpu, then: &ProcessCpu| each(now, then).iter().sum();
        CpuSpent {
            seconds: (self.at - earlier.at) as f64 / 1e9,
            server: us(&self.server, &earlier.server),
            redis: each(&self.redis, &earlier.redis),
            load: us(&self.load, &earlier.load),
        }
    }
}

impl<'a> WorkloadRunner<'a> {
    pub(super) fn new(arguments: &'a LoadArguments, plan: &'a SocketPlan, engine: SocketEngine<'a>) -> Self {
        let reconnecting = (0..plan.sockets.len()).filter(|index| plan.sockets[*index].reconnecting).collect();
        let never = Schedule::new(u64::MAX, 1.0);
        Self { arguments, plan, engine, room: 0, schedule: never, reconnecting, reconnects: never }
    }

    pub(super) fn run(mut self) -> Result<LoadReport, BenchError> {
        let arguments = self.arguments;
        let pss_before = proc::pss_kib(&arguments.server_pids)?;
        eprintln!("trunkline-bench: opening {} sockets", self.plan.sockets.len());
        let begin = self.reading()?;
        self.engine.enqueue(0..self.plan.sockets.len());
        self.engine.all_open()?;
        let opened = self.reading()?.since(&begin);
        let mut connects = (self.plan.sockets.len() as u64, opened.clone());
        self.engine.quiet()?;
        let mut pss_after = proc::pss_kib(&arguments.server_pids)?;
        let mut window = MeasuredWindow { spent: opened, ..MeasuredWindow::default() };
        let (mut capacity, mut steps) = (None, Vec::new());
        if let Some(limit_ms) = arguments.capacity_p99 {
            self.warm_rooms()?;
            self.start();
            (capacity, window) = self.find_capacity(limit_ms, &mut steps)?;
        } else if arguments.workload != LoadKind::Connect {
            self.warm_rooms()?;
            eprintln!("trunkline-bench: measuring for {} s", arguments.duration.as_secs_f64());
            if arguments.hold {
                self.hold()?;
            }
            self.start();
            window = self.measure()?;
            connects = window.reconnects.take().unwrap_or(connects);
        }
        if arguments.workload == LoadKind::Idle {
            pss_after = proc::pss_kib(&arguments.server_pids)?;
        }
        let MeasuredWindow { spent, counts, latency, .. } = window;
        let (connects, opened) = connects;
        Ok(LoadReport {
            dialect: arguments.dialect,
            workload: arguments.workload,
            sockets: arguments.sockets,
            rooms: arguments.rooms,
            targets: arguments.targets.len(),
            seconds: spent.seconds,
            sent: counts.sent,
            acknowledged: arguments.dialect.acknowledges().then_some(counts.acknowledged),
            delivered: counts.delivered,
            lost: counts.lost,
            repeated: counts.repeated,
            closed: self.engine.closed,
            server_cpu_us: spent.server,
            redis_cpu_us: spent.redis.iter().sum(),
            redis_cpu_us_each: spent.redis,
            load_cpu_us: spent.load,
            capacity,
            steps,
            latency_us: latency,
            connects,
            connect_seconds: opened.seconds,
            connect_cpu_us: opened.server,
            pss_kib_before: pss_before,
            pss_kib_after: pss_after,
        })
    }

    /// Serves the sockets without messages until a line arrives on standard input, or its end.
    fn hold(&mut self) -> Result<(), BenchError> {
        let (sender, released) = mpsc::channel::<()>();
        thread::spawn(move || {
            let _ = io::stdin().read_line(&mut String::new());
            drop(sender);
        });
        while released.try_recv() == Err(TryRecvError::Empty) {
            self.until(self.engine.now() + SECOND / 10)?;
        }
        Ok(())
    }

    /// Sends one message to each room, unless the warm-up does: the first message of a room costs several times as much as
    /// the later ones (Trunkline creates four Redis keys for it), and few rooms of a running system get their first one.
    fn warm_rooms(&mut self) -> Result<(), BenchError> {
        let LoadArguments { rooms, warm_up, workload, .. } = self.arguments;
        let in_warm_up = self.arguments.sends_per_second() * warm_up.as_secs_f64();
        if workload.paced() && in_warm_up < *rooms as f64 {
            eprintln!("trunkline-bench: sending a first message to each of {rooms} rooms");
            let (begin, seconds) = (self.engine.now(), warm_room_seconds(*rooms));
            self.schedule = Schedule::new(begin, *rooms as f64 / seconds);
            self.until(begin + (seconds * 1e9) as u64)?;
            self.schedule = Schedule::new(u64::MAX, 1.0);
            self.settle()?;
        }
        Ok(())
    }

    /// Warms up, runs the workload for one window, and waits for outstanding deliveries.
    fn measure(&mut self) -> Result<MeasuredWindow, BenchError> {
        let LoadArguments { warm_up, duration, workload, .. } = self.arguments;
        self.until(self.engine.now() + warm_up.as_nanos() as u64)?;
        let begin = self.reading()?;
        self.engine.shared.deliveries.open_window();
        let end = self.engine.now() + duration.as_nanos() as u64;
        let mut reconnects = None;
        if *workload == LoadKind::Herd {
            let closed = self.cut_all();
            self.all_back()?;
            reconnects = Some((closed, self.reading()?.since(&begin)));
        }
        self.until(end)?;
        self.engine.shared.deliveries.close_window();
        let spent = self.reading()?.since(&begin);
        self.settle()?;
        let deliveries = &self.engine.shared.deliveries;
        let (counts, latency) = (deliveries.counts(), deliveries.latency());
        let quantile = |quantile| latency.value_at_quantile(quantile);
        let latency = LatencyQuantiles {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: latency.max(),
        };
        Ok(MeasuredWindow { spent, counts, latency, reconnects })
    }

    /// Finds the highest rate that the server sustains. Returns the rate in messages per second, and its window; appends to
    /// `steps`.
    fn find_capacity(
        &mut self,
        limit_ms: f64,
        steps: &mut Vec<CapacityStep>,
    ) -> Result<(Option<f64>, MeasuredWindow), BenchError> {
        let mut search = CapacitySearch::new(self.arguments.sends_per_second());
        let mut best = (Some(0.0), MeasuredWindow::default());
        while let Some(rate) = search.rate() {
            let closed = self.engine.closed;
            self.schedule = Schedule::new(self.engine.now(), rate);
            let window = self.measure()?;
            let is_sustained = self.engine.closed == closed && window.is_sustained(rate, limit_ms);
            let (p99_ms, lost) = (window.latency.p99 as f64 / 1000.0, window.counts.lost);
            eprintln!(
                "trunkline-bench: {rate:.0} messages/s: p99 {p99_ms:.1} ms, {lost} lost, sustained: {is_sustained}"
            );
            search.record(rate, is_sustained);
            steps.push(CapacityStep { rate, latency_us: window.latency, lost, is_sustained });
            if is_sustained {
                best = (Some(rate), window);
            } else {
                self.engine.shared.deliveries.write_off();
                self.engine.reopen_closed()?;
            }
        }
        Ok(best)
    }

    fn reading(&self) -> Result<CpuReading, BenchError> {
        Ok(CpuReading {
            server: ProcessCpu::read(&self.arguments.server_pids)?,
            redis: ProcessCpu::read(&self.arguments.redis_pids)?,
            load: ProcessCpu::read(&[std::process::id()])?,
            at: self.engine.now(),
        })
    }

    fn start(&mut self) {
        let now = self.engine.now();
        self.engine.shared.progress = now;
        if self.arguments.workload.paced() {
            self.schedule = Schedule::new(now, self.arguments.sends_per_second());
        }
        if !self.reconnecting.is_empty() {
            self.reconnects = Schedule::new(now, self.reconnecting.len() as f64 * RECONNECTS_PER_SOCKET_AND_S);
        }
    }

    /// Runs the workload until `end`, in ns.
    fn until(&mut self, end: u64) -> Result<(), BenchError> {
        loop {
            let now = self.engine.now();
            if now >= end {
                return Ok(());
            }
            let next = self.feed(now);
            self.engine.turn(next.min(end))?;
        }
    }

    /// Sends all messages that are due or allowed, and returns the time of the next one.
    fn feed(&mut self, now: u64) -> u64 {
        match self.arguments.workload {
            LoadKind::Connect | LoadKind::Idle => u64::MAX,
            LoadKind::Publish if self.arguments.dialect.acknowledges() => {
                self.fill(now, |engine| engine.shared.deliveries.unacknowledged())
            }
            LoadKind::Flat | LoadKind::Publish => self.fill(now, |engine| engine.shared.deliveries.incomplete()),
            LoadKind::Paced | LoadKind::Rooms | LoadKind::Herd => self.send_due(now),
            LoadKind::Mixed => {
                while self.reconnects.take(now).is_some() {
                    self.reconnecting.rotate_left(1);
                    let index = self.reconnecting[0];
                    if self.engine.is_ready(index) {
                        self.engine.cut(index);
                        self.engine.enqueue([index]);
                    }
                }
                self.send_due(now).min(self.reconnects.next())
            }
        }
    }

    fn send_due(&mut self, now: u64) -> u64 {
        while self.schedule.next() <= now {
            let due = self.schedule.next();
            if !self.engine.publish(self.room, due) {
                // An event arrives when the socket accepts bytes again.
                return u64::MAX;
            }
            self.schedule.take(now);
            self.next_room();
        }
        self.schedule.next()
    }

    /// Sends until the window is full.
    fn fill(&mut self, now: u64, under_way: impl Fn(&SocketEngine<'_>) -> u32) -> u64 {
        let shared = &mut self.engine.shared;
        if shared.progress + STALL_TIMEOUT < now && shared.deliveries.next() > 0 {
            shared.deliveries.write_off();
            shared.progress = now;
        }
        while under_way(&self.engine) < self.arguments.window && self.engine.publish(self.room, now) {
            self.next_room();
        }
        self.engine.soon()
    }

    fn next_room(&mut self) {
        self.room = (self.room + 1) % self.arguments.rooms;
    }

    /// Closes all sockets except writers, and opens them again.
    fn cut_all(&mut self) -> u64 {
        let writes = |index: &usize| self.plan.writers[self.plan.sockets[*index].room].contains(index);
        let cut: Vec<_> = (0..self.plan.sockets.len()).filter(|index| !writes(index)).collect();
        cut.iter().for_each(|index| self.engine.cut(*index));
        self.engine.enqueue(cut.iter().copied());
        cut.len() as u64
    }

    /// Continues the workload until all sockets are open again.
    fn all_back(&mut self) -> Result<(), BenchError> {
        let end = self.engine.now() + RECONNECT_TIMEOUT;
        while self.engine.opening() > 0 {
            if self.engine.now() > end {
                return Err(BenchError::Server(format!(
                    "{} sockets did not reconnect within 60 s",
                    self.engine.opening()
                )));
            }
            self.until(self.engine.now() + SECOND / 1000)?;
        }
        Ok(())
    }

    /// Waits for outstanding deliveries.
    fn settle(&mut self) -> Result<(), BenchError> {
        let begin = self.engine.now();
        loop {
            let now = self.engine.now();
            let silent = now.saturating_sub(begin.max(self.engine.shared.progress)) > STALL_TIMEOUT;
            if self.engine.shared.deliveries.incomplete() == 0 || silent || now > begin + SETTLE_TIMEOUT {
                return Ok(());
            }
            self.engine.turn(self.engine.soon())?;
        }
    }
}

/// Time in which each of so many rooms gets its first message, in seconds.
fn warm_room_seconds(rooms: usize) -> f64 {
    (rooms as f64 / WARM_ROOMS_PER_S).min(MAX_WARM_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages_of_all_rooms_are_spread_over_a_bounded_time() {
        assert_eq!([1, 1000, 10_000, 100_000].map(warm_room_seconds), [0.002, 2.0, 20.0, 40.0]);
    }
}
