//! One kill under a given load, for `cargo xtask bench`.

use std::{fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use trunkline_testbed::{IoContext, StopSignal};

use crate::{
    checker::{ClientLoad, FaultMark},
    deployment::{Deployment, RedisSetup},
    error::Result,
    run::{ScenarioRun, ScenarioScale, TestedPrograms},
    verdict::FaultOutcome,
};

/// Programs, sizes and times of [`measure_recovery`].
#[derive(Debug, Clone, Copy)]
pub struct RecoverySettings<'a> {
    /// Path of `trunkline`.
    pub gateway: &'a Path,
    /// Path of `trunkline-check`.
    pub checker: &'a Path,
    /// Folder for logs and the history. It is emptied first.
    pub folder: &'a Path,
    /// Number of gateways. Number 2 is killed.
    pub instances: usize,
    /// Clients and their messages.
    pub load: ClientLoad,
    /// Undisturbed time before the kill.
    pub before: Duration,
    /// Time between the kill and the end of the load.
    pub after: Duration,
}

/// What clients lost when a server was killed, and how long they needed to recover.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct RecoveryResult {
    /// Acknowledged messages.
    pub acknowledged: u64,
    /// Deliveries to all clients.
    pub delivered: u64,
    /// Deliveries of acknowledged messages that did not arrive, over all clients.
    pub lost: u64,
    /// Deliveries of messages that the client had already received.
    pub duplicated: u64,
    /// Sockets that closed because of the kill.
    pub closed: u64,
    /// Clients that did not reconnect.
    pub never_back: u64,
    /// Median time, in ms, from the kill until a client has rejoined. For Trunkline: until it has also received all
    /// missed messages.
    pub p50: f64,
    /// 99th percentile of the same time, in ms.
    pub p99: f64,
}

/// Kills one of several gateways under load and returns what the checker measured.
///
/// # Errors
/// Returns [`ChaosError::Testbed`](crate::ChaosError::Testbed) if a program cannot be started,
/// [`ChaosError::Scenario`](crate::ChaosError::Scenario) if the checker gives no verdict, and
/// [`ChaosError::Stopped`](crate::ChaosError::Stopped) after a signal.
pub fn measure_recovery(settings: &RecoverySettings<'_>, stop: &StopSignal) -> Result<RecoveryResult> {
    let RecoverySettings { gateway, checker, folder, instances, load, before, after } = *settings;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).on_path("cannot create", folder)?;
    let programs = TestedPrograms { gateway: gateway.to_owned(), checker: checker.to_owned() };
    let deployment = Deployment::new(RedisSetup::Durable, &programs, &[], folder)?;
    let mut run = ScenarioRun::new(deployment, ScenarioScale::Quick, 1, folder, &programs, stop);
    // The rivals of the comparison send texts only.
    run.amend_percent = 0;
    run.start(instances, load)?;
    run.run_for(before)?;
    run.mark_fault(&FaultMark::new("gw-2 killed"))?;
    run.deployment.member(2)?.gateway.kill()?;
    run.run_for(after)?;
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let (counts, times) = (verdict.counts, verdict.recovery());
    let over_faults = |count: fn(&FaultOutcome) -> u64| verdict.faults.iter().map(count).sum();
    Ok(RecoveryResult {
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
