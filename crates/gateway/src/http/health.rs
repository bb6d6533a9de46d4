//! `GET /healthz`: the process is alive. `GET /readyz`: the instance can serve traffic.

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};
use serde_json::{Map, Value, json};
use trunkline_bus::Health;
use trunkline_session::Sessions;

use super::HttpState;
#[cfg(feature = "jwt")]
use crate::jwt::TokenVerifier;

/// Checks whose failure leaves logins and messages working. They do not make an instance unready: all instances share
/// Redis, so the balancer would be left without any.
const DEGRADING_CHECKS: [&str; 1] = ["eviction"];

/// Always answers 200. Redis is not checked, because restarting the process would not repair it.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).body("ok\n")
}

/// Answers 200 if every check passes, otherwise 503: a balancer must not send traffic. The body names each check and
/// its failure, and what is wrong although logins and messages work:
/// `{"ready":false,"instance":"gw-1","checks":{"drain":{"ok":true},"redis":{"ok":false,"detail":"…"}},"degraded":["…"]}`.
pub(super) async fn ready<S: Sessions>(state: web::Data<HttpState<S>>) -> HttpResponse {
    let (sessions, degraded) = match state.sessions.health().await {
        Ok(degraded) => (Ok(()), degraded),
        Err(error) => (Err(error.to_string()), Vec::new()),
    };
    let mut checks = state.gateway.health();
    checks.push(Health { check: "sessions", state: sessions, degraded });

    let mut degraded = Vec::new();
    let mut ready = true;
    for Health { check, state, degraded: parts } in &checks {
        degraded.extend_from_slice(parts);
        match state {
            Ok(()) => {}
            Err(detail) if DEGRADING_CHECKS.contains(check) => degraded.push(format!("{check}: {detail}")),
            Err(_) => ready = false,
        }
    }
    if state.out_of_descriptors.is_present() {
        degraded.push("new sockets are refused: no file descriptors are left for them".to_owned());
    }
    #[cfg(feature = "jwt")]
    degraded.extend(state.config.tokens.as_ref().and_then(TokenVerifier::degraded));
    let checks: Map<String, Value> = checks
        .into_iter()
        .map(|Health { check, state, degraded: _ }| match state {
            Ok(()) => (check.to_owned(), json!({ "ok": true })),
            Err(detail) => (check.to_owned(), json!({ "ok": false, "detail": detail })),
        })
        .collect();
    let degraded = merge_shards(degraded);
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "ready": ready, "instance": state.config.instance, "checks": checks, "degraded": degraded }))
}

/// Merges the lines `shard <address>: <reason>` about the same shard into one with all reasons: the bus and the sessions each
/// report a shard. A reason that only repeats another one for a further check is left out.
fn merge_shards(degraded: Vec<String>) -> Vec<String> {
    let mut merged: Vec<(String, Vec<String>)> = Vec::new();
    for line in degraded {
        let shard = line.strip_prefix("shard ").and_then(|rest| rest.split_once(": "));
        let Some((shard, reason)) = shard.map(|(shard, reason)| (format!("shard {shard}"), reason.to_owned())) else {
            merged.push((line, Vec::new()));
            continue;
        };
        match merged.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, reasons)) if reasons.iter().any(|known| reason.ends_with(known.as_str())) => {}
            Some((_, reasons)) => reasons.push(reason),
            None => merged.push((shard, vec![reason])),
        }
    }
    let line = |(subject, reasons): (String, Vec<String>)| match reasons.is_empty() {
        true => subject,
        false => format!("{subject}: {}", reasons.join("; ")),
    };
    merged.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::merge_shards;

    #[test]
    fn shard_has_one_line_with_each_of_its_reasons() {
        let lines = [
            "shard 10.0.0.1:7001: connecting to 10.0.0.1:7001: refused",
            "shard [::1]:7002: writes: OOM",
            "slot map: no answer",
            "shard 10.0.0.1:7001: sessions: connecting to 10.0.0.1:7001: refused",
            "shard [::1]:7002: sessions: no answer within 1 s",
            "shard 10.0.0.3:7003: sessions: no answer within 1 s",
        ];
        let merged = merge_shards(lines.map(str::to_owned).to_vec());
        let expected = [
            "shard 10.0.0.1:7001: connecting to 10.0.0.1:7001: refused",
            "shard [::1]:7002: writes: OOM; sessions: no answer within 1 s",
            "slot map: no answer",
            "shard 10.0.0.3:7003: sessions: no answer within 1 s",
        ];
        assert_eq!(merged, expected);
    }
}
