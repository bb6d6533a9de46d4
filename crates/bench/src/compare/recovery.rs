//! The workload `recovery`: one of three servers is killed while 1,000 clients read. What does each client miss?
//!
//! All peers use the same balancer and the same load: 20 writers, 980 readers, 20 rooms, 20 messages per second.
//! `trunkline-check` judges Trunkline: it compares what each client received with what was acknowledged. Socket.IO is
//! driven by its own client, `crates/check/peers/socketio/recovery.js`, which counts the same events.

use std::{
    process::Command,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use trunkline_chaos::{ClientLoad, RecoveryResult, RecoverySettings, measure_recovery};
use trunkline_testbed::{HaProxy, LineSink, OutputStream, Process, StopSignal};

use super::{deployment::PeerDeployment, plan::Peer, programs::PreparedPeers};
use crate::error::{BenchError, Result};

const LOAD: ClientLoad = ClientLoad { writers: 20, readers: 980, rooms: 20, rate: 20, text: 64, tabs: 1 };
const SERVERS: u32 = 3;
/// Undisturbed time before the kill.
const BEFORE_KILL: Duration = Duration::from_secs(4);
/// Time between the kill and the end of the load.
const AFTER_KILL: Duration = Duration::from_secs(16);
/// Maximum time for the clients to connect, for the balancer to use a server, and for the clients to report.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Measures one peer.
pub(crate) fn recovery(peer: Peer, prepared: &PreparedPeers, stop: &StopSignal) -> Result<RecoveryResult> {
    match peer {
        Peer::Trunkline => {
            let settings = RecoverySettings {
                gateway: &prepared.programs.gateway,
                checker: &prepared.programs.checker,
                folder: &prepared.folder.join("recovery"),
                instances: SERVERS as usize,
                load: LOAD,
                before: BEFORE_KILL,
                after: AFTER_KILL,
            };
            Ok(measure_recovery(&settings, stop)?)
        }
        _ => socketio(peer, prepared, stop),
    }
}

fn socketio(peer: Peer, prepared: &PreparedPeers, stop: &StopSignal) -> Result<RecoveryResult> {
    let mut deployment = PeerDeployment::start(peer, SERVERS, 0, prepared, stop)?;
    let balancer = HaProxy::builder().slots(SERVERS as usize).start()?;
    for (slot, port) in (1..).zip(deployment.ports()) {
        balancer.fill_slot(slot, port)?;
        wait_until(stop, || balancer.slot_is_up(slot).unwrap_or(false))?;
    }
    let folder = prepared
        .programs
        .socketio
        .as_ref()
        .ok_or_else(|| BenchError::Measurement(format!("{peer} is not available")))?;
    let mut command = Command::new("node");
    command.arg("recovery.js").current_dir(folder);
    let ClientLoad { writers, readers, rooms, rate, .. } = LOAD;
    command.arg(balancer.url()).args([writers, readers, rooms, rate].map(|number| number.to_string()));
    let (sender, states) = mpsc::channel();
    let sink: LineSink = Arc::new(move |line| {
        if line.stream == OutputStream::Out
            && let Ok(value) = serde_json::from_str(line.text)
        {
            let _ = sender.send(value);
        }
    });
    let mut clients = Process::spawn_with_input("recovery.js", command, Some(sink))?;
    await_state(&states, "writing", &clients, stop)?;
    pause(BEFORE_KILL, stop)?;
    clients.write_line("killed")?;
    deployment.kill(1)?;
    pause(AFTER_KILL, stop)?;
    clients.write_line("stop")?;
    let result = await_state(&states, "result", &clients, stop)?;
    serde_json::from_value(result)
        .map_err(|e| BenchError::Measurement(format!("the output of recovery.js cannot be parsed: {e}")))
}

/// Waits until the clients report the state `wanted`, and returns the report.
fn await_state(states: &Receiver<Value>, wanted: &str, clients: &Process, stop: &StopSignal) -> Result<Value> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    while Instant::now() < deadline && !stop.is_requested() {
        match states.recv_timeout(Duration::from_millis(100)) {
            Ok(value) if value["state"] == wanted => return Ok(value),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if stop.is_requested() {
        return Err(BenchError::Stopped);
    }
    Err(BenchError::Measurement(format!(
        "the clients did not report {wanted:?} within {} s{}",
        STEP_TIMEOUT.as_secs(),
        clients.last_lines()
    )))
}

fn pause(time: Duration, stop: &StopSignal) -> Result<()> {
    let end = Instant::now() + time;
    wait_until(stop, || Instant::now() >= end)
}

fn wait_until(stop: &StopSignal, condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    while !condition() {
        if stop.is_requested() {
            return Err(BenchError::Stopped);
        }
        if Instant::now() > deadline {
            return Err(BenchError::Measurement(format!(
                "the balancer did not use a server within {} s",
                STEP_TIMEOUT.as_secs()
            )));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
