//! The status that every instance reports every 2 s, and the statuses of all instances.

#[cfg(feature = "pages")]
pub(crate) mod page;

use std::{sync::Weak, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_bus::{BusError, InstanceRegistry, InstanceReport};

use crate::{drain::DrainPhase, metrics::SendOutcome, state::GatewayState};

/// Time between two reports. Rates are averages over it.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Age of a report from which its instance is shown as silent: two reports are missing.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// The status of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceStatus {
    /// The instance's name.
    pub(crate) instance: String,
    /// `serving`, `not_ready` or `closing`; or `silent` if its last report is old.
    pub(crate) state: String,
    /// Open sockets.
    pub(crate) sockets: usize,
    /// Rooms with members on this instance.
    pub(crate) rooms: i64,
    /// Users in rooms on this instance, each counted once per room.
    pub(crate) users: i64,
    /// Messages per second that were appended to logs, over the last interval.
    pub(crate) sent_per_second: f64,
    /// Messages per second that were handed to sockets, over the last interval.
    pub(crate) delivered_per_second: f64,
    /// Time since the instance started, in seconds.
    pub(crate) uptime: u64,
    /// The version of its program.
    pub(crate) version: String,
}

/// Reports the status of this instance until it is drained or the gateway is dropped.
pub(crate) async fn report<B: InstanceRegistry, P>(state: Weak<GatewayState<B, P>>) {
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sent, mut delivered, mut last) = (0, 0, tokio::time::Instant::now());
    loop {
        ticks.tick().await;
        let Some(state) = state.upgrade() else { return };
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = tokio::time::Instant::now();
        let rate = |before: &mut u64, now: u64| {
            let added = now - std::mem::replace(before, now);
            // Counts of a few seconds are far below 2⁵², so the conversion is exact.
            (10.0 * added as f64 / seconds).round() / 10.0
        };
        let metrics = &state.metrics;
        let status = InstanceStatus {
            instance: state.config.instance.clone(),
            state: match state.drain.phase() {
                DrainPhase::Serving => "serving",
                DrainPhase::NotReady => "not_ready",
                DrainPhase::Closing => "closing",
                DrainPhase::Drained => return,
            }
            .to_owned(),
            sockets: state.connection_limits.total(),
            rooms: metrics.rooms.get(),
            users: metrics.users.get(),
            sent_per_second: rate(&mut sent, metrics.published.get_or_create(&SendOutcome { outcome: "sent" }).get()),
            delivered_per_second: rate(&mut delivered, metrics.delivered.get()),
            uptime: state.uptime().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let text = json!(status).to_string();
        if let Err(error) = state.bus.report(state.instance, &text).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "reporting the status failed; retrying in 2 s");
        }
    }
}

/// Returns the last status of every instance, sorted by name.
///
/// # Errors
/// The registry cannot be read now.
pub(crate) async fn read_all<B: InstanceRegistry, P>(
    state: &GatewayState<B, P>,
) -> Result<Vec<InstanceStatus>, BusError> {
    let decode = |report: InstanceReport| {
        // The report of a version with other fields is skipped.
        let mut status: InstanceStatus = serde_json::from_str(&report.text).ok()?;
        if report.age > SILENT_AFTER {
            status.state = "silent".to_owned();
        }
        Some(status)
    };
    let mut statuses: Vec<InstanceStatus> = state.bus.reports().await?.into_iter().filter_map(decode).collect();
    statuses.sort_by(|a, b| a.instance.cmp(&b.instance).then(b.uptime.cmp(&a.uptime)));
    Ok(statuses)
}
