//! `cargo xtask cluster N`: a complete deployment on one machine, for trying and breaking it.
//!
//! One thread decides. It receives events (typed commands, signals, probe results) from one channel, checks the child
//! processes in between, and reports changes. A process that ends is not restarted automatically.

mod command;
mod instance;
mod instances;
mod live_table;
mod port;
mod redis;
mod redis_task;
mod report;
mod roll;
mod servers;

use std::{
    io,
    path::PathBuf,
    process::Stdio,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use trunkline_testbed::{Console, StopSignal};

use self::{
    command::{ClusterCommand, CommandTarget},
    instance::ProbeResult,
    instances::Cluster,
    live_table::{InstanceMetrics, LiveTable},
    redis::{RedisChoice, RedisMode},
    redis_task::RedisCommand,
    report::{ClusterFile, RedisReport},
    servers::ClusterServers,
};
use crate::error::{Result, XtaskError};

/// Maximum time until all instances are ready for the first time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks of the child processes.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    /// Number of gateways.
    #[arg(default_value_t = 3)]
    instances: usize,
    /// Port for clients. Without a load balancer: the port of gw-1; gw-2 has the next port, and so on.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Which Redis to start, or the URL of a running one, whose data is kept. `cluster`: a Redis Cluster of three masters
    /// and three replicas. `sentinel`: a master, a replica and three Sentinels. Default: start an empty Redis.
    #[arg(long, value_name = "cluster|sentinel|URL")]
    redis: Option<RedisChoice>,
    /// Start Redis with TLS only. Its certificates are in target/cluster/tls.
    #[arg(long)]
    tls: bool,
    /// Load balancer in front of the instances.
    #[arg(long, value_enum, default_value_t = BalancerChoice::Haproxy)]
    lb: BalancerChoice,
    /// Build the gateway with optimisation.
    #[arg(long)]
    release: bool,
    /// Use this gateway program instead of building it.
    #[arg(long, value_name = "FILE", hide = true)]
    gateway: Option<PathBuf>,
    /// Use this folder instead of target/cluster.
    #[arg(long, value_name = "DIR", hide = true)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BalancerChoice {
    /// HAProxy with deploy/haproxy.cfg.
    Haproxy,
    /// None: each client chooses an instance itself.
    None,
}

/// An event that the cluster handles.
pub(crate) enum ClusterEvent {
    /// A line was typed.
    Typed(String),
    /// Ctrl-C or SIGTERM.
    Stop,
    /// The result of a probe has changed. `run` counts the processes of the instance.
    Probed { number: usize, run: u32, result: ProbeResult },
    /// Metrics of an instance, or `None` if it does not answer.
    Metrics { name: String, metrics: Option<InstanceMetrics> },
    /// The state of the Redis servers has changed.
    Redis(RedisReport),
    /// An answer to a command for Redis servers.
    Say(String),
}

pub(crate) fn run(arguments: &ClusterArguments, console: &Console) -> Result<()> {
    let (events, inbox) = mpsc::channel();
    let stop = {
        let events = events.clone();
        StopSignal::install(move || _ = events.send(ClusterEvent::Stop))?
    };
    let (servers, redis) = ClusterServers::start(arguments, console, &console.progress(&stop), events.clone())?;
    let (mut file, mode) = (ClusterFile::new(&servers.folder), servers.redis_mode);
    let mut cluster = Cluster::new(servers, redis, arguments.port, console.clone(), events.clone());
    cluster.grow(arguments.instances)?;
    let mut live = LiveTable::start(console, events.clone());
    read_commands(events);

    let deadline = Instant::now() + START_TIMEOUT;
    let mut announced = false;
    loop {
        match inbox.recv_timeout(CHECK_INTERVAL) {
            Ok(ClusterEvent::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(ClusterEvent::Probed { number, run, result }) => cluster.observe(number, run, result),
            Ok(ClusterEvent::Metrics { name, metrics }) => {
                if let Some(live) = &mut live {
                    live.observe(&name, metrics);
                }
            }
            Ok(ClusterEvent::Redis(report)) => cluster.redis = report,
            Ok(ClusterEvent::Say(text)) => console.say(&text),
            Ok(ClusterEvent::Typed(line)) => {
                console.typed(&line);
                match ClusterCommand::parse(&line, mode) {
                    Ok(ClusterCommand::Quit) => break,
                    Ok(command) => execute(command, &mut cluster, console, mode),
                    Err(message) => console.say(&message),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let ended = cluster.tick();
        let report = cluster.report();
        file.write(&report)?;
        if let Some(live) = &mut live {
            live.refresh(&report);
        }
        if announced {
            continue;
        }
        if let Some((name, ended, log)) = ended {
            return Err(XtaskError::InstanceFailed { name, end: ended, log });
        }
        if cluster.all_serving() {
            announced = true;
            cluster.reports_changes = true;
            console.headline(&format!("ready: {}", cluster.url()));
            if live.is_none() {
                console.say(&report.table());
            }
            console.say("Type `help` for a list of commands, `quit` or Ctrl-C to end all processes.");
        } else if Instant::now() > deadline {
            return Err(cluster.not_ready_error(START_TIMEOUT.as_secs()));
        }
    }
    // Dropping kills all processes without a drain, in any order.
    drop(live);
    drop(file);
    drop(cluster);
    console.say("all processes have ended");
    Ok(())
}

fn execute(command: ClusterCommand, cluster: &mut Cluster, console: &Console, mode: RedisMode) {
    let done = match command {
        ClusterCommand::Kill(CommandTarget::Instance(number)) => cluster.kill(number),
        ClusterCommand::Kill(CommandTarget::Server(name)) => cluster.command_redis(RedisCommand::Kill(name)),
        ClusterCommand::Stop(number) => cluster.stop(number),
        ClusterCommand::Start(CommandTarget::Instance(number)) => cluster.start(number),
        ClusterCommand::Start(CommandTarget::Server(name)) => cluster.command_redis(RedisCommand::Start(name)),
        ClusterCommand::Redis(command) => cluster.command_redis(command),
        ClusterCommand::RollingRestart => cluster.roll(),
        ClusterCommand::Scale(count) => cluster.scale(count),
        ClusterCommand::Open => {
            open(cluster.url(), console);
            Ok(())
        }
        ClusterCommand::Status => {
            console.say(&cluster.report().table());
            Ok(())
        }
        ClusterCommand::Help => {
            console.say(&command::help(mode));
            Ok(())
        }
        ClusterCommand::Quit | ClusterCommand::Nothing => Ok(()),
    };
    if let Err(e) = done {
        console.say(&e.to_string());
    }
}

/// Sends typed lines as events. The cluster continues after the end of standard input, because it may run without a
/// terminal.
fn read_commands(events: Sender<ClusterEvent>) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if events.send(ClusterEvent::Typed(line)).is_err() {
                break;
            }
        }
    });
}

fn open(url: &str, console: &Console) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            thread::spawn(move || child.wait());
        }
        Err(_) => console.say(&format!("cannot open a browser; the chat is at {url}")),
    }
}
