//! What every instance says of itself every two seconds, and what operators see of it.

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
    http::error::{HTML, Problem},
    metrics::Outcome,
    pages,
    policy::Policy,
};

/// How often an instance speaks.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an instance may be silent before it is shown as such: two intervals, and a little.
const SILENT: Duration = Duration::from_secs(5);

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Its name.
    pub(crate) instance: String,
    /// `serving`, `not_ready`, `closing`; and what readers make of one who says nothing: `silent`.
    pub(crate) state: String,
    /// Sockets that are open.
    pub(crate) sockets: usize,
    /// Rooms with members on it.
    pub(crate) rooms: i64,
    /// Users in rooms on it, each counted once a room.
    pub(crate) users: i64,
    /// Messages a second that it gave to the log, over the last interval.
    pub(crate) sent_per_second: f64,
    /// Messages a second that it handed to sockets, over the last interval.
    pub(crate) delivered_per_second: f64,
    /// Seconds since it was started.
    pub(crate) uptime: u64,
    /// Its program's version.
    pub(crate) version: String,
}

/// Speaks for an instance as long as it lives.
pub(crate) async fn report<B: Bus + PresenceStore + InstanceRegistry, P: Policy>(instance: Weak<Shared<B, P>>) {
    let mut clock = tokio::time::interval(INTERVAL);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut sent, mut delivered, mut last) = (0, 0, tokio::time::Instant::now());
    loop {
        clock.tick().await;
        let Some(shared) = instance.upgrade() else { return };
        let seconds = last.elapsed().as_secs_f64().max(0.001);
        last = tokio::time::Instant::now();
        let rate = |before: &mut u64, now: u64| {
            let grown = now - std::mem::replace(before, now);
            // Counts of a few seconds are far below 2^52.
            (10.0 * grown as f64 / seconds).round() / 10.0
        };
        let metrics = &shared.metrics;
        let status = Status {
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
            sent_per_second: rate(&mut sent, metrics.published.get_or_create(&Outcome { outcome: "sent" }).get()),
            delivered_per_second: rate(&mut delivered, metrics.delivered.get()),
            uptime: shared.uptime().as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let about = json!(status).to_string();
        if let Err(error) = shared.bus.report(shared.instance, &about).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "status not told");
        }
    }
}

/// `GET /` of the admin listener: all instances, for people.
pub(crate) async fn page<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: web::Data<Gateway<B, S, P>>,
) -> HttpResponse {
    let instances = all(&gateway).await;
    let page = pages::status(&gateway.shared().config.instance, instances.as_deref());
    let mut answer = if instances.is_some() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.insert_header((CACHE_CONTROL, "no-store")).content_type(HTML).body(page.into_string())
}

/// `GET /status` of the admin listener: the same for programs, `{"instance":"gw-1","instances":[{"instance":"gw-1",
/// "state":"serving","sockets":12,…}]}`.
pub(crate) async fn json<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: web::Data<Gateway<B, S, P>>,
) -> HttpResponse {
    match all(&gateway).await {
        Some(instances) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(json!({ "instance": gateway.shared().config.instance, "instances": instances })),
        None => Problem::Unavailable.json(),
    }
}

/// What every instance said last, by name; `None` where that cannot be read.
async fn all<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy>(
    gateway: &Gateway<B, S, P>,
) -> Option<Vec<Status>> {
    let reports = gateway.shared().bus.reports().await.ok()?;
    let status = |report: trunkline_bus::InstanceReport| {
        // One of another version that says something else is passed over.
        let mut status: Status = serde_json::from_str(&report.text).ok()?;
        if report.age > SILENT {
            status.state = "silent".to_owned();
        }
        Some(status)
    };
    let mut all: Vec<Status> = reports.into_iter().filter_map(status).collect();
    all.sort_by(|a, b| a.instance.cmp(&b.instance).then(b.uptime.cmp(&a.uptime)));
    Some(all)
}
