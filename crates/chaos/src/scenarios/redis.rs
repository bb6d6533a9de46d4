//! Faults of a single Redis.

use std::{fs, time::Duration};

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    deployment::{ABSENT_PASSWORD, Deployment},
    error::{ChaosError, Result},
    run::{STEP_TIMEOUT, ScenarioRun},
    verdict::millis,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "redis-killed",
        fault: "Redis is killed and restarted with its append-only file",
        required: "sends are refused during the fault, and accepted within 5 s after Redis is back",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: killed,
    },
    Scenario {
        name: "redis-emptied",
        fault: "Redis is restarted without its data",
        required: "sessions end (4401) and the log is empty; clients that log in again continue in a new epoch",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: emptied,
    },
    Scenario {
        name: "subscriber-cut",
        fault: "Redis closes the gateways' subscriptions",
        required: "repaired within 2 s; no socket closes",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: subscriber_cut,
    },
    Scenario {
        name: "redis-pauses",
        fault: "Redis stops answering for 5 s, twice",
        required: "sends that time out are repeated and stored once",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: pauses,
    },
    Scenario {
        name: "redis-full",
        fault: "Redis reaches maxmemory",
        required: "sends are refused; reads continue; /readyz names the cause",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: full,
    },
    Scenario {
        name: "redis-disk-full",
        fault: "Redis cannot write to its disk",
        required: "sends are refused; reads continue; /readyz names the cause",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: disk_full,
    },
    Scenario {
        name: "redis-absent",
        fault: "Redis is absent at the start, then refuses the password",
        required: "/healthz 200, /readyz 503 with the cause; no password in a log; ready once Redis accepts it",
        redis: RedisSetup::Absent,
        arguments: &[],
        execute: absent,
    },
];

fn killed(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("Redis killed").in_redis())?;
    run.deployment.redis()?.kill()?;
    if !run.deployment.redis()?.is_running() {
        run.record_evidence("Redis was killed");
    }
    run.run_for(Duration::from_secs(3))?;
    run.deployment.redis()?.restart()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_sends_again(run)
}

/// Whether all gateways report that they are ready.
pub(super) fn all_ready(deployment: &mut Deployment) -> bool {
    deployment.members.iter().all(|member| member.get("/readyz").is_some_and(|answer| answer.status == 200))
}

/// Judges, and expects that sends were refused during the fault and accepted within 5 s after it.
pub(super) fn expect_sends_again(run: &mut ScenarioRun<'_>) -> Result<()> {
    let verdict = run.judge()?;
    let unavailable: u64 = verdict.faults.iter().map(|fault| fault.unavailable).sum();
    run.expect(format!("sends were refused as unavailable ({unavailable})"), unavailable > 0);
    for fault in &verdict.faults {
        let again = fault.written_again;
        run.expect(
            format!("after {:?} sends were accepted within 5 s ({})", fault.name, millis(again)),
            again.is_some_and(|again| again <= 5_000_000),
        );
    }
    Ok(())
}

fn emptied(run: &mut ScenarioRun<'_>) -> Result<()> {
    let load = run.scale.load();
    run.login_again = true;
    run.start(2, load)?;
    run.mark_fault(&FaultMark::new("Redis restarted empty").in_redis().closing_with(&[4401]))?;
    run.deployment.redis()?.restart_empty()?;
    let left = run.deployment.redis()?.cli(&["DBSIZE"])?;
    run.record_evidence(format!("Redis held {left} keys"));
    // Gateways check each session every 60 s and find none. Each client logs in under its own name.
    let sessions = |deployment: &mut Deployment| deployment.redis().ok()?.cli(&["KEYS", "*:s:{*"]).ok();
    run.wait_until("all clients have logged in again", STEP_TIMEOUT * 3, |deployment| {
        sessions(deployment).is_some_and(|keys| keys.lines().count() >= load.clients() as usize)
    })?;
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let closed = verdict.counts.closed;
    let all = u64::from(load.clients());
    run.expect(format!("each client was logged out ({closed} closes)"), closed >= all);
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    run.expect(format!("each client reconnected with a new session ({never_back} did not)"), never_back == 0);
    let again = verdict.faults.first().and_then(|fault| fault.written_again);
    run.expect(format!("clients sent again ({})", millis(again)), again.is_some());
    Ok(())
}

fn subscriber_cut(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("subscriptions cut").unnoticed())?;
    let mut cut = 0;
    for _ in 0..3 {
        let killed = run.deployment.redis()?.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        cut += killed.parse::<u32>().unwrap_or_default();
        run.undisturbed()?;
    }
    run.mark_healed()?;
    if cut > 0 {
        run.record_evidence(format!("Redis closed {cut} subscriptions"));
    }
    run.undisturbed()?;
    let verdict = run.judge()?;
    run.expect(format!("no socket was lost ({} lost)", verdict.counts.closed), verdict.counts.closed == 0);
    let longest = verdict.faults.first().map(|fault| fault.silence);
    run.expect(
        format!("repaired within 2 s (longest silence {})", millis(longest)),
        longest.is_some_and(|longest| longest <= 2_000_000),
    );
    Ok(())
}

