//! The table at the bottom of the terminal while a cluster runs, and the figures in it.

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

/// How often the instances are asked for figures, and how long one may take to answer.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
/// Moves while an instance comes or goes, one picture after another.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const PICTURE: Duration = Duration::from_millis(200);

/// What one instance says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceMetrics {
    /// That are open.
    sockets: u64,
    /// Messages given to the log since its process started.
    sent: u64,
}

impl InstanceMetrics {
    /// Reads the Prometheus text format.
    fn parse(metrics: &str) -> Option<Self> {
        let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let sent = value("trunkline_sends_total{outcome=\"sent\"}").unwrap_or(0);
        Some(Self { sockets: value("trunkline_sockets ")?, sent })
    }
}

/// An instance as the table shows it.
#[derive(Debug)]
struct ShownInstance {
    state: InstanceState,
    since: Instant,
    figures: Option<(Instant, InstanceMetrics)>,
    /// Messages a second, between the last two answers.
    rate: Option<f64>,
}

impl ShownInstance {
    fn new(state: InstanceState, now: Instant) -> Self {
        Self { state, since: now, figures: None, rate: None }
    }

    fn observe(&mut self, now: Instant, figures: Option<InstanceMetrics>) {
        let before = self.figures.take();
        self.figures = figures.map(|figures| (now, figures));
        self.rate = before.zip(figures).and_then(|((then, before), after)| {
            let sent = after.sent.checked_sub(before.sent)?;
            #[allow(clippy::cast_precision_loss, reason = "for the eye")]
            Some(sent as f64 / (now - then).as_secs_f64().max(0.001))
        });
    }
}

/// The live table; put away when dropped.
pub(crate) struct LiveTable {
    console: Console,
    instances: HashMap<String, ShownInstance>,
    /// To the thread that asks. Holds one round: a slow one is not asked twice.
    rounds: SyncSender<Vec<(String, String)>>,
    asked: Option<Instant>,
}

impl LiveTable {
    /// Nothing where the output is no terminal that could show it.
    pub(crate) fn start(console: &Console, events: Sender<ClusterEvent>) -> Option<Self> {
        if !Console::can_show_panel() {
            return None;
        }
        let (rounds, inbox) = mpsc::sync_channel::<Vec<(String, String)>>(1);
        thread::spawn(move || {
            for (name, admin) in inbox.iter().flatten() {
                if events.send(ClusterEvent::InstanceMetrics { figures: ask(&admin), name }).is_err() {
                    break;
                }
            }
        });
        Some(Self { console: console.clone(), instances: HashMap::new(), rounds, asked: None })
    }

    pub(crate) fn observe(&mut self, name: &str, figures: Option<InstanceMetrics>) {
        if let Some(shown) = self.instances.get_mut(name) {
            shown.observe(Instant::now(), figures);
        }
    }

    /// Draws what changed.
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
        if self.asked.is_none_or(|asked| now - asked >= INTERVAL) {
            self.asked = Some(now);
            let running = report.instances.iter().filter(|row| row.pid.is_some());
            // Full: the round before is not over.
            let _ = self.rounds.try_send(running.map(|row| (row.name.clone(), row.admin.clone())).collect());
        }
        let (console, instances) = (&self.console, &self.instances);
        console.show(|width| {
            let head = columns(["instance", "state", "sockets", "messages/s", "restarts"]);
            // Not wider than the table, so that a terminal that gets narrower need not wrap it.
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

fn ask(admin: &str) -> Option<InstanceMetrics> {
    let port = admin.rsplit(':').next()?.parse().ok()?;
    let answer = http_get(port, "/metrics", TIMEOUT).ok()?;
    InstanceMetrics::parse(&answer.body)
}

fn columns([name, state, sockets, rate, restarts]: [&str; 5]) -> String {
    format!("{name:<8}  {state:<16}{sockets:>8}{rate:>12}{restarts:>10}")
}

fn instance(row: &ReportedInstance, shown: Option<&ShownInstance>, now: Instant) -> String {
    let elapsed = shown.map(|shown| now - shown.since).unwrap_or_default();
    let state = match row.state {
        InstanceState::Starting | InstanceState::Draining => {
            let picture = elapsed.as_millis() / PICTURE.as_millis() % SPINNER.len() as u128;
            let picture = SPINNER[usize::try_from(picture).unwrap_or(0)];
            format!("{picture} {} {} s", row.state.name(), elapsed.as_secs())
        }
        state => state.name().to_owned(),
    };
    let figures = shown.and_then(|shown| shown.figures);
    let sockets = figures.map_or_else(|| "-".to_owned(), |(_, figures)| figures.sockets.to_string());
    let rate = shown.and_then(|shown| shown.rate).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    columns([&row.name, &state, &sockets, &rate, &row.restarts.to_string()])
}

/// What the instances share.
fn servers(report: &ClusterReport) -> Vec<String> {
    let line = |name: &str, state: &str, url: &str| format!("{name:<8}  {state:<16} {url}");
    let balancer = report.lb.iter().map(|lb| line(lb.kind, lb.state, &report.url));
    balancer.chain([line("redis", report.redis.state, &report.redis.url)]).collect()
}

/// The beginning that fits; every character we print is one column wide.
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
    fn figures() {
        assert_eq!(InstanceMetrics::parse(METRICS), Some(InstanceMetrics { sockets: 12, sent: 25 }));
        assert_eq!(InstanceMetrics::parse("trunkline_sockets 0\n"), Some(InstanceMetrics { sockets: 0, sent: 0 }));
        assert_eq!(InstanceMetrics::parse("not found"), None);
    }

    #[test]
    fn rows() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut shown = ShownInstance::new(InstanceState::Ready, start);
        let figures = |sent| Some(InstanceMetrics { sockets: 12, sent });
        shown.observe(start, figures(5));
        assert_eq!(
            instance(&row(InstanceState::Ready), Some(&shown), start),
            columns(["gw-1", "ready", "12", "-", "2"])
        );
        shown.observe(after(2), figures(25));
        assert_eq!(
            instance(&row(InstanceState::Ready), Some(&shown), start),
            columns(["gw-1", "ready", "12", "10.0", "2"])
        );
        // A new process counts from nothing again.
        shown.observe(after(3), figures(1));
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
