//! `cargo xtask cluster N`: the whole product on one machine, to talk to and to break.
//!
//! One thread decides: it takes events (typed commands, signals, answers of probes) from one channel, looks after the
//! children between them, and tells what changed. Nothing is restarted unless somebody says so.

mod command;
mod fleet;
mod instance;
mod live;
mod port;
mod prepare;
mod report;
mod roll;

use std::{
    io,
    path::PathBuf,
    process::Stdio,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use self::{
    command::{Command, Target},
    fleet::Fleet,
    instance::Health,
    live::{Figures, Live},
    prepare::Ground,
    report::ReportFile,
};
use crate::{
    console::Console,
    error::{Error, Result},
    stop::Stop,
};

/// How long all instances may take to be ready at first.
const START: Duration = Duration::from_secs(60);
/// How often the children are looked at.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Options {
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
    #[arg(long, value_enum, default_value_t = Balancer::Haproxy)]
    lb: Balancer,
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
pub(crate) enum Balancer {
    /// HAProxy with deploy/haproxy.cfg.
    Haproxy,
    /// None: clients choose an instance themselves.
    None,
}

/// What the cluster reacts to.
pub(crate) enum Event {
    /// A line was typed.
    Typed(String),
    /// Ctrl-C or SIGTERM.
    Stop,
    /// A probe's answer changed.
    Health { number: usize, run: u32, health: Health },
    /// What an instance says about itself; nothing when it does not answer.
    Figures { name: String, figures: Option<Figures> },
}

pub(crate) fn run(options: &Options, console: &Console) -> Result<()> {
    let (events, inbox) = mpsc::channel();
    let stop = {
        let events = events.clone();
        Stop::on_signals(move || _ = events.send(Event::Stop))?
    };
    let ground = Ground::prepare(options, console, &console.steps(&stop))?;
    let mut file = ReportFile::new(&ground.folder);
    let mut fleet = Fleet::new(ground, options.port, console.clone(), events.clone());
    fleet.grow(options.instances)?;
    let mut live = Live::start(console, events.clone());
    read_commands(events);

    let deadline = Instant::now() + START;
    let mut announced = false;
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(Event::Health { number, run, health }) => fleet.observe(number, run, health),
            Ok(Event::Figures { name, figures }) => {
                if let Some(live) = &mut live {
                    live.observe(&name, figures);
                }
            }
            Ok(Event::Typed(line)) => {
                console.typed(&line);
                match line.parse() {
                    Ok(Command::Quit) => break,
                    Ok(command) => obey(command, &mut fleet, console),
                    Err(complaint) => console.say(&complaint),
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let ended = fleet.tick();
        let report = fleet.report();
        file.write(&report)?;
        if let Some(live) = &mut live {
            live.refresh(&report);
        }
        if announced {
            continue;
        }
        if let Some((name, ended, log)) = ended {
            return Err(Error::InstanceFailed { name, ended, log });
        }
        if fleet.all_serve() {
            announced = true;
            fleet.talkative = true;
            console.headline(&format!("ready: {}", fleet.url()));
            if live.is_none() {
                console.say(&report.table());
            }
            console.say("Type `help` for what can be done, `quit` or Ctrl-C to end everything.");
        } else if Instant::now() > deadline {
            return Err(fleet.not_ready_error(START.as_secs()));
        }
    }
    // All at once: nobody waits for drains. Dropping kills; the order does not matter to anybody.
    drop(live);
    drop(file);
    drop(fleet);
    console.say("everything has ended");
    Ok(())
}

fn obey(command: Command, fleet: &mut Fleet, console: &Console) {
    let done = match command {
        Command::Kill(Target::Instance(number)) => fleet.kill(number),
        Command::Kill(Target::Redis) => fleet.kill_redis(),
        Command::Stop(number) => fleet.stop(number),
        Command::Start(Target::Instance(number)) => fleet.start(number),
        Command::Start(Target::Redis) => fleet.start_redis(),
        Command::Roll => fleet.roll(),
        Command::Scale(count) => fleet.scale(count),
        Command::Open => {
            open(fleet.url(), console);
            Ok(())
        }
        Command::Status => {
            console.say(&fleet.report().table());
            Ok(())
        }
        Command::Help => {
            console.say(command::HELP);
            Ok(())
        }
        Command::Quit | Command::Nothing => Ok(()),
    };
    if let Err(e) = done {
        console.say(&e.to_string());
    }
}

/// Passes on what is typed. The end of standard input ends nothing: the cluster may run without a terminal.
fn read_commands(events: Sender<Event>) {
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if events.send(Event::Typed(line)).is_err() {
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
