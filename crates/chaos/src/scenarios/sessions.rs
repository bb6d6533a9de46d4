//! Sessions that end while their sockets are open.

use super::{RedisSetup, Scenario};
use crate::{
    checker::FaultMark,
    deployment::Deployment,
    error::{ChaosError, Result},
    run::{STEP_TIMEOUT, ScenarioRun},
    verdict::millis,
};

/// Readers whose sessions end. Each has one socket.
const LOGGED_OUT_USERS: [&str; 3] = ["u-r0", "u-r1", "u-r2"];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "logged-out-elsewhere",
        fault: "sessions end, and all instances are notified",
        required: "their sockets close with 4401 within 1 s",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: logged_out_elsewhere,
    },
    Scenario {
        name: "session-deleted",
        fault: "sessions are deleted in Redis without a notification",
        required: "their sockets close with 4401 within 65 s",
        redis: RedisSetup::Durable,
        arguments: &[],
        execute: session_deleted,
    },
];

fn logged_out_elsewhere(run: &mut ScenarioRun<'_>) -> Result<()> {
    end_sessions(run, true, 1_000_000)
}

fn session_deleted(run: &mut ScenarioRun<'_>) -> Result<()> {
    end_sessions(run, false, 65_000_000)
}

/// Ends sessions. Their sockets must close within `limit` µs.
fn end_sessions(run: &mut ScenarioRun<'_>, notify: bool, limit: u64) -> Result<()> {
    run.start(2, run.scale.load())?;
    let ends = LOGGED_OUT_USERS.iter().map(|reader| find(&mut run.deployment, reader)).collect::<Result<Vec<_>>>()?;
    let before = run.deployment.sockets();
    run.mark_fault(&FaultMark::new("sessions end").closing_with(&[4401]))?;
    for StoredSession { session, name, sid, channel } in &ends {
        let deleted = run.deployment.redis()?.cli(&["DEL", session, name])?;
        run.record_evidence(format!("{deleted} keys of a session deleted"));
        if notify {
            let receivers = run.deployment.redis()?.cli(&["PUBLISH", channel, sid])?;
            run.record_evidence(format!("{receivers} instances notified"));
        }
    }
    run.wait_until("their sockets are closed", STEP_TIMEOUT * 2, |deployment| {
        deployment.sockets() + LOGGED_OUT_USERS.len() as u32 <= before
    })?;
    run.mark_healed()?;
    run.undisturbed()?;
    let verdict = run.judge()?;
    let last = verdict.faults.first().and_then(|fault| fault.last_lost);
    run.expect(format!("their sockets closed in time ({})", millis(last)), last.is_some_and(|last| last <= limit));
    let closed = verdict.counts.closed;
    run.expect(format!("no other socket closed ({closed} closes)"), closed == LOGGED_OUT_USERS.len() as u64);
    Ok(())
}

/// Keys of a stored session; see `trunkline-session`.
struct StoredSession {
    session: String,
    name: String,
    sid: String,
    channel: String,
}

fn find(deployment: &mut Deployment, user: &str) -> Result<StoredSession> {
    let redis = deployment.redis()?;
    for session in redis.cli(&["KEYS", "*:s:{*"])?.lines() {
        if redis.cli(&["HGET", session, "user"])? != user {
            continue;
        }
        let Some((prefix, tagged)) = session.split_once(":s:") else { continue };
        let Some((tag, _)) = tagged.rsplit_once(':') else { continue };
        let name = format!("{prefix}:n:{tag}");
        // The claim contains the session's id, a space, and the user.
        let claim = redis.cli(&["GET", &name])?;
        let sid = claim.split(' ').next().unwrap_or_default().to_owned();
        return Ok(StoredSession { session: session.to_owned(), name, sid, channel: format!("{prefix}:ended") });
    }
    Err(ChaosError::Scenario(format!("Redis holds no session of {user}")))
}
