//! The program: exit codes, files, orders on standard input.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::stand_in::{Flaw, StandIn};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-check"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

const SMALL: [&str; 10] = ["--writers", "2", "--readers", "2", "--rooms", "1", "--rate", "100", "--for", "1s"];

#[tokio::test]
async fn a_run_writes_its_files_and_a_judgement_of_them_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let server = StandIn::start(Flaw::None).await;
    let (history, report, json) = (path("history.jsonl"), path("report.html"), path("verdict.json"));
    let files = ["--history", &history, "--report", &report, "--json", &json];
    let output = program().args(["run", "--url", &server.url]).args(SMALL).args(files).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("verdict: every invariant holds"), "{text}");
    let verdict: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(verdict["passed"], true);
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://www") && !page.contains("<script"), "self-contained");
    let again = program().args(["judge", &history]).output().await.unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stdout));
}

#[tokio::test]
async fn a_verdict_that_fails_is_exit_code_1() {
    let server = StandIn::start(Flaw::Tears).await;
    let output = program().args(["run", "--url", &server.url]).args(SMALL).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn wrong_usage_and_nobody_there_are_exit_code_2() {
    let wrong: [&[&str]; 6] = [
        &["run", "--writers", "none"],
        &["run", "--url", "localhost:8080"],
        &["run", "--rate", "0"],
        &["run", "--url", "http://127.0.0.1:1", "--patience", "1s"],
        &["judge", "/no/such/file"],
        &["judge", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    ];
    for arguments in wrong {
        let output = program().args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn marks_and_the_order_to_stop_are_obeyed() {
    let server = StandIn::start(Flaw::None).await;
    let mut child = program()
        .args(["run", "--url", &server.url, "--control"])
        .args(&SMALL[..8])
        .args(["--for", "10m"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut orders = child.stdin.take().unwrap();
    let mut states = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut verdict, mut marked, mut stopped) = (Value::Null, 0, false);
    while let Some(line) = states.next_line().await.unwrap() {
        let told: Value = serde_json::from_str(&line).unwrap();
        if told["state"] == "writing" {
            for order in
                [json!({"mark": "fault", "name": "nothing at all", "visible": false}), json!({"mark": "healed"})]
            {
                orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
            }
        }
        marked += u32::from(told["state"] == "marked");
        if marked == 2 && !std::mem::replace(&mut stopped, true) {
            // A run of nothing would prove nothing.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            orders.write_all(b"{\"stop\":true}\n").await.unwrap();
        }
        if told["state"] == "verdict" {
            verdict = told["verdict"].clone();
        }
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(verdict["faults"][0]["name"], "nothing at all", "{verdict}");
    assert!(verdict["faults"][0]["healed"].is_u64(), "{verdict}");
}

#[tokio::test]
async fn the_proxy_takes_orders() {
    let server = StandIn::start(Flaw::None).await;
    let mut child =
        program().args(["proxy", "--to", &server.address.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut orders = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answer = async |order: &str| {
        orders.write_all(order.as_bytes()).await.unwrap();
        serde_json::from_str::<Value>(&answers.next_line().await.unwrap().unwrap()).unwrap()
    };
    assert!(answer("").await["listening"].is_string());
    assert_eq!(answer("delay 20ms\n").await, json!({"order": "delay 20ms", "done": true}));
    assert_eq!(answer("rain\n").await["done"], false);
    assert_eq!(answer("heal\n").await["done"], true);
    drop(orders);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
