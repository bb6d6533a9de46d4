//! The command line: exit codes, files, commands on standard input.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::fake_gateway::{Defect, FakeGateway};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-check"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

const SMALL: [&str; 10] = ["--writers", "2", "--readers", "2", "--rooms", "1", "--rate", "100", "--for", "1s"];

#[tokio::test]
async fn run_writes_its_files_and_the_recorded_history_passes_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let server = FakeGateway::start(Defect::None).await;
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
async fn failed_verdict_has_exit_code_1() {
    let server = FakeGateway::start(Defect::AltersTexts).await;
    let output = program().args(["run", "--url", &server.url]).args(SMALL).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn invalid_arguments_and_unreachable_deployment_have_exit_code_2() {
    let invalid: [&[&str]; 6] = [
        &["run", "--writers", "none"],
        &["run", "--url", "localhost:8080"],
        &["run", "--rate", "0"],
        &["run", "--url", "http://127.0.0.1:1", "--patience", "1s"],
        &["judge", "/no/such/file"],
        &["judge", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    ];
    for arguments in invalid {
        let output = program().args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn run_executes_mark_and_stop_commands() {
    let server = FakeGateway::start(Defect::None).await;
    let mut child = program()
        .args(["run", "--url", &server.url, "--control"])
        .args(&SMALL[..8])
        .args(["--for", "10m"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = child.stdin.take().unwrap();
    let mut states = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut verdict, mut marked, mut stopped) = (Value::Null, 0, false);
    while let Some(line) = states.next_line().await.unwrap() {
        let state: Value = serde_json::from_str(&line).unwrap();
        if state["state"] == "writing" {
            for command in [json!({"mark": "fault", "name": "no fault", "visible": false}), json!({"mark": "healed"})] {
                commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
            }
        }
        marked += u32::from(state["state"] == "marked");
        if marked == 2 && !std::mem::replace(&mut stopped, true) {
            // Some messages must be sent, or the run is vacuous.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            commands.write_all(b"{\"stop\":true}\n").await.unwrap();
        }
        if state["state"] == "verdict" {
            verdict = state["verdict"].clone();
        }
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    assert_eq!(verdict["faults"][0]["name"], "no fault", "{verdict}");
    assert!(verdict["faults"][0]["healed"].is_u64(), "{verdict}");
}

#[tokio::test]
async fn proxy_executes_commands() {
    let server = FakeGateway::start(Defect::None).await;
    let mut child =
        program().args(["proxy", "--to", &server.address.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut commands = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answer = async |command: &str| {
        commands.write_all(command.as_bytes()).await.unwrap();
        serde_json::from_str::<Value>(&answers.next_line().await.unwrap().unwrap()).unwrap()
    };
    assert!(answer("").await["listening"].is_string());
    assert_eq!(answer("delay 20ms\n").await, json!({"order": "delay 20ms", "done": true}));
    assert_eq!(answer("unknown\n").await["done"], false);
    assert_eq!(answer("heal\n").await["done"], true);
    drop(commands);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
