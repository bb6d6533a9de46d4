//! The log never stops the service, whatever happens to standard error and standard output.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    time::Instant,
};

use trunkline_testbed::{Redis, free_port, http_get};

use super::{
    BINARY, SECOND, SECRET,
    client::{load, log_in, open_socket, request},
};

/// A gateway whose standard error and output belong to the test. Killed on drop.
struct Program {
    child: Child,
    port: u16,
    admin: u16,
}

impl Program {
    fn start(args: &[&str], filter: &str) -> Self {
        let (port, admin) = (free_port().unwrap(), free_port().unwrap());
        let mut command = Command::new(BINARY);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")]);
        command.args(["--login-rate", "0", "--drain-delay", "0s"]).args(args);
        command.env("RUST_LOG", filter).env("TRUNKLINE_SECRET", SECRET);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, port, admin }
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + 20 * SECOND;
        while !http_get(self.port, "/readyz", SECOND).is_ok_and(|ready| ready.status == 200) {
            assert!(Instant::now() < deadline && self.child.try_wait().unwrap().is_none(), "not ready");
            std::thread::sleep(SECOND / 20);
        }
    }

    fn terminate(&mut self) -> Option<i32> {
        Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        let deadline = Instant::now() + 20 * SECOND;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(SECOND / 20);
        }
        None
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn service_continues_when_the_readers_of_its_output_are_gone() {
    let mut redis = Redis::builder().start().unwrap();
    let mut program = Program::start(&["--redis", &redis.url()], "info");
    // Before the address is printed.
    drop(program.child.stdout.take());
    program.wait_ready();
    drop(program.child.stderr.take());
    for number in 0..5 {
        let login = log_in(program.port, &format!("ann{number}"));
        assert_eq!(login.status(), 200, "{login:?}");
        let cookie = login.cookie();
        let (status, _socket) = open_socket(program.port, &cookie);
        assert_eq!(status, 101);
        let logout = request(program.port, "POST /logout", &[format!("Cookie: {cookie}").as_bytes()], "");
        assert_eq!(logout.status(), 303, "{logout:?}");
    }
    redis.kill().unwrap();
    assert_eq!(log_in(program.port, "bob").status(), 503);
    redis.restart().unwrap();
    program.wait_ready();
    assert_eq!(log_in(program.port, "bob").status(), 200);
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn service_continues_while_its_standard_error_is_not_read_and_reports_the_dropped_lines() {
    let mut program = Program::start(&[], "trace");
    program.wait_ready();
    let dropped = |admin| -> u64 {
        let metrics = http_get(admin, "/metrics", 5 * SECOND).unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with("trunkline_log_lines_dropped_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let deadline = Instant::now() + 60 * SECOND;
    while dropped(program.admin) == 0 {
        assert!(Instant::now() < deadline, "the queue never fills");
        for _ in 0..50 {
            let started = Instant::now();
            assert_eq!(load(program.port, "/", &[]).status(), 200);
            assert!(started.elapsed() < 5 * SECOND, "a worker waits for the log");
        }
    }
    assert_eq!(log_in(program.port, "ann").status(), 200);

    let mut stderr = program.child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    std::thread::sleep(SECOND);
    assert_eq!(program.terminate(), Some(0));
    assert!(reader.join().unwrap().contains("log lines were dropped"));
}

#[test]
fn refused_logins_do_not_flood_the_log() {
    const LOGINS: usize = 200;
    let mut program = Program::start(&[], "info");
    program.wait_ready();
    let started = Instant::now();
    for _ in 0..LOGINS {
        assert_eq!(log_in(program.port, "admin").status(), 400);
    }
    let seconds = started.elapsed().as_secs() as usize;
    std::thread::sleep(SECOND + SECOND / 10);
    assert_eq!(log_in(program.port, "admin").status(), 400);
    let mut stderr = program.child.stderr.take().unwrap();
    assert_eq!(program.terminate(), Some(0));
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    let written = text.lines().filter(|line| line.contains("login refused")).count();
    assert!(written <= 10 * (seconds + 2), "{written} lines in {seconds} s");
    let suppressed = text.split("suppressed=").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(written + suppressed.sum::<usize>(), LOGINS + 1, "{text}");
}

#[test]
fn process_ends_while_its_standard_error_is_not_read() {
    let mut program = Program::start(&[], "trace");
    program.wait_ready();
    for _ in 0..200 {
        assert_eq!(load(program.port, "/", &[]).status(), 200);
    }
    assert_eq!(program.terminate(), Some(0));
}
