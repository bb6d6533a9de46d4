//! The time that each platform gives a process between SIGTERM and SIGKILL, while Redis does not answer.

use std::{
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{ProcessEnd, Redis};

use crate::{
    http::{Socket, login},
    site::{deploy_file, gateway, status, wait_for},
};

/// Seconds in a value such as `20s` or `40`.
fn seconds(file: &str, field: &str) -> u64 {
    let text = deploy_file(file);
    let value = text.split(field).nth(1).unwrap();
    value.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn wrong_usage_ends_with_the_exit_code_that_systemd_does_not_restart() {
    let mut gateway = gateway("gw", "http://not.a.redis").spawn().unwrap();
    let code = seconds("systemd/trunkline@.service", "RestartPreventExitStatus=");
    assert_eq!(gateway.wait(Duration::from_secs(30)), Some(ProcessEnd::Code(i32::try_from(code).unwrap())));
}

#[test]
fn a_process_ends_before_its_platform_kills_it_even_if_redis_hangs() {
    let window = format!("{}s", seconds("kubernetes/deployment.yaml", "TRUNKLINE_DRAIN_WINDOW\n              value: "));
    let manifest = deploy_file("cloudfoundry/manifest.yml");
    let command = manifest.lines().find(|line| line.trim_start().starts_with("command:")).unwrap();
    let drain = command.split_once("--drain-").unwrap().1;
    let drain: Vec<String> = format!("--drain-{drain}").split(' ').map(str::to_owned).collect();
    let kubernetes = seconds("kubernetes/deployment.yaml", "terminationGracePeriodSeconds: ")
        - seconds("kubernetes/deployment.yaml", "preStop: { sleep: { seconds: ");
    let platforms = [
        ("systemd", vec![], seconds("systemd/trunkline@.service", "TimeoutStopSec=")),
        // The second service in the file.
        ("Compose", vec![], {
            let text = deploy_file("compose.yaml");
            let (_, gateway) = text.split_once("\n  gateway:").unwrap();
            gateway.split("stop_grace_period: ").nth(1).unwrap().split('s').next().unwrap().parse().unwrap()
        }),
        ("Kubernetes", vec!["--drain-window".to_owned(), window], kubernetes),
        // Fixed by the platform.
        ("Cloud Foundry", drain, 10),
    ];
    let mut redis = Redis::builder().start().unwrap();
    let mut instances: Vec<_> = platforms
        .iter()
        .map(|(name, args, _)| {
            let gateway = gateway("gw", &redis.url()).args(args).start().unwrap();
            let port = gateway.port().unwrap();
            wait_for("the gateway is ready", || status(port, "/readyz") == Some(200));
            // A client that never answers: the drain takes as long as it can.
            let socket = Socket::open(port, &login(port, &name.replace(' ', "")));
            (gateway, socket)
        })
        .collect();
    redis.pause().unwrap();
    thread::scope(|scope| {
        for ((name, _, limit), (gateway, _)) in platforms.iter().zip(&mut instances) {
            scope.spawn(move || {
                let started = Instant::now();
                gateway.terminate().unwrap();
                let ended = gateway.wait(Duration::from_secs(*limit));
                assert!(ended.is_some(), "{name}: still there after {limit} s");
                println!("{name}: ended after {:.1?} of {limit} s", started.elapsed());
            });
        }
    });
}
