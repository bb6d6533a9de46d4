//! What happens to a master with a replica, under Sentinel.

use super::{Row, Store, redis::all_ready};
use crate::{
    chaos::{
        checker::Fault,
        scene::{SOON, Scene},
    },
    error::Result,
};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "redis-fails-over",
        fault: "the master is killed, Sentinel promotes the replica",
        required: "a new epoch; writing goes on; nothing wrong is shown as right",
        store: Store::Sentinel,
        arguments: &[],
        act: fails_over,
    },
    Row {
        name: "redis-loses-writes",
        fault: "the same, with a replica that lagged behind",
        required: "acknowledged writes are lost, and every client that saw them is told",
        store: Store::Sentinel,
        arguments: &[],
        act: loses_writes,
    },
    Row {
        name: "redis-demoted-promoted",
        fault: "a master with writes that nobody has is demoted, and promoted again",
        required: "a new epoch at each turn; clients are told",
        store: Store::Sentinel,
        arguments: &[],
        act: demoted_promoted,
    },
];

fn fails_over(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    promote(scene, false)
}

fn loses_writes(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    promote(scene, true)?;
    let verdict = scene.judge()?;
    let told = verdict.counts.gaps_told;
    scene.expect(format!("clients were told ({told})"), told > 0);
    Ok(())
}

fn promote(scene: &mut Scene<'_>, lag: bool) -> Result<()> {
    scene.fault(&Fault::new("the master is killed").of_redis())?;
    if lag {
        scene.site.sentinel()?.lag()?;
        scene.calm()?;
    }
    let before = scene.site.sentinel()?.kill_master()?;
    let after = scene.site.sentinel()?.wait_for_another(before)?;
    scene.saw(format!("Sentinel promoted node {after} after node {before}"));
    scene.site.sentinel()?.catch_up()?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()
}

fn demoted_promoted(scene: &mut Scene<'_>) -> Result<()> {
    scene.begin(2, scene.scale.load())?;
    let run_id = |scene: &mut Scene<'_>, node| {
        scene.site.sentinel().ok().and_then(|redis| redis.info(node, "server", "run_id")).unwrap_or_default()
    };
    let first = scene.site.sentinel()?.master()?;
    let before = run_id(scene, first);
    scene.fault(&Fault::new("demoted").of_redis())?;
    scene.site.sentinel()?.lag()?;
    // Writes that the first alone has.
    scene.calm()?;
    let second = scene.site.sentinel()?.fail_over()?;
    scene.saw(format!("node {first} was demoted for node {second}"));
    scene.site.sentinel()?.catch_up()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.site.sentinel()?.await_calm()?;
    scene.calm()?;
    let third = scene.site.sentinel()?.fail_over()?;
    scene.saw(format!("node {third} was promoted again"));
    // For some seconds both said that they are master, and the proxy led to one; when both follow it, it is over.
    scene.site.sentinel()?.await_calm()?;
    scene.healed()?;
    scene.wait("the gateways are ready again", SOON, all_ready)?;
    scene.calm()?;
    let after = run_id(scene, third);
    scene.expect("it is the same process as at first", third == first && before == after);
    let verdict = scene.judge()?;
    let told = verdict.counts.gaps_told;
    scene.expect(format!("clients were told ({told})"), told > 0);
    Ok(())
}
