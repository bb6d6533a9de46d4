//! The table at the bottom of the terminal while a cluster runs.

use std::{
    collections::HashMap,
    sync::mpsc::{self, Sender, SyncSender},
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{Console, http_get};

use super::{
    ClusterEvent,
    instance::InstanceState,
    report::{ClusterReport, ReportedInstance},
};

/// Time between two requests for an instance's metrics.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time for the answer to such a request.
const METRICS_TIMEOUT: Duration = Duration::from_millis(500);
/// Frames of the animation while an instance starts or drains.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// Duration of one animation frame.
const SPINNER_INTERVAL: Duration = Duration::from_millis(200);

/// Metrics of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceMetrics {
    /// Number of open sockets.
    sockets: u64,
    /// Messages appended to logs since the process started.
    sent: u64,
}

impl InstanceMetrics {
    /// Parses the Prometheus text format.
    fn parse(metrics: &str) -> Option<Self> {
        let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let sent = value("trunkline_sends_total{outcome=\"sent\"}").unwrap_or(0);
        Some(Self { sockets: value("trunkline_sockets ")?, sent })
    }
}

/// The state of one table row.
#[derive(Debug)]
struct ShownInstance {
    state: InstanceState,
    since: Instant,
    metrics: Option<(Instant, InstanceMetrics)>,
    /// Messages per second between the last two answers.
    rate: Option<f64>,
}

impl ShownInstance {
    fn new(state: InstanceState, now: Instant) -> Self {
        Self { state, since: now, metrics: None, rate: None }
    }

    fn observe(&mut self, now: Instant, metrics: Option<InstanceMetrics>) {
        let before = self.metrics.take();
        self.metrics = metrics.map(|metrics| (now, metrics));
        self.rate = before.zip(metrics).and_then(|((then, before), after)| {
            let sent = after.sent.checked_sub(before.sent)?;
            #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
            Some(sent as f64 / (now - then).as_secs_f64().max(0.001))
        });
    }
}

/// The live table. Removed from the terminal on drop.
pub(crate) struct LiveTable {
    console: Console,
    instances: HashMap<String, ShownInstance>,
    /// Requests to the thread that reads metrics. The capacity is one round, so that a slow round is not repeated.
    rounds: SyncSender<Vec<(String, String)>>,
    asked: Option<Instant>,
}

impl LiveTable {
    /// Starts the table, or returns `None` if standard output is no terminal that can show it.
    pub(crate) fn start(console: &Console, events: Sender<ClusterEvent>) -> Option<Self> {
        if !Console::can_show_panel() {
            return None;
        }
        let (rounds, inbox) = mpsc::sync_channel::<Vec<(String, String)>>(1);
        thread::spawn(move || {
            for (name, admin) in inbox.iter().flatten() {
                if events.send(ClusterEvent::Metrics { metrics: read_metrics(&admin), name }).is_err() {
                    break;
                }
            }
        });
        Some(Self { console: console.clone(), instances: HashMap::new(), rounds, asked: None })
    }

    pub(crate) fn observe(&mut self, name: &str, metrics: Option<InstanceMetrics>) {
        if let Some(shown) = self.instances.get_mut(name) {
            shown.observe(Instant::now(), metrics);
        }
    }

    /// Draws the table if it has changed.
    pub(crate) fn refresh(&mut self, report: &ClusterReport) {
        let now = Instant::now();
        self.instances.retain(|name, _| report.instances.iter().any(|row| row.name == *name));
        for ReportedInstance { name, state, pid, .. } in &report.instances {
            let shown = self.instances.entry(name.clone()).or_insert_with(|| ShownInstance::new(*state, now));
            if shown.state != *state {
                (shown.state, shown.since) = (*state, now);
            }
            if pid.is_none() {
                shown.observe(now, None);
            }
        }
        if self.asked.is_none_or(|asked| now - asked >= METRICS_INTERVAL) {
            self.asked = Some(now);
            let running = report.instances.iter().filter(|row| row.pid.is_some());
            // An error means that the previous round is not complete.
            let _ = self.rounds.try_send(running.map(|row| (row.name.clone(), row.admin.clone())).collect());
        }
        let (console, instances) = (&self.console, &self.instances);
        console.show(|width| {
            let head = columns(["instance", "state", "sockets", "messages/s", "restarts"]);
            // No wider than the table, so that a terminal that becomes narrower does not wrap it.
            let rule = "─".repeat(head.len());
            let mut lines: Vec<_> = [rule, head].iter().map(|text| console.faint(&clip(text, width))).collect();
            for (row, number) in report.instances.iter().zip(1..) {
                let text = clip(&instance(row, instances.get(&row.name), now), width);
                let (name, rest) = text.split_at(row.name.len().min(text.len()));
                lines.push(console.tinted(number, name) + rest);
            }
            lines.extend(servers(report).iter().map(|text| clip(text, width)));
            lines
        });
    }
}

