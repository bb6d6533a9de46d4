//! `cargo xtask cluster N`: the whole product on one machine, to talk to and to break.
//!
//! One thread decides: it takes events (typed commands, signals, answers of probes) from one channel, looks after the
//! children between them, and tells what changed. Nothing is restarted unless somebody says so.

mod command;
mod instance;
mod instances;
mod live_table;
mod port;
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
    report::ClusterFile,
    servers::ClusterServers,
};
use crate::error::{Result, XtaskError};

/// How long all instances may take to be ready at first.
const START: Duration = Duration::from_secs(60);
/// How often the children are looked at.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    /// How many gateways.
    #[arg(default_value_t = 3)]
    instances: usize,
    /// Where people connect. Without a balancer: the port of gw-1, and gw-2 has the next.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// A Redis that runs already; its data is left as it is. Else one is started, empty.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The balancer in front of the instances.
    #[arg(long, value_enum, default_value_t = BalancerChoice::Haproxy)]
    lb: BalancerChoice,
    /// Build the gateway optimised.
    #[arg(long)]
    release: bool,
    /// Another program than the workspace's gateway (our own tests).
    #[arg(long, value_name = "FILE", hide = true)]
    gateway: Option<PathBuf>,
    /// Another folder than target/cluster (our own tests).
    #[arg(long, value_name = "DIR", hide = true)]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BalancerChoice {
    /// HAProxy with deploy/haproxy.cfg.
    Haproxy,
    /// None: clients choose an instance themselves.
    None,
}

/// What the cluster reacts to.
pub(crate) enum ClusterEvent {
    /// A line was typed.
    Typed(String),
    /// Ctrl-C or SIGTERM.
    Stop,
    /// A probe's answer changed.
    ProbeResult { number: usize, run: u32, health: ProbeResult },
    /// What an instance says about itself; nothing when it does not answer.
    InstanceMetrics { name: String, figures: Option<InstanceMetrics> },
}

pub(crate) fn run(options: &ClusterArguments, console: &Console) -> Result<()> {
    let (events, inbox) = mpsc::channel();
    let stop = {
        let events = events.clone();
        StopSignal::install(move || _ = events.send(ClusterEvent::Stop))?
    };
    let servers = ClusterServers::prepare(options, console, &console.progress(&stop))?;
    let mut file = ClusterFile::new(&servers.folder);
    let mut cluster = Cluster::new(servers, options.port, console.clone(), events.clone());
    cluster.grow(options.instances)?;
    let mut live = LiveTable::start(console, events.clone());
    read_commands(events);

    let deadline = Instant::now() + START;
    let mut announced = false;
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(ClusterEvent::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(ClusterEvent::ProbeResult { number, run, health }) => cluster.observe(number, run, health),
            Ok(ClusterEvent::InstanceMetrics { name, figures }) => {
                if let Some(live) = &mut live {
                    live.observe(&name, figures);
                }
            }
            Ok(ClusterEvent::Typed(line)) => {
                console.typed(&line);
                match line.parse() {
                    Ok(ClusterCommand::Quit) => break,
                    Ok(command) => obey(command, &mut cluster, console),
                    Err(complaint) => console.say(&complaint),
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
        if cluster.all_serve() {
            announced = true;
            cluster.talkative = true;
            console.headline(&format!("ready: {}", cluster.url()));
            if live.is_none() {
                console.say(&report.table());
            }
            console.say("Type `help` for what can be done, `quit` or Ctrl-C to end everything.");
        } else if Instant::now() > deadline {
            return Err(cluster.not_ready_error(START.as_secs()));
        }
    }
    // All at once: nobody waits for drains. Dropping kills; the order does not matter to anybody.
    drop(live);
    drop(file);
    drop(cluster);
    console.say("everything has ended");
    Ok(())
}

fn obey(command: ClusterCommand, cluster: &mut Cluster, console: &Console) {
    let done = match command {
        ClusterCommand::Kill(CommandTarget::Instance(number)) => cluster.kill(number),
        ClusterCommand::Kill(CommandTarget::Redis) => cluster.kill_redis(),
        ClusterCommand::Stop(number) => cluster.stop(number),
        ClusterCommand::Start(CommandTarget::Instance(number)) => cluster.start(number),
        ClusterCommand::Start(CommandTarget::Redis) => cluster.start_redis(),
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
            console.say(command::HELP);
            Ok(())
        }
        ClusterCommand::Quit | ClusterCommand::Nothing => Ok(()),
    };
    if let Err(e) = done {
        console.say(&e.to_string());
    }
}

/// Passes on what is typed. The end of standard input ends nothing: the cluster may run without a terminal.
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
        Err(_) => console.say(&format!("no browser could be opened from here; the chat is at {url}")),
    }
}
