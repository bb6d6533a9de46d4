//! The thread that owns the Redis servers. Moving slots and failovers take seconds, in which the cluster answers other
//! commands; Redis commands run one after another.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use trunkline_testbed::{Result, TestbedError, TlsFiles};

use super::{
    ClusterEvent,
    redis::{RedisServers, ServerName},
    report::{RedisReport, ServerState},
};

/// Interval between two looks at the servers.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum time for a command that runs when the cluster ends. After that the servers end with this process.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// A command for Redis servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedisCommand {
    Kill(ServerName),
    Start(ServerName),
    /// Number of slots, and the numbers of source and target.
    Reshard(usize, usize, usize),
    FailOver(Option<usize>),
}

/// Sends commands to the thread. On drop the servers end.
#[derive(Debug)]
pub(crate) struct RedisTask {
    commands: Option<Sender<RedisCommand>>,
    thread: Option<JoinHandle<()>>,
}

impl RedisTask {
    /// Starts the thread, which sends changes as events. Returns the first report, too.
    pub(crate) fn start(
        mut servers: RedisServers,
        tls: Option<TlsFiles>,
        events: Sender<ClusterEvent>,
    ) -> (Self, RedisReport) {
        let report = servers.report(tls.as_ref());
        let (commands, inbox) = mpsc::channel();
        let mut watch = Watch { servers, tls, events, shown: report.clone() };
        let thread = thread::spawn(move || watch.run(&inbox));
        (Self { commands: Some(commands), thread: Some(thread) }, report)
    }

    pub(crate) fn send(&self, command: RedisCommand) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for RedisTask {
    fn drop(&mut self) {
        self.commands = None;
        let deadline = Instant::now() + END_TIMEOUT;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

struct Watch {
    servers: RedisServers,
    tls: Option<TlsFiles>,
    events: Sender<ClusterEvent>,
    shown: RedisReport,
}

impl Watch {
    fn run(&mut self, inbox: &Receiver<RedisCommand>) {
        loop {
            match inbox.recv_timeout(LOOK_INTERVAL) {
                Ok(command) => {
                    if let Err(e) = self.execute(command) {
                        self.say(e.to_string());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look();
        }
    }

    fn execute(&mut self, command: RedisCommand) -> Result<()> {
        match command {
            RedisCommand::Kill(name) => {
                // The cluster reports the end, as of a process that was killed from outside.
                self.servers
                    .is_running(name)?
                    .then_some(())
                    .ok_or_else(|| TestbedError::Reply(format!("{name} is not running; `start {name}` starts it")))?;
                self.servers.kill(name)
            }
            RedisCommand::Start(name) => {
                if self.servers.is_running(name)? {
                    return Err(TestbedError::Reply(format!("{name} is running already")));
                }
                self.servers.restart(name)?;
                self.say(format!("{name} is running again, with its data"));
                Ok(())
            }
            RedisCommand::Reshard(count, from, to) => {
                let begin = Instant::now();
                self.say(format!("moving {count} slots from redis {from} to redis {to}"));
                self.servers.reshard(count, from, to)?;
                self.say(format!("moved {count} slots in {:.1} s", begin.elapsed().as_secs_f64()));
                Ok(())
            }
            RedisCommand::FailOver(number) => {
                let begin = Instant::now();
                let promoted = self.servers.fail_over(number)?;
                self.say(format!("redis {promoted} was promoted after {:.1} s", begin.elapsed().as_secs_f64()));
                Ok(())
            }
        }
    }

    /// Reports what has changed since the last look.
    fn look(&mut self) {
        let report = self.servers.report(self.tls.as_ref());
        if report == self.shown {
            return;
        }
        for server in &report.servers {
            let before = self.shown.servers.iter().find(|before| before.name == server.name);
            let Some(before) = before else { continue };
            let name = server.name.replace('-', " ");
            if server.state == ServerState::Ended && before.state != ServerState::Ended {
                self.say(format!("{name} has ended; `start {name}` starts it again"));
            }
            if server.role != before.role && !server.role.is_empty() && !before.role.is_empty() {
                self.say(format!("{name} is a {} now", server.role));
            }
        }
        let _ = self.events.send(ClusterEvent::Redis(report.clone()));
        self.shown = report;
    }

    fn say(&self, text: String) {
        let _ = self.events.send(ClusterEvent::Say(text));
    }
}
