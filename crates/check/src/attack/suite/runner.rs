//! Executes the attacks one after the other while honest clients write and read.

use std::{io, path::PathBuf, sync::atomic::AtomicBool, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use trunkline_client::GatewayUrl;
use trunkline_domain::millis;

use super::{
    catalogue::{ATTACKS, Attack},
    logins::random_name,
    target::{AttackTarget, Bounds, Observation},
};
use crate::{
    CheckError,
    judge::{PhaseReport, Quantiles, Verdict},
    load::{self, LoadSettings, ProcessUsage, RunControl, RunState, log_in, log_out},
};

/// Shortest duration of the phase of one attack, so that enough honest messages are measured.
const PHASE_MIN: Duration = Duration::from_secs(1);
/// Time between the first honest message and the quiet phase: connections and caches warm up.
const WARM_UP: Duration = Duration::from_secs(3);
/// Honest clients that write. The others read.
const HONEST_WRITERS: u32 = 4;
/// Honest readers per session, below the limit of 16 sockets per user.
const HONEST_TABS: u32 = 15;
/// Memory that a process may hold in addition after the suite, besides half of its baseline, in bytes: 64 MiB.
const RSS_GROWTH_MAX: u64 = 64 << 20;

/// Flags of `trunkline-check attack suite`.
#[derive(Clone, Debug, Args)]
pub struct SuiteArguments {
    /// Number of honest clients that write and read during the attacks; 0 for none
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub honest: u32,
    /// Messages per second of all honest clients together
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    pub honest_rate: f64,
    /// Duration of the quiet phase before the attacks
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub quiet: Duration,
    /// Largest allowed p99 of the honest clients during the attacks, as a multiple of their quiet p99
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    pub p99_factor: f64,
    /// Process id of a gateway on this machine whose memory is measured. Repeatable
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Execute only this attack. Repeatable
    #[arg(long, value_name = "ATTACK")]
    pub only: Vec<String>,
    /// Execute all attacks except this one. Repeatable
    #[arg(long, value_name = "ATTACK")]
    pub skip: Vec<String>,
    /// Bounds of the attacks
    #[command(flatten)]
    pub bounds: Bounds,
    /// Write the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result to this file as an HTML page
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Result of a suite.
#[derive(Clone, Debug, Serialize)]
pub struct SuiteResult {
    /// Whether no attack had an unexpected reaction, the honest clients kept their latency and every invariant holds.
    pub passed: bool,
    /// Results of the attacks in the order of execution.
    pub attacks: Vec<AttackResult>,
    /// Result of the honest clients, if there were any.
    pub honest: Option<HonestResult>,
    /// Memory of the measured processes.
    pub processes: Vec<ProcessResult>,
}

/// Result of one attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackResult {
    /// Name of the attack.
    pub name: &'static str,
    /// What it sends.
    pub sends: &'static str,
    /// Reaction that the documentation promises.
    pub expected: &'static str,
    /// Observed reaction.
    pub seen: String,
    /// Whether the observed reaction is the expected one; `None` if the attack does not apply to the deployment.
    pub ok: Option<bool>,
    /// Duration in milliseconds.
    pub ms: u64,
    /// Delivery latency of the honest clients during the attack.
    pub honest_delivery: Option<Quantiles>,
    /// Sockets, connection attempts and messages of honest clients that failed during the attack.
    pub honest_errors: u64,
    /// Resident memory of all measured processes after the attack, in bytes.
    pub rss: u64,
}

/// Result of the honest clients.
#[derive(Clone, Debug, Serialize)]
pub struct HonestResult {
    /// Number of clients.
    pub clients: u32,
    /// Delivery latency in the quiet phase.
    pub quiet: Quantiles,
    /// Delivery latency during all attacks.
    pub attacked: Quantiles,
    /// Largest allowed `attacked.p99` in microseconds.
    pub p99_limit: u64,
    /// Sockets, connection attempts and messages that failed during the attacks.
    pub errors: u64,
    /// Whether latency and errors are within their limits and every invariant holds.
    pub ok: bool,
    /// Verdict of the delivery checker.
    pub verdict: Verdict,
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessResult {
    /// Process id.
    pub pid: u32,
    /// Memory before the attacks, with the honest clients connected.
    pub before: u64,
    /// Largest memory after an attack.
    pub largest: u64,
    /// Memory after the last attack; 0 if the process has ended.
    pub after: u64,
    /// Whether the process lives and its memory has grown by at most half and 64 MiB.
    pub ok: bool,
}

/// Executes the suite against the deployment at `url`. Calls `report` after each attack.
///
/// # Errors
/// - [`CheckError::Usage`] if an argument is invalid.
/// - [`CheckError::Deployment`] if the attacker or an honest client cannot log in or connect.
/// - [`CheckError::System`] if a process cannot be measured.
pub async fn run(
    url: &str,
    arguments: &SuiteArguments,
    mut report: impl FnMut(&AttackResult),
) -> Result<SuiteResult, CheckError> {
    let attacks = select_attacks(arguments)?;
    let site: GatewayUrl = url.parse().map_err(|error| CheckError::Usage(format!("--url: {error}")))?;
    if !url.starts_with("http://") {
        return Err(CheckError::Usage("the attacks need an http:// URL: they do not speak TLS".to_owned()));
    }
    let user = random_name();
    let refused = |source| CheckError::Deployment { action: format!("log in as {user}"), source };
    let (session, user) = log_in(&site, &user, arguments.bounds.attack_limit).await.map_err(refused)?;
    let room = crate::attack::random_room();
    let logins_limited = AtomicBool::new(false);
    let target = AttackTarget { site, session, user, room, bounds: arguments.bounds, logins_limited };
    let honest = match arguments.honest {
        0 => None,
        clients => Some(HonestClients::start(url, arguments, clients).await?),
    };
    let before = measure(&arguments.pids)?;
    let mut largest = before.clone();
    let mut results = Vec::new();
    for attack in attacks {
        if let Some(honest) = &honest {
            honest.control.begin_phase(&format!("attack/{}", attack.name));
        }
        let result = execute(attack, &target).await;
        let usage: Vec<_> = arguments.pids.iter().map(|pid| resident(*pid)).collect();
        largest.iter_mut().zip(&usage).for_each(|(largest, now)| *largest = (*largest).max(*now));
        results.push(AttackResult { rss: usage.iter().sum(), ..result });
        report(&results[results.len() - 1]);
    }
    let honest = match honest {
        Some(honest) => Some(honest.finish(arguments, &mut results).await?),
        None => None,
    };
    log_out(&target.session).await;
    let processes: Vec<_> = arguments
        .pids
        .iter()
        .zip(before.into_iter().zip(largest))
        .map(|(&pid, (before, largest))| {
            let after = resident(pid);
            ProcessResult {
                pid,
                before,
                largest,
                after,
                ok: after > 0 && after <= before + before / 2 + RSS_GROWTH_MAX,
            }
        })
        .collect();
    let passed = results.iter().all(|result| result.ok != Some(false))
        && honest.as_ref().is_none_or(|honest| honest.ok)
        && processes.iter().all(|process| process.ok);
    Ok(SuiteResult { passed, attacks: results, honest, processes })
}

fn select_attacks(arguments: &SuiteArguments) -> Result<Vec<&'static Attack>, CheckError> {
    let is_known = |name: &&String| ATTACKS.iter().any(|attack| attack.name == **name);
    if let Some(name) = arguments.only.iter().chain(&arguments.skip).find(|name| !is_known(name)) {
        let names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        return Err(CheckError::Usage(format!("no attack {name}; the attacks are {}", names.join(", "))));
    }
    let has = |names: &[String], attack: &Attack| names.iter().any(|name| name == attack.name);
    let is_selected =
        |attack: &&Attack| (arguments.only.is_empty() || has(&arguments.only, attack)) && !has(&arguments.skip, attack);
    Ok(ATTACKS.iter().filter(is_selected).collect())
}

/// Executes one attack within its time limit.
async fn execute(attack: &Attack, target: &AttackTarget) -> AttackResult {
    let since = Instant::now();
    let outcome = timeout(target.bounds.attack_limit, (attack.run)(target)).await;
    let Observation { seen, ok } = match outcome {
        Ok(Ok(observation)) => observation,
        Ok(Err(error)) => Observation::new(false, describe(&error)),
        Err(_) => Observation::new(false, format!("not finished after {} s", target.bounds.attack_limit.as_secs())),
    };
    let ms = millis(since.elapsed());
    sleep(PHASE_MIN.saturating_sub(since.elapsed())).await;
    let Attack { name, sends, expected, .. } = *attack;
    AttackResult { name, sends, expected, seen, ok, ms, honest_delivery: None, honest_errors: 0, rss: 0 }
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection unexpectedly".to_owned(),
        io::ErrorKind::TimedOut => "the server did not answer in time".to_owned(),
        _ => format!("the attack failed: {error}"),
    }
}

