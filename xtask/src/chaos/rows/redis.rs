//! What happens to a Redis that is alone.

use std::{fs, time::Duration};

use super::{Row, Store};
use crate::{
    chaos::{
        checker::Fault,
        scene::{SOON, Scene},
        site::{ABSENT_PASSWORD, Site},
        verdict::millis,
    },
    error::Result,
};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "redis-killed",
        fault: "Redis is killed and restarted with its append-only file",
        required: "sends are refused meanwhile; writing goes on within 5 s of Redis",
        store: Store::Durable,
        arguments: &[],
        act: killed,
    },
    Row {
        name: "redis-emptied",
        fault: "Redis is restarted with nothing",
        required: "sessions are gone (4401), and the log with them; whoever logs in again goes on in a new epoch",
        store: Store::Durable,
        arguments: &[],
        act: emptied,
    },
    Row {
        name: "subscriber-cut",
        fault: "Redis cuts the gateways' subscriptions",
        required: "repaired within 2 s; no client notices",
        store: Store::Durable,
        arguments: &[],
        act: subscriber_cut,
    },
    Row {
        name: "redis-pauses",
        fault: "Redis stops answering for 5 s, twice",
        required: "sends that timed out are repeated into one copy",
        store: Store::Durable,
        arguments: &[],
        act: pauses,
    },
    Row {
        name: "redis-full",
        fault: "Redis reaches maxmemory",
        required: "sends are refused; reading goes on; /readyz says why",
        store: Store::Durable,
        arguments: &[],
        act: full,
    },
    Row {
        name: "redis-disk-full",
        fault: "Redis cannot write to its disk",
        required: "sends are refused; reading goes on; /readyz says why",
        store: Store::Durable,
        arguments: &[],
        act: disk_full,
    },
    Row {
        name: "redis-absent",
        fault: "Redis is not there at the start, then refuses the password",
        required: "/healthz 200, /readyz 503 with the cause, no secret in a log; joins when Redis comes",
        store: Store::Absent,
        arguments: &[],
        act: absent,
    },
];

fn killed(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("Redis killed").of_redis())?;
    scene.site.redis()?.kill()?;
    if !scene.site.redis()?.is_running() {
        scene.saw("Redis was killed");
    }
    scene.pass(Duration::from_secs(3))?;
    scene.site.redis()?.restart()?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    writes_again(scene)
}

/// All gateways say that they are ready.
pub(super) fn all_ready(site: &mut Site) -> bool {
    site.members.iter().all(|member| member.get("/readyz").is_some_and(|answer| answer.status == 200))
}

/// Judges, and expects that sends were refused meanwhile and that writing goes on soon after.
pub(super) fn writes_again(scene: &mut Scene<'_>) -> Result<()> {
    let verdict = scene.judge()?;
    let unavailable: u64 = verdict.faults.iter().map(|fault| fault.unavailable).sum();
    scene.expect(format!("sends were refused as unavailable ({unavailable})"), unavailable > 0);
    for fault in &verdict.faults {
        let again = fault.written_again;
        scene.expect(
            format!("after {:?} writing went on within 5 s ({})", fault.name, millis(again)),
            again.is_some_and(|again| again <= 5_000_000),
        );
    }
    Ok(())
}

fn emptied(scene: &mut Scene<'_>) -> Result<()> {
    let load = scene.scale.load();
    scene.login_again = true;
    scene.begin(2, load)?;
    scene.fault(&Fault::new("Redis restarted empty").of_redis().closing(&[4401]))?;
    scene.site.redis()?.restart_empty()?;
    let left = scene.site.redis()?.cli(&["DBSIZE"])?;
    scene.saw(format!("Redis held {left} keys"));
    // Every socket's session is looked up within 60 s; none is there. Each client has a name of its own.
    let sessions = |site: &mut Site| site.redis().ok()?.cli(&["KEYS", "*:s:{*"]).ok();
    scene.wait("everybody has logged in again", SOON * 3, |site| {
        sessions(site).is_some_and(|keys| keys.lines().count() >= load.clients() as usize)
    })?;
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    let closed = verdict.counts.closed;
    let all = u64::from(load.clients());
    scene.expect(format!("every client was logged out ({closed} closes)"), closed >= all);
    let never_back: u64 = verdict.faults.iter().map(|fault| fault.never_back).sum();
    scene.expect(format!("and came back with a new session ({never_back} did not)"), never_back == 0);
    let again = verdict.faults.first().and_then(|fault| fault.written_again);
    scene.expect(format!("and wrote again ({})", millis(again)), again.is_some());
    Ok(())
}

fn subscriber_cut(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("subscriptions cut").unseen())?;
    let mut cut = 0;
    for _ in 0..3 {
        let killed = scene.site.redis()?.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        cut += killed.parse::<u32>().unwrap_or_default();
        scene.calm()?;
    }
    scene.healed()?;
    if cut > 0 {
        scene.saw(format!("Redis cut {cut} subscriptions"));
    }
    scene.calm()?;
    let verdict = scene.judge()?;
    scene.expect(format!("no socket was lost ({} were)", verdict.counts.closed), verdict.counts.closed == 0);
    let longest = verdict.faults.first().map(|fault| fault.silence);
    scene.expect(
        format!("repaired within 2 s (longest silence {})", millis(longest)),
        longest.is_some_and(|longest| longest <= 2_000_000),
    );
    Ok(())
}