fn pauses(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(3, run.scale.load())?;
    run.mark_fault(&FaultMark::new("CLIENT PAUSE"))?;
    let paused = run.deployment.redis()?.cli(&["CLIENT", "PAUSE", "5000", "ALL"])?;
    run.record_evidence(format!("CLIENT PAUSE: {paused}"));
    run.run_for(Duration::from_secs(5))?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    run.mark_fault(&FaultMark::new("Redis stopped"))?;
    run.deployment.redis()?.pause()?;
    run.run_for(Duration::from_secs(5))?;
    run.deployment.redis()?.resume()?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_sends_again(run)
}

fn full(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("maxmemory reached"))?;
    run.deployment.redis()?.cli(&["CONFIG", "SET", "maxmemory", "1"])?;
    wait_until_writes_refused(run, "OOM")?;
    run.deployment.redis()?.cli(&["CONFIG", "SET", "maxmemory", "0"])?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_no_socket_lost(run)
}

fn disk_full(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.start(2, run.scale.load())?;
    run.mark_fault(&FaultMark::new("the disk accepts no writes"))?;
    // Redis reports a failed snapshot as MISCONF. The snapshot fails because the data folder is gone.
    let data = run.folder.join("redis");
    let moved = run.folder.join("redis-moved");
    fs::rename(&data, &moved).map_err(|e| ChaosError::Scenario(format!("cannot move Redis's folder: {e}")))?;
    let removed = fs::create_dir(&data).and_then(|()| fs::remove_dir(&data));
    removed.map_err(|e| ChaosError::Scenario(format!("cannot remove a folder: {e}")))?;
    misconf(run, &moved)?;
    run.mark_healed()?;
    run.wait_until("the gateways are ready again", STEP_TIMEOUT, all_ready)?;
    run.undisturbed()?;
    expect_no_socket_lost(run)
}

/// Lets snapshots fail until Redis refuses writes, then lets one succeed.
fn misconf(run: &mut ScenarioRun<'_>, folder: &std::path::Path) -> Result<()> {
    // Redis keeps the moved folder as its working folder. A folder at the path of the snapshot file makes the rename fail.
    let obstacle = folder.join("dump.rdb");
    let failed = |e: std::io::Error| ChaosError::Scenario(format!("cannot block the snapshot file: {e}"));
    let _ = fs::remove_file(&obstacle);
    fs::create_dir(&obstacle).and_then(|()| fs::write(obstacle.join("x"), "")).map_err(failed)?;
    run.deployment.redis()?.cli(&["BGSAVE"])?;
    wait_until_writes_refused(run, "MISCONF")?;
    fs::remove_dir_all(&obstacle).map_err(failed)?;
    run.deployment.redis()?.cli(&["BGSAVE"])?;
    Ok(())
}

/// Waits until a gateway reports the cause on `/readyz`, and continues the load for a while.
fn wait_until_writes_refused(run: &mut ScenarioRun<'_>, cause: &str) -> Result<()> {
    run.wait_until("/readyz names the cause", STEP_TIMEOUT, |deployment| {
        let answer = deployment.members.first().and_then(|member| member.get("/readyz"));
        answer.is_some_and(|answer| answer.status == 503 && answer.body.contains(cause))
    })?;
    run.record_evidence(format!("/readyz names {cause}"));
    run.undisturbed()
}

fn expect_no_socket_lost(run: &mut ScenarioRun<'_>) -> Result<()> {
    expect_sends_again(run)?;
    let closed = run.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    run.expect(format!("no socket was lost ({closed} lost)"), closed == 0);
    Ok(())
}

fn absent(run: &mut ScenarioRun<'_>) -> Result<()> {
    run.deployment.start(1)?;
    let status = |deployment: &mut Deployment, path: &str| {
        let answer = deployment.members.first().and_then(|member| member.get(path));
        answer.map_or((0, String::new()), |answer| (answer.status, answer.body))
    };
    run.run_for(Duration::from_secs(1))?;
    let (alive, (ready, cause)) = (status(&mut run.deployment, "/healthz").0, status(&mut run.deployment, "/readyz"));
    run.expect(
        format!("without Redis: alive ({alive}), not ready ({ready}: {})", cause.trim()),
        alive == 200 && ready == 503,
    );
    run.record_evidence("Redis was absent");
    run.deployment.start_redis("another")?;
    run.wait_until("/readyz names the password", STEP_TIMEOUT, |deployment| {
        let (ready, cause) = status(deployment, "/readyz");
        ready == 503 && ["WRONGPASS", "password", "uthentication"].iter().any(|word| cause.contains(word))
    })?;
    run.record_evidence("the password was refused");
    let alive = status(&mut run.deployment, "/healthz").0;
    run.expect(format!("with a wrong password: alive ({alive})"), alive == 200);
    run.deployment.start_redis(ABSENT_PASSWORD)?;
    run.wait_until_served(1)?;
    run.start_clients(run.scale.load())?;
    run.undisturbed()?;
    run.judge()?;
    let log = fs::read_to_string(run.folder.join("gw-1.log")).unwrap_or_default();
    run.expect("no password in the log", !log.is_empty() && !log.contains(ABSENT_PASSWORD));
    Ok(())
}