fn measure(pids: &[u32]) -> Result<Vec<u64>, CheckError> {
    pids.iter().map(|&pid| ProcessUsage::read_existing(pid).map(|usage| usage.rss)).collect()
}

/// Returns the resident memory of a process; 0 if it has ended.
fn resident(pid: u32) -> u64 {
    ProcessUsage::read(pid).map_or(0, |usage| usage.rss)
}

/// Honest clients, judged by the delivery checker.
struct HonestClients {
    clients: u32,
    control: RunControl,
    run: JoinHandle<Result<Verdict, CheckError>>,
}

impl HonestClients {
    /// Starts the clients and returns after the quiet phase.
    async fn start(url: &str, arguments: &SuiteArguments, clients: u32) -> Result<Self, CheckError> {
        let writers = HONEST_WRITERS.min(clients);
        let settings = LoadSettings {
            url: url.to_owned(),
            writers,
            readers: clients - writers,
            rooms: 2,
            rate: arguments.honest_rate,
            tabs: HONEST_TABS,
            // Until the suite stops the run.
            duration: Duration::from_secs(24 * 60 * 60),
            pids: arguments.pids.clone(),
            amend_percent: 0,
            ..LoadSettings::default()
        };
        let (send_control, control) = oneshot::channel();
        let (state, mut states) = watch::channel(RunState::LoggingIn);
        let run = tokio::spawn(async move {
            let on_start = |control| drop(send_control.send(control));
            let on_progress = |progress: load::RunProgress| {
                state.send_replace(progress.state);
            };
            load::run_with_control(&settings, on_start, on_progress).await
        });
        // Fails if the run ends before the clients write; its result says why.
        let writes = states.wait_for(|state| *state == RunState::Writing).await.is_ok();
        let Some(control) = control.await.ok().filter(|_| writes) else {
            return Err(finished(run).await.err().unwrap_or_else(|| {
                CheckError::Usage("the honest clients ended before they wrote a message".to_owned())
            }));
        };
        sleep(WARM_UP).await;
        control.begin_phase("quiet");
        sleep(arguments.quiet).await;
        Ok(Self { clients, control, run })
    }

