//! One of three servers is killed while a thousand clients read: what did each of them miss?
//!
//! All stand behind the same balancer with the same numbers: 20 writers, 980 readers, 20 rooms, 20 messages a second.
//! Trunkline is judged by `trunkline-check`, which compares what every client saw with what was acknowledged. Socket.IO is
//! driven by its own client, in `crates/check/peers/socketio/recovery.js`, which counts the same.

use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_testbed::{HaProxy, LineSink, Process, Stream};

use super::{deployment::Deployment, plan::Peer, stock::Stock};
use crate::{
    chaos::{Fault, Load, Programs, Scale, Scene, Site, Store},
    error::{Error, OnFile, Result},
    stop::Stop,
};

const LOAD: Load = Load { writers: 20, readers: 980, rooms: 20, rate: 20, text: 64, tabs: 1 };
const SERVERS: u32 = 3;
/// Undisturbed writing before the kill, and writing after it.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(16);
/// How long the clients may take to come in, and to tell what they saw.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Recovery {
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
    /// Acknowledged messages of its room that a client never saw, over all clients.
    pub(crate) lost: u64,
    /// Messages that a client saw again.
    pub(crate) duplicated: u64,
    /// Sockets that the kill cost.
    pub(crate) closed: u64,
    /// Clients that never came back.
    pub(crate) never_back: u64,
    /// From the kill to joined again (and, with Trunkline, all caught up), ms.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// Carries it out for one peer.
pub(crate) fn recovery(peer: Peer, stock: &Stock, stop: &Stop) -> Result<Recovery> {
    match peer {
        Peer::Trunkline => trunkline(stock, stop),
        _ => socketio(peer, stock, stop),
    }
}

fn trunkline(stock: &Stock, stop: &Stop) -> Result<Recovery> {
    let folder = stock.folder.join("recovery");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).on("cannot create", &folder)?;
    let programs = Programs { gateway: stock.programs.gateway.clone(), checker: stock.programs.checker.clone() };
    let site = Site::new(Store::Durable, &programs, &[], &folder)?;
    let mut scene = Scene::new(site, Scale::Quick, 1, &folder, &programs, stop);
    scene.begin(SERVERS as usize, LOAD)?;
    scene.pass(BEFORE)?;
    scene.fault(&Fault::new("gw-2 killed"))?;
    scene.site.member(2)?.gateway.kill()?;
    scene.pass(AFTER)?;
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    let (counts, times) = (verdict.counts, verdict.recovery());
    let over_faults = |count: fn(&crate::chaos::FaultReport) -> u64| verdict.faults.iter().map(count).sum();
    Ok(Recovery {
        acknowledged: counts.acknowledged,
        delivered: counts.delivered,
        lost: counts.lost,
        duplicated: counts.duplicated,
        closed: over_faults(|fault| fault.closed),
        never_back: over_faults(|fault| fault.never_back),
        p50: times.p50 as f64 / 1000.0,
        p99: times.p99 as f64 / 1000.0,
    })
}

fn socketio(peer: Peer, stock: &Stock, stop: &Stop) -> Result<Recovery> {
    let mut deployment = Deployment::start(peer, SERVERS, stock, stop)?;
    let balancer = HaProxy::builder().slots(SERVERS as usize).start()?;
    for (slot, port) in (1..).zip(deployment.ports()) {
        balancer.fill_slot(slot, port)?;
        until(stop, || balancer.slot_is_up(slot).unwrap_or(false))?;
    }
    let folder = stock.programs.socketio.as_ref().ok_or_else(|| Error::Row(format!("{peer} could not be had")))?;
    let mut command = Command::new("node");
    command.arg("recovery.js").current_dir(folder);
    let Load { writers, readers, rooms, rate, .. } = LOAD;
    command.arg(balancer.url()).args([writers, readers, rooms, rate].map(|number| number.to_string()));
    let (tell, told) = mpsc::channel();
    let sink: LineSink = Arc::new(move |line| {
        if line.stream == Stream::Out
            && let Ok(value) = serde_json::from_str(line.text)
        {
            let _ = tell.send(value);
        }
    });
    let mut clients = Process::spawn_with_input("recovery.js", command, Some(sink))?;
    hear(&told, "writing", &clients, stop)?;
    pause(BEFORE, stop)?;
    clients.tell("killed")?;
    deployment.kill(1)?;
    pause(AFTER, stop)?;
    clients.tell("stop")?;
    let result = hear(&told, "result", &clients, stop)?;
    serde_json::from_value(result).map_err(|e| Error::Row(format!("what recovery.js told cannot be read: {e}")))
}

/// The next state of this name.
fn hear(told: &Receiver<Value>, wanted: &str, clients: &Process, stop: &Stop) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !stop.is_asked() {
        match told.recv_timeout(Duration::from_millis(100)) {
            Ok(value) if value["state"] == wanted => return Ok(value),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if stop.is_asked() {
        return Err(Error::Stopped);
    }
    Err(Error::Row(format!("the clients are not {wanted}{}", clients.last_lines())))
}

fn pause(time: Duration, stop: &Stop) -> Result<()> {
    let end = Instant::now() + time;
    until(stop, || Instant::now() >= end)
}

fn until(stop: &Stop, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if stop.is_asked() {
            return Err(Error::Stopped);
        }
        if Instant::now() > deadline {
            return Err(Error::Row("the balancer serves none of them".to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
