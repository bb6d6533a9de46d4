//! `/healthz`: the process is alive. `/readyz`: this instance should get traffic.

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};
use serde_json::{Map, Value, json};
use trunkline_bus::Health;
use trunkline_session::Sessions;

use super::Site;

/// Always 200 while the process can answer at all: a restart would not bring Redis back.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).body("ok\n")
}

/// 200 or 503, with each check and what is wrong:
/// `{"ready":false,"instance":"gw-1","checks":{"drain":{"ok":true},"redis":{"ok":false,"detail":"…"}}}`.
pub(super) async fn ready<S: Sessions>(site: web::Data<Site<S>>) -> HttpResponse {
    let sessions = site.sessions.health().await.map_err(|error| error.to_string());
    let mut checks = site.running.health();
    checks.push(Health { check: "sessions", state: sessions });

    let ready = checks.iter().all(|check| check.state.is_ok());
    let checks: Map<String, Value> = checks
        .into_iter()
        .map(|Health { check, state }| match state {
            Ok(()) => (check.to_owned(), json!({ "ok": true })),
            Err(detail) => (check.to_owned(), json!({ "ok": false, "detail": detail })),
        })
        .collect();
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "ready": ready, "instance": site.config.instance, "checks": checks }))
}