fn pauses(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("CLIENT PAUSE"))?;
    let paused = scene.site.redis()?.cli(&["CLIENT", "PAUSE", "5000", "ALL"])?;
    scene.saw(format!("CLIENT PAUSE: {paused}"));
    scene.pass(Duration::from_secs(5))?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    scene.fault(&Fault::new("Redis stopped"))?;
    scene.site.redis()?.pause()?;
    scene.pass(Duration::from_secs(5))?;
    scene.site.redis()?.resume()?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    writes_again(scene)
}

fn full(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    scene.fault(&Fault::new("maxmemory reached"))?;
    scene.site.redis()?.cli(&["CONFIG", "SET", "maxmemory", "1"])?;
    refuses_writes(scene, "OOM")?;
    scene.site.redis()?.cli(&["CONFIG", "SET", "maxmemory", "0"])?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    no_socket_lost(scene)
}

fn disk_full(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    scene.fault(&Fault::new("the disk takes nothing"))?;
    // A snapshot that cannot be written is what Redis reports as MISCONF; its folder is gone.
    let data = scene.folder.join("redis");
    let moved = scene.folder.join("redis-moved");
    fs::rename(&data, &moved).map_err(|e| crate::error::Error::Row(format!("cannot move Redis's folder: {e}")))?;
    let removed = fs::create_dir(&data).and_then(|()| fs::remove_dir(&data));
    removed.map_err(|e| crate::error::Error::Row(format!("cannot remove a folder: {e}")))?;
    misconf(scene, &moved)?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    no_socket_lost(scene)
}

/// Lets snapshots fail until Redis refuses writes, and lets one succeed again.
fn misconf(scene: &mut Scene<'_>, folder: &std::path::Path) -> Result<()> {
    // The process works in the folder wherever it was moved; a folder in the place of the file it renames to is in its way.
    let obstacle = folder.join("dump.rdb");
    let row = |e: std::io::Error| crate::error::Error::Row(format!("cannot put something in the way: {e}"));
    let _ = fs::remove_file(&obstacle);
    fs::create_dir(&obstacle).and_then(|()| fs::write(obstacle.join("x"), "")).map_err(row)?;
    scene.site.redis()?.cli(&["BGSAVE"])?;
    refuses_writes(scene, "MISCONF")?;
    fs::remove_dir_all(&obstacle).map_err(row)?;
    scene.site.redis()?.cli(&["BGSAVE"])?;
    Ok(())
}

/// Waits until a gateway says why it is not ready, and lets that go on for a while.
fn refuses_writes(scene: &mut Scene<'_>, cause: &str) -> Result<()> {
    scene.wait("/readyz tells the cause", SOON, |site| {
        let answer = site.members.first().and_then(|member| member.get("/readyz"));
        answer.is_some_and(|answer| answer.status == 503 && answer.body.contains(cause))
    })?;
    scene.saw(format!("/readyz says {cause}"));
    scene.calm()
}

fn no_socket_lost(scene: &mut Scene<'_>) -> Result<()> {
    writes_again(scene)?;
    let closed = scene.verdict.as_ref().map_or(0, |verdict| verdict.counts.closed);
    scene.expect(format!("no socket was lost ({closed} were)"), closed == 0);
    Ok(())
}

fn absent(scene: &mut Scene<'_>) -> Result<()> {
    scene.site.start(1)?;
    let status = |site: &mut Site, path: &str| {
        let answer = site.members.first().and_then(|member| member.get(path));
        answer.map_or((0, String::new()), |answer| (answer.status, answer.body))
    };
    scene.pass(Duration::from_secs(1))?;
    let (alive, (ready, cause)) = (status(&mut scene.site, "/healthz").0, status(&mut scene.site, "/readyz"));
    scene.expect(
        format!("without Redis: alive ({alive}), not ready ({ready}: {})", cause.trim()),
        alive == 200 && ready == 503,
    );
    scene.saw("Redis was not there");
    scene.site.bring_redis("another")?;
    scene.wait("/readyz tells of the password", SOON, |site| {
        let (ready, cause) = status(site, "/readyz");
        ready == 503 && ["WRONGPASS", "password", "uthentication"].iter().any(|word| cause.contains(word))
    })?;
    scene.saw("the password was refused");
    let alive = status(&mut scene.site, "/healthz").0;
    scene.expect(format!("with a wrong password: alive ({alive})"), alive == 200);
    scene.site.bring_redis(ABSENT_PASSWORD)?;
    scene.serves(1)?;
    scene.let_in(scene.scale.load())?;
    scene.calm()?;
    scene.judge()?;
    let log = fs::read_to_string(scene.folder.join("gw-1.log")).unwrap_or_default();
    scene.expect("no password in the log", !log.is_empty() && !log.contains(ABSENT_PASSWORD));
    Ok(())
}
