//! `trunkline-bench floor` and `trunkline-bench load` as programs.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trunkline-bench");

struct Floor {
    process: Child,
    address: String,
}

impl Floor {
    fn start(more: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM).arg("floor").args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { process, address }
    }

    fn load(&self, args: &[&str]) -> Output {
        let pid = self.process.id().to_string();
        let always =
            ["load", "--dialect", "floor", "--target", &self.address, "--server-pid", &pid, "--warm-up", "0.1"];
        Command::new(PROGRAM).args(always).args(args).output().unwrap()
    }

    fn measure(&self, args: &[&str]) -> Value {
        let output = self.load(args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

#[test]
fn every_delivery_of_a_paced_second_is_counted() {
    let report = Floor::start(&[]).measure(&["--workload", "paced", "--sockets", "50", "--rate", "1000", "--for", "1"]);
    let sent = report["sent"].as_u64().unwrap();
    assert!((19..=21).contains(&sent), "{report}");
    assert!(report["delivered"].as_u64().unwrap().abs_diff(sent * 50) <= 50, "{report}");
    for nothing in ["lost", "repeated", "closed", "redis_cpu_us"] {
        assert_eq!(report[nothing], 0, "{nothing} in {report}");
    }
    assert_eq!(report["acknowledged"], Value::Null);
    assert_eq!((&report["dialect"], &report["workload"]), (&"floor".into(), &"paced".into()));
    for something in ["server_cpu_us", "load_cpu_us", "connect_cpu_us", "pss_kib_before", "pss_kib_after"] {
        assert!(report[something].as_u64().unwrap() > 0, "{something} in {report}");
    }
    let latency = |name: &str| report["latency_us"][name].as_u64().unwrap();
    assert!(0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{report}");
}

#[test]
fn nothing_is_lost_in_a_closed_loop_over_many_rooms_batched_or_not() {
    for more in [&[][..], &["--batched"]] {
        let args = ["--workload", "flat", "--sockets", "50", "--rooms", "7", "--window", "20", "--for", "0.3"];
        let report = Floor::start(more).measure(&args);
        assert!(report["delivered"].as_u64().unwrap() > 500, "{report}");
        assert_eq!((&report["lost"], &report["repeated"]), (&0.into(), &0.into()), "{report}");
    }
}

#[test]
fn capacity_search_reports_a_sustained_rate_and_its_window() {
    let args = ["--workload", "paced", "--sockets", "20", "--sends", "200", "--for", "0.2", "--capacity-p99", "50"];
    let report = Floor::start(&[]).measure(&args);
    let capacity = report["capacity"].as_f64().unwrap();
    assert!(capacity >= 200.0, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(report["sent"].as_f64().unwrap() >= 0.95 * capacity * seconds, "{report}");
    assert!(report["latency_us"]["p99"].as_u64().unwrap() <= 50_000, "{report}");
    let steps = report["steps"].as_array().unwrap();
    assert_eq!((&steps[0]["rate"], steps.len() > 1), (&200.0.into(), true), "{report}");
    assert!(steps.iter().any(|step| step["rate"] == capacity && step["is_sustained"] == true), "{report}");
}

#[test]
fn each_room_gets_a_message_before_the_window_of_a_slow_paced_load() {
    let args = ["--workload", "paced", "--sockets", "50", "--rooms", "50", "--sends", "10", "--for", "0.5"];
    let floor = Floor::start(&[]);
    let output = floor.load(&args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("sending a first message to each of 50 rooms"), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!((4..=6).contains(&report["sent"].as_u64().unwrap()), "only the window counts: {report}");
    let args = ["--workload", "paced", "--sockets", "50", "--rooms", "5", "--sends", "100", "--for", "0.1"];
    let text = String::from_utf8(floor.load(&args).stderr).unwrap();
    assert!(!text.contains("first message"), "the warm-up sends to each room: {text}");
}

/// Two loads with `--hold`, as in the workload `memory`.
#[test]
fn held_sockets_stay_open_until_a_line_arrives() {
    let floor = Floor::start(&[]);
    let load = |first: &str| {
        let mut command = Command::new(PROGRAM);
        command.args([
            "load",
            "--dialect",
            "floor",
            "--target",
            &floor.address,
            "--workload",
            "idle",
            "--sockets",
            "20",
        ]);
        command.args(["--for", "0.1", "--warm-up", "0.1", "--hold", "--first-socket", first]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut loads = [load("0"), load("64000")];
    for load in &mut loads {
        let lines = BufReader::new(load.stderr.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("trunkline-bench: measuring")));
    }
    for load in &mut loads {
        assert_eq!(load.try_wait().unwrap(), None, "it ended without a line");
        load.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    for load in loads {
        let output = load.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&report["connects"], &report["closed"]), (&20.into(), &0.into()), "{report}");
    }
}

#[test]
fn connect_workload_counts_connections_only() {
    let report = Floor::start(&[]).measure(&["--workload", "connect", "--sockets", "200"]);
    assert_eq!((&report["connects"], &report["sent"]), (&200.into(), &0.into()), "{report}");
    assert_eq!(report["seconds"], report["connect_seconds"]);
    assert_eq!(report["server_cpu_us"], report["connect_cpu_us"]);
}

#[test]
fn staying_sockets_receive_everything_while_others_reconnect() {
    let args = ["--workload", "mixed", "--sockets", "200", "--rooms", "5", "--sends", "200", "--for", "1"];
    let report = Floor::start(&[]).measure(&args);
    assert!(report["delivered"].as_u64().unwrap() > 5000, "{report}");
    for nothing in ["lost", "repeated", "closed"] {
        assert_eq!(report[nothing], 0, "{nothing} in {report}");
    }
}

#[test]
fn all_sockets_of_a_herd_reconnect() {
    let args = ["--workload", "herd", "--sockets", "50", "--sends", "100", "--for", "0.5"];
    let report = Floor::start(&[]).measure(&args);
    assert_eq!((&report["connects"], &report["repeated"], &report["closed"]), (&50.into(), &0.into(), &0.into()));
    // The floor has no history: deliveries and losses add up to what was sent, except for messages in flight when the window
    // was opened or closed.
    let count = |name: &str| report[name].as_u64().unwrap();
    let passed = (count("sent") * 50).abs_diff(count("delivered") + count("lost"));
    assert!(count("sent") > 0 && passed <= 10 * 50, "{report}");
}

#[test]
fn unreachable_server_is_reported_with_exit_code_1() {
    let mut floor = Floor::start(&[]);
    floor.process.kill().unwrap();
    floor.process.wait().unwrap();
    let output = Command::new(PROGRAM)
        .args(["load", "--dialect", "floor", "--workload", "idle", "--target", &floor.address])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{text}");
    assert!(text.lines().last().unwrap().contains("refused"), "{text}");
}
