//! The probes of `deploy/kubernetes` and `deploy/cloudfoundry`, replayed while Redis pauses for 5 s.

use std::{
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::http_get;

use crate::site::{Site, deploy_file};

/// One probe, as an orchestrator executes it.
#[derive(Debug, Clone)]
struct Probe {
    name: &'static str,
    path: String,
    period: Duration,
    timeout: Duration,
    /// Consecutive failures after which the instance is taken out of service, or restarted.
    failures: usize,
}

impl Probe {
    /// From the container in `deployment.yaml`.
    fn kubernetes(name: &'static str) -> Self {
        let text = deploy_file("kubernetes/deployment.yaml");
        let (_, probe) = text.split_once(&format!("{name}:\n")).unwrap();
        let seconds = |field| Duration::from_secs(number(probe, field));
        Self {
            name,
            path: probe.split("path: ").nth(1).unwrap().split(',').next().unwrap().to_owned(),
            period: seconds("periodSeconds: "),
            timeout: seconds("timeoutSeconds: "),
            failures: usize::try_from(number(probe, "failureThreshold: ")).unwrap(),
        }
    }

    /// From `manifest.yml`. The platform acts upon the first failure, and waits for an answer for 1 s unless configured.
    fn cloudfoundry(name: &'static str, prefix: &str) -> Self {
        let text = deploy_file("cloudfoundry/manifest.yml");
        let field = |name: &str| {
            let field = format!("    {prefix}{name}: ");
            text.lines().find_map(|line| line.strip_prefix(&field)).map(str::to_owned)
        };
        assert_eq!(field("health-check-type").as_deref(), Some("http"));
        // The default interval is 30 s; more frequent checks meet more failures.
        let interval = field("health-check-interval").map_or(1, |seconds| seconds.parse().unwrap());
        let path = field("health-check-http-endpoint").unwrap();
        let (period, timeout) = (Duration::from_secs(interval), Duration::from_secs(1));
        Self { name, path, period, timeout, failures: 1 }
    }

    /// The largest number of consecutive failures within `time`.
    fn replay(&self, port: u16, time: Duration) -> usize {
        let (started, mut failures, mut most) = (Instant::now(), 0, 0);
        while started.elapsed() < time {
            let sent = Instant::now();
            let passed = http_get(port, &self.path, self.timeout).is_ok_and(|answer| answer.status == 200);
            failures = if passed { 0 } else { failures + 1 };
            most = most.max(failures);
            thread::sleep(self.period.saturating_sub(sent.elapsed()));
        }
        most
    }
}

/// The number after a field, at its first place in the text.
fn number(text: &str, field: &str) -> u64 {
    let rest = text.split(field).nth(1).unwrap();
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn no_probe_acts_while_redis_pauses_for_five_seconds() {
    let mut site = Site::start(3);
    let probes = [
        Probe::kubernetes("readinessProbe"),
        Probe::kubernetes("livenessProbe"),
        Probe::cloudfoundry("readiness of Cloud Foundry", "readiness-"),
        Probe::cloudfoundry("liveness of Cloud Foundry", ""),
    ];
    // What a probe that acts upon the first failure would have met.
    let strict = Probe { name: "strict", path: "/readyz".to_owned(), failures: 1, ..probes[0].clone() };
    let (ports, time) = (site.ports(), Duration::from_secs(16));
    let strict_failures = thread::scope(|scope| {
        let replays: Vec<_> = ports
            .iter()
            .flat_map(|&port| probes.iter().map(move |probe| (port, probe)))
            .map(|(port, probe)| (probe, scope.spawn(move || probe.replay(port, time))))
            .collect();
        let strict = scope.spawn(|| strict.replay(ports[0], time));
        thread::sleep(Duration::from_secs(2));
        site.redis.pause().unwrap();
        thread::sleep(Duration::from_secs(5));
        site.redis.resume().unwrap();
        for (probe, replay) in replays {
            let failures = replay.join().unwrap();
            assert!(failures < probe.failures, "{} failed {failures} times in a row: {probe:?}", probe.name);
        }
        strict.join().unwrap()
    });
    assert!(strict_failures >= strict.failures, "Redis was not seen to pause");
    // systemd has no probe: it restarts a process that ended.
    assert!(site.gateways.iter_mut().all(|gateway| gateway.ended().is_none()));
}
