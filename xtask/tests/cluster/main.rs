//! `cargo xtask cluster` end to end, with Redis, HAProxy and a stand-in for the gateway.

#![expect(clippy::unwrap_used, reason = "clippy allows it in test functions only, not in their helpers")]

mod driver;
mod redis;

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use driver::Driver;
use rustix::process::{Pid, Signal, kill_process};
use trunkline_testbed::{Redis, http_get};

#[test]
fn commands_control_instances_and_redis() {
    let mut cluster = Driver::start(&["3"], &[]).ready();
    assert_eq!(cluster.states(), ["ready", "ready", "ready"]);
    let answering = (0..6).map(|_| cluster.ask()).collect::<BTreeSet<_>>();
    assert_eq!(answering, ["gw-1", "gw-2", "gw-3"].map(str::to_owned).into());
    let before = cluster.report();

    cluster.say("kill 2");
    cluster.expect("gw-2 killed");
    cluster.wait_for("gw-2 is killed", |report| report["instances"][1]["state"] == "killed");
    assert!(cluster.report()["instances"][1]["pid"].is_null());
    // No request fails, even if the balancer has not noticed yet.
    assert!((0..6).all(|_| cluster.ask() != "gw-2"));
    cluster.say("start 2");
    cluster.expect("gw-2 is ready");
    cluster.wait_for("gw-2 is ready", |report| report["instances"][1]["state"] == "ready");
    let after = cluster.report();
    assert_eq!(after["instances"][1]["url"], before["instances"][1]["url"]);
    assert_ne!(after["instances"][1]["pid"], before["instances"][1]["pid"]);

    cluster.say("stop gw-1");
    cluster.expect("gw-1 is draining");
    cluster.expect("gw-1 stopped (exit code 0)");
    cluster.wait_for("gw-1 stopped", |report| report["instances"][0]["state"] == "stopped");
    cluster.say("start 1");
    cluster.expect("gw-1 is ready");

    cluster.say("kill redis");
    cluster.expect("redis has ended");
    cluster.wait_for("redis has ended", |report| report["redis"]["pid"].is_null());
    cluster.say("start redis");
    cluster.expect("redis is running again");

    cluster.expect_answers(&[
        ("kill 9", "there is no gw-9"),
        ("start 1", "gw-1 is running already"),
        ("kill", "`kill` needs an instance"),
        ("scale 0", "between 1 and"),
        ("dance", "is not a command"),
        ("status", "instance  state"),
    ]);
    cluster.quit();
}

#[test]
fn no_request_fails_during_rolling_restart_and_scaling() {
    let mut cluster = Driver::start(&["2"], &[]).ready();
    let (port, over, answered) = (cluster.port, AtomicBool::new(false), AtomicUsize::new(0));
    let failures = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut failures = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match http_get(port, "/", Duration::from_secs(5)) {
                    Ok(answer) if answer.status == 200 => _ = answered.fetch_add(1, Ordering::Relaxed),
                    other => failures.push(format!("{other:?}")),
                }
            }
            failures
        });
        let pids = cluster.inventory().pids;
        cluster.say("roll");
        cluster.expect("rolling restart complete");
        assert_ne!(cluster.inventory().pids, pids);
        cluster.say("scale 4");
        cluster.wait_for("four instances are ready", |report| {
            let rows = report["instances"].as_array().unwrap();
            rows.len() == 4 && rows.iter().all(|row| row["state"] == "ready")
        });
        cluster.say("scale 1");
        cluster.wait_for("one instance is left", |report| report["instances"].as_array().unwrap().len() == 1);
        // Free slots can be used again.
        cluster.say("scale 2");
        cluster.expect("gw-2 is ready");
        over.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(failures.is_empty(), "{failures:?}");
    assert!(answered.into_inner() > 100);
    cluster.quit();
}

#[test]
fn signals_end_all_processes_and_the_end_of_input_ends_none() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut cluster = Driver::start(&["2"], &[]).ready();
        cluster.close_stdin();
        thread::sleep(Duration::from_millis(300));
        assert!(cluster.ask().starts_with("gw-"));
        let inventory = cluster.inventory();
        cluster.signal(signal);
        assert_eq!(cluster.end().0.success(), signal != Signal::KILL);
        inventory.assert_gone();
    }
}

#[test]
fn instance_killed_from_outside_is_reported_and_not_restarted() {
    let cluster = Driver::start(&["2"], &[]).ready();
    let pid = cluster.report()["instances"][0]["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    cluster.expect("gw-1 is unresponsive");
    kill_process(pid, Signal::KILL).unwrap();
    cluster.expect("gw-1 killed");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(cluster.states(), ["killed", "ready"]);
    cluster.signal(Signal::TERM);
    cluster.end();
}

#[test]
fn instance_that_does_not_start_is_named_with_its_output() {
    let (status, errors) = Driver::start(&["2"], &[("STAND_IN_FAILS", "gw-2")]).end();
    assert!(!status.success());
    assert!(errors.contains("gw-2 ended before it was ready (exit code 3)"), "{errors}");
    assert!(errors.contains("failing on request"), "{errors}");
}

#[test]
fn port_in_use_is_reported_with_its_owner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, errors) = Driver::start_on(listener.local_addr().unwrap().port(), &["2"], &[]).end();
    assert!(!status.success());
    assert!(errors.contains("--port"), "{errors}");
    if cfg!(target_os = "linux") {
        assert!(errors.contains(&format!("(pid {})", std::process::id())), "{errors}");
    }
}

#[test]
fn cluster_runs_without_a_balancer_and_with_a_given_redis() {
    let redis = Redis::builder().start().unwrap();
    redis.cli(&["SET", "k", "v"]).unwrap();
    let mut cluster = Driver::start(&["2", "--lb", "none", "--redis", &redis.url()], &[]).ready();
    assert!(cluster.report()["lb"].is_null());
    assert_eq!(cluster.ask(), "gw-1");
    assert_eq!(http_get(cluster.port + 1, "/", Duration::from_secs(5)).unwrap().body, "gw-2");
    cluster.say("kill redis");
    cluster.expect("given by URL");
    cluster.say("quit");
    assert!(cluster.end().0.success());
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "v");

    let (status, errors) = Driver::start(&["2", "--redis", "clutser"], &[]).end();
    assert_eq!(status.code(), Some(2));
    assert!(errors.contains("neither `cluster` nor `sentinel` nor a URL"), "{errors}");
    let (_, errors) = Driver::start(&["2", "--tls", "--redis", &redis.url()], &[]).end();
    assert!(errors.contains("rediss://"), "{errors}");
    let unreachable = "redis://127.0.0.1:1";
    let (status, errors) = Driver::start(&["2", "--redis", unreachable], &[]).end();
    assert!(!status.success());
    assert!(errors.contains(&format!("Redis at {unreachable} does not answer")), "{errors}");
}