impl Drop for LiveTable {
    fn drop(&mut self) {
        self.console.clear_bottom();
    }
}

fn read_metrics(admin: &str) -> Option<InstanceMetrics> {
    let port = admin.rsplit(':').next()?.parse().ok()?;
    let answer = http_get(port, "/metrics", METRICS_TIMEOUT).ok()?;
    InstanceMetrics::parse(&answer.body)
}

fn columns([name, state, sockets, rate, restarts]: [&str; 5]) -> String {
    format!("{name:<8}  {state:<16}{sockets:>8}{rate:>12}{restarts:>10}")
}

fn instance(row: &ReportedInstance, shown: Option<&ShownInstance>, now: Instant) -> String {
    let elapsed = shown.map(|shown| now - shown.since).unwrap_or_default();
    let state = match row.state {
        InstanceState::Starting | InstanceState::Draining => {
            let frame = elapsed.as_millis() / SPINNER_INTERVAL.as_millis() % SPINNER.len() as u128;
            let frame = SPINNER[usize::try_from(frame).unwrap_or(0)];
            format!("{frame} {} {} s", row.state.name(), elapsed.as_secs())
        }
        state => state.name().to_owned(),
    };
    let metrics = shown.and_then(|shown| shown.metrics);
    let sockets = metrics.map_or_else(|| "-".to_owned(), |(_, metrics)| metrics.sockets.to_string());
    let rate = shown.and_then(|shown| shown.rate).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    columns([&row.name, &state, &sockets, &rate, &row.restarts.to_string()])
}

/// Rows of the balancer and Redis.
fn servers(report: &ClusterReport) -> Vec<String> {
    let line = |name: &str, state: &str, url: &str| format!("{name:<8}  {state:<16} {url}");
    let balancer = report.lb.iter().map(|lb| line(lb.kind, lb.state, &report.url));
    // The line of Redis counts the Sentinels; `status` lists them.
    let redis = report.redis.rows().into_iter().filter(|(name, ..)| !name.starts_with("sentinel-"));
    balancer.chain(redis.map(|(name, state, _, details)| line(&name, &state, &details))).collect()
}

/// The first `width` characters. All printed characters are one column wide.
fn clip(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE trunkline_sockets gauge\ntrunkline_sockets 12\ntrunkline_sockets_opened_total 40\n\
        trunkline_sends_total{outcome=\"repeated\"} 3\ntrunkline_sends_total{outcome=\"sent\"} 25\n# EOF\n";

    fn row(state: InstanceState) -> ReportedInstance {
        let none = String::new;
        ReportedInstance { name: "gw-1".to_owned(), url: none(), admin: none(), pid: None, state, restarts: 2 }
    }

    #[test]
    fn metrics_are_parsed() {
        assert_eq!(InstanceMetrics::parse(METRICS), Some(InstanceMetrics { sockets: 12, sent: 25 }));
        assert_eq!(InstanceMetrics::parse("trunkline_sockets 0\n"), Some(InstanceMetrics { sockets: 0, sent: 0 }));
        assert_eq!(InstanceMetrics::parse("not found"), None);
    }

    #[test]
    fn rows_show_state_sockets_and_rate() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut shown = ShownInstance::new(InstanceState::Ready, start);
        let metrics = |sent| Some(InstanceMetrics { sockets: 12, sent });
        shown.observe(start, metrics(5));
        assert_eq!(
            instance(&row(InstanceState::Ready), Some(&shown), start),
            columns(["gw-1", "ready", "12", "-", "2"])
        );
        shown.observe(after(2), metrics(25));
        assert_eq!(
            instance(&row(InstanceState::Ready), Some(&shown), start),
            columns(["gw-1", "ready", "12", "10.0", "2"])
        );
        // The counter of a new process starts at zero.
        shown.observe(after(3), metrics(1));
        assert_eq!(shown.rate, None);
        let draining = instance(
            &row(InstanceState::Draining),
            Some(&ShownInstance::new(InstanceState::Draining, start)),
            after(3),
        );
        assert_eq!(draining, columns(["gw-1", "⠴ draining 3 s", "-", "-", "2"]));
        assert!(draining.chars().count() <= 60);
    }
}