    /// Stops the clients, waits for the verdict and adds the latencies and errors of each attack to its result.
    async fn finish(
        self,
        arguments: &SuiteArguments,
        results: &mut [AttackResult],
    ) -> Result<HonestResult, CheckError> {
        self.control.begin_phase("after");
        self.control.stop();
        let verdict = finished(self.run).await?;
        let phase = |name: &str| verdict.phases.iter().find(|phase| phase.name == name);
        for result in results {
            if let Some(phase) = phase(&format!("attack/{}", result.name)) {
                result.honest_delivery = Some(phase.delivery);
                result.honest_errors = phase.errors();
            }
        }
        let delivery = |name| phase(name).map(|phase| phase.delivery).unwrap_or_default();
        let (quiet, attacked) = (delivery("quiet"), delivery("attack"));
        let errors = phase("attack").map_or(0, PhaseReport::errors);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let p99_limit = (quiet.p99 as f64 * arguments.p99_factor) as u64;
        let ok = attacked.p99 <= p99_limit && errors == 0 && verdict.passed;
        Ok(HonestResult { clients: self.clients, quiet, attacked, p99_limit, errors, ok, verdict })
    }
}

async fn finished(run: JoinHandle<Result<Verdict, CheckError>>) -> Result<Verdict, CheckError> {
    run.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
