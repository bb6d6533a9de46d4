//! Runs `xtask cluster` like a user: types lines and reads answers.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use trunkline_testbed::{free_port, http_get};

/// Maximum time for an expected answer or state.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Driver {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    errors: thread::JoinHandle<String>,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Driver {
    pub(crate) fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_on(free_port().unwrap(), args, env)
    }

    pub(crate) fn start_on(port: u16, args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("cluster").args(args).arg("--port").arg(port.to_string());
        command.arg("--gateway").arg(env!("CARGO_BIN_EXE_stand-in")).arg("--folder").arg(folder.path());
        command.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, answers) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut err = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        Self { stdin: child.stdin.take(), child, answers, errors, port, folder }
    }

    /// Reads answers until a line contains `text`.
    pub(crate) fn expect(&self, text: &str) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let line = self.answers.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            if line.unwrap_or_else(|_| panic!("no answer contains {text:?}")).contains(text) {
                return;
            }
        }
    }

    pub(crate) fn ready(self) -> Self {
        self.expect(&format!("ready: http://127.0.0.1:{}", self.port));
        self
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Types each command and reads answers until a line contains the text beside it.
    pub(crate) fn expect_answers(&mut self, answers: &[(&str, &str)]) {
        for (command, answer) in answers {
            self.say(command);
            self.expect(answer);
        }
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The content of `cluster.json`.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder.path().join("cluster.json")).unwrap()).unwrap()
    }

    /// Waits until the content of `cluster.json` meets a condition.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while !holds(&self.report()) {
            assert!(Instant::now() < deadline, "condition not met: {what}: {}", self.report());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn states(&self) -> Vec<String> {
        let report = self.report();
        let rows = report["instances"].as_array().unwrap().iter();
        rows.map(|row| row["state"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends a request to the balancer and returns the name of the instance that answers.
    pub(crate) fn ask(&self) -> String {
        let answer = http_get(self.port, "/", Duration::from_secs(5)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Ids of all processes, and all ports of the cluster.
    pub(crate) fn inventory(&self) -> Inventory {
        let report = self.report();
        let mut inventory = Inventory { pids: Vec::new(), ports: vec![self.port] };
        let port = |url: &Value| url.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        for row in report["instances"].as_array().unwrap() {
            inventory.pids.extend(row["pid"].as_i64());
            inventory.ports.extend([port(&row["url"]), port(&row["admin"])]);
        }
        inventory.pids.extend(report["lb"]["pid"].as_i64());
        for server in report["redis"]["servers"].as_array().unwrap() {
            inventory.pids.extend(server["pid"].as_i64());
            inventory.ports.push(port(&server["address"]));
        }
        inventory
    }

    /// Ends the cluster with `quit`, and checks that all its processes end and free their ports.
    pub(crate) fn quit(mut self) {
        let inventory = self.inventory();
        self.say("quit");
        assert!(self.end().0.success());
        inventory.assert_gone();
    }

    /// Waits for the exit, and returns the status and the text on standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let file = self.folder.path().join("cluster.json");
        assert!(!file.exists() || status.code().is_none(), "cluster.json is left behind");
        (status, self.errors.join().unwrap())
    }
}

pub(crate) struct Inventory {
    pub(crate) pids: Vec<i64>,
    ports: Vec<u16>,
}

impl Inventory {
    /// Waits until all processes have ended and all ports are free.
    pub(crate) fn assert_gone(&self) {
        let alive = |pid: &i64| test_kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap()).is_ok();
        let taken = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_err();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let pids: Vec<_> = self.pids.iter().filter(|pid| alive(pid)).collect();
            let ports: Vec<_> = self.ports.iter().filter(|port| taken(port)).collect();
            if pids.is_empty() && ports.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: processes {pids:?}, ports {ports:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
