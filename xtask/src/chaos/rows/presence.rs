//! What others are told of those who go with their gateway. That presence is right in the end is judged in every row.

use super::{Row, Store};
use crate::{
    chaos::{
        checker::Load,
        scene::{SOON, Scene},
    },
    error::Result,
};

/// Who does not come back.
const GHOSTS: [&str; 3] = ["ghost1", "ghost2", "ghost3"];
/// How long a killed gateway stays in anybody's picture, in microseconds: a lease.
const LEASE: u64 = 15_000_000;

pub(super) const ROWS: &[Row] = &[Row {
    name: "ghosts",
    fault: "a gateway is killed, and some of its users stay away",
    required: "they are told to have gone, once, within a lease (15 s); nobody else is",
    store: Store::Durable,
    arguments: &[],
    act: ghosts,
}];

fn ghosts(scene: &mut Scene<'_>) -> Result<()> {
    // Five tabs of one user are one user, wherever they are.
    scene.begin(3, Load { tabs: 5, ..scene.scale.load() })?;
    let direct = format!("http://127.0.0.1:{}", scene.site.member(2)?.port);
    let before = scene.site.sockets();
    let ghosts = GHOSTS.map(|name| {
        let arguments = ["--user", name, "--room", "chaos-0", "slow", "--pace", "1000000", "--for", "5m"];
        scene.attack_at(&direct, &arguments)
    });
    let ghosts = ghosts.into_iter().collect::<Result<Vec<_>>>()?;
    let all = before + GHOSTS.len() as u32;
    scene.wait("the ghosts-to-be are there", SOON, |site| site.sockets() == all)?;
    scene.calm()?;
    scene.kill(2)?;
    for ghost in ghosts {
        scene.outcome(ghost, SOON)?;
    }
    scene.calm()?;
    scene.healed()?;
    let verdict = scene.judge()?;
    let fault = verdict.faults.first().map_or(0, |fault| fault.t);
    for name in GHOSTS {
        let Some(ghost) = verdict.strangers.iter().find(|stranger| stranger.user == name) else {
            scene.expect(format!("{name} was told to be there"), false);
            continue;
        };
        let after = ghost.last_went.map(|went| went.saturating_sub(fault));
        scene.expect(
            format!("{name}, known to {}, went for {}, twice for {}", ghost.told, ghost.went, ghost.went_again),
            ghost.went > 0 && ghost.went_again == 0,
        );
        scene.expect(
            format!("{name} was gone within a lease ({:.1} s)", after.unwrap_or_default() as f64 / 1e6),
            after.is_some_and(|after| after <= LEASE),
        );
    }
    let flickers = verdict.counts.flickers;
    scene.expect(format!("nobody was told to have gone who was there ({flickers} were)"), flickers == 0);
    Ok(())
}
