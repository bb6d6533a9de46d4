//! The status of all instances: each instance reports its own through the bus every 2 s, and operators read all of
//! them.

mod page;

use std::{sync::Weak, time::Duration};

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use trunkline_bus::{Bus, InstanceRegistry, PresenceStore};
use trunkline_session::Sessions;

use crate::{
    Gateway,
    drain::Phase,
    gateway::Shared,
    http::error::{HTML, HttpError},
    metrics::SendOutcome,
    policy::Policy,
};

/// Time between two reports of an instance.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// Age of the last report above which an instance is shown as silent: two intervals and a margin of 1 s.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// The status that an instance reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InstanceStatus {
    /// The instance name.
    pub(crate) instance: String,
    /// `serving`, `not_ready` or `closing`. Readers set `silent` if the last report is older than 5 s.
    pub(crate) state: String,
    /// Open sockets.
    pub(crate) sockets: usize,
    /// Rooms with members on this instance.
    pub(crate) rooms: i64,
    /// Users in rooms on this instance, counted once per room.
    pub(crate) users: i64,
    /// Messages per second published during the last interval.
    pub(crate) sent_per_second: f64,
    /// Messages per second delivered to sockets during the last interval.
    pub(crate) delivered_per_second: f64,
    /// Seconds since the start of the process.
    pub(crate) uptime: u64,
    /// Version of the program.
    pub(crate) version: String,
}

/// Reports the status of an instance until the instance is dropped.
pub(crate) async fn report<B: Bus + PresenceStore + InstanceRegistry, P: Policy>(instance: Weak<Shared<B, P>>) {
    let mut clock = tokio::time::interval(REPORT_INTERVAL);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sent, mut delivered, mut last) = (0, 0, tokio::time::Instant::now());
    loop {
        clock.tick().await;
        let Some(shared) = instance.upgrade() else { return };
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = tokio::time::Instant::now();
        let per_second = |before: &mut u64, now: u64| {
            let count = now - std::mem::replace(before, now);
            // The count of one interval is far below 2^52, so the conversion is exact.
            (10.0 * count as f64 / seconds).round() / 10.0
        };
        let metrics = &shared.metrics;
        let status = InstanceStatus {
            instance: shared.config.instance.clone(),
            state: match shared.drain.phase() {
                Phase::Serving => "serving",
                Phase::NotReady => "not_ready",
                Phase::Closing => "closing",
            }
            .to_owned(),
            sockets: shared.census.total(),
            rooms: metrics.rooms.get(),
            users: metrics.users.get(),
            sent_per_second: per_second(
                &mut sent,
                metrics.published.get_or_create(&SendOutcome { outcome: "sent" }).get(),
            ),
            delivered_per_second: per_second(&mut delivered, metrics.delivered.get()),
            uptime: shared.uptime().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let report = json!(status).to_string();
        if let Err(error) = shared.bus.report(shared.instance, &report).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "reporting the status of this instance failed; retrying in 2 s"
            );
        }
    }
}

/// `GET /` of the admin listener: the status of all instances as a page.
pub(crate) async fn page<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: web::Data<Gateway<B, S, P>>,
) -> HttpResponse {
    let instances = all(&gateway).await;
    let page = page::render(&gateway.shared().config.instance, instances.as_deref());
    let mut answer = if instances.is_some() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.insert_header((CACHE_CONTROL, "no-store")).content_type(HTML).body(page.into_string())
}

/// `GET /status` of the admin listener: the status of all instances as JSON,
/// `{"instance":"gw-1","instances":[{"instance":"gw-1","state":"serving","sockets":12,…}]}`.
pub(crate) async fn json<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: web::Data<Gateway<B, S, P>>,
) -> HttpResponse {
    match all(&gateway).await {
        Some(instances) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(json!({ "instance": gateway.shared().config.instance, "instances": instances })),
        None => HttpError::Unavailable.json(),
    }
}

/// Returns the last report of every instance, sorted by name, or `None` if the bus does not answer.
async fn all<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: &Gateway<B, S, P>,
) -> Option<Vec<InstanceStatus>> {
    let reports = gateway.shared().bus.reports().await.ok()?;
    let status = |report: trunkline_bus::InstanceReport| {
        // A report of another version with another shape is left out.
        let mut status: InstanceStatus = serde_json::from_str(&report.text).ok()?;
        if report.age > SILENT_AFTER {
            status.state = "silent".to_owned();
        }
        Some(status)
    };
    let mut all: Vec<InstanceStatus> = reports.into_iter().filter_map(status).collect();
    all.sort_by(|a, b| a.instance.cmp(&b.instance).then(b.uptime.cmp(&a.uptime)));
    Some(all)
}
