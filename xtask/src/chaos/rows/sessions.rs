//! What happens to sessions.

use super::{Row, Store};
use crate::{
    chaos::{
        checker::Fault,
        scene::{SOON, Scene},
        site::Site,
        verdict::millis,
    },
    error::{Error, Result},
};

/// Readers whose sessions end: each has one socket.
const READERS: [&str; 3] = ["u-r0", "u-r1", "u-r2"];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "logged-out-elsewhere",
        fault: "sessions end, and all instances are told",
        required: "their sockets are closed with 4401 within 1 s",
        store: Store::Durable,
        arguments: &[],
        act: told,
    },
    Row {
        name: "session-deleted",
        fault: "sessions vanish from Redis, and nobody is told",
        required: "their sockets are closed with 4401 within 65 s",
        store: Store::Durable,
        arguments: &[],
        act: untold,
    },
];

fn told(scene: &mut Scene<'_>) -> Result<()> {
    end_sessions(scene, true, 1_000_000)
}

fn untold(scene: &mut Scene<'_>) -> Result<()> {
    end_sessions(scene, false, 65_000_000)
}

/// Ends sessions, whose sockets must be closed within `limit` microseconds.
fn end_sessions(scene: &mut Scene<'_>, tell: bool, limit: u64) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    let ends = READERS.iter().map(|reader| find(&mut scene.site, reader)).collect::<Result<Vec<_>>>()?;
    let before = scene.site.sockets();
    scene.fault(&Fault::new("sessions end").closing(&[4401]))?;
    for Held { session, name, sid, channel } in &ends {
        let deleted = scene.site.redis()?.cli(&["DEL", session, name])?;
        scene.saw(format!("{deleted} keys of a session deleted"));
        if tell {
            let heard = scene.site.redis()?.cli(&["PUBLISH", channel, sid])?;
            scene.saw(format!("{heard} instances told"));
        }
    }
    scene.wait("their sockets are gone", SOON * 2, |site| site.sockets() + READERS.len() as u32 <= before)?;
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    let last = verdict.faults.first().and_then(|fault| fault.last_lost);
    scene.expect(
        format!("their sockets were closed in time ({})", millis(last)),
        last.is_some_and(|last| last <= limit),
    );
    let closed = verdict.counts.closed;
    scene.expect(format!("nobody else's were ({closed} closes)"), closed == READERS.len() as u64);
    Ok(())
}

/// Where Redis holds a session; see the keys in `trunkline-session`.
struct Held {
    session: String,
    name: String,
    sid: String,
    channel: String,
}

fn find(site: &mut Site, user: &str) -> Result<Held> {
    let redis = site.redis()?;
    for session in redis.cli(&["KEYS", "*:s:{*"])?.lines() {
        if redis.cli(&["HGET", session, "user"])? != user {
            continue;
        }
        let Some((prefix, tagged)) = session.split_once(":s:") else { continue };
        let Some((tag, _)) = tagged.rsplit_once(':') else { continue };
        let name = format!("{prefix}:n:{tag}");
        let sid = redis.cli(&["GET", &name])?;
        return Ok(Held { session: session.to_owned(), name, sid, channel: format!("{prefix}:ended") });
    }
    Err(Error::Row(format!("Redis holds no session of {user}")))
}
