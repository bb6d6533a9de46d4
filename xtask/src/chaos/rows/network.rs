//! What happens between clients and balancer.

use std::time::Duration;

use super::{NOTICED, Row, Store};
use crate::{
    chaos::{checker::Fault, scene::Scene, verdict::millis},
    error::Result,
};

pub(super) const ROWS: &[Row] = &[Row {
    name: "network-drops",
    fault: "the clients' network swallows everything, then resets",
    required: "clients notice within 1.6 ping intervals, and resume",
    store: Store::Durable,
    arguments: &["--ping-interval", "5s"],
    act: drops,
}];

fn drops(scene: &mut Scene<'_>) -> Result<()> {
    scene.measure();
    scene.site.lay_network()?;
    scene.begin(3, scene.scale.load())?;
    scene.fault(&Fault::new("blackhole"))?;
    scene.site.weather("blackhole")?;
    // 1.6 times 5 s, and some more.
    scene.pass(Duration::from_secs(12))?;
    scene.site.weather("heal")?;
    scene.healed()?;
    scene.pass(Duration::from_secs(5))?;
    scene.fault(&Fault::new("reset"))?;
    scene.site.weather("cut")?;
    scene.healed()?;
    scene.calm()?;
    let verdict = scene.judge()?;
    let left = verdict.faults.first().and_then(|fault| fault.last_lost);
    scene.expect(
        format!("clients noticed within 1.6 ping intervals (the last after {})", millis(left)),
        left.is_some_and(|left| left <= NOTICED),
    );
    let back: Vec<u64> = verdict.faults.iter().map(|fault| fault.recovery.count).collect();
    scene.saw(format!("sockets lost and regained in the two: {back:?}"));
    scene.expect("clients noticed both", back.iter().all(|count| *count > 0));
    let resumed = verdict.counts.gaps_told == 0;
    scene.expect(format!("all resumed without a gap ({} told)", verdict.counts.gaps_told), resumed);
    Ok(())
}
