//! The handlers of the operators' listener.

use actix_web::{HttpResponse, Responder, http::header::CACHE_CONTROL, web};
use serde_json::json;
use trunkline_bus::InstanceRegistry;

#[cfg(feature = "pages")]
use crate::http::error::HTML;
use crate::{http::error::HttpError, policy::Policy, state::GatewayState, status};

/// The media type of OpenMetrics (the specification's section "Overall structure"), which Prometheus reads.
const METRICS_TYPE: (&str, &str) = ("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /`: the status of all instances as a page.
#[cfg(feature = "pages")]
pub(crate) async fn page<B: InstanceRegistry, P: Policy>(state: web::Data<GatewayState<B, P>>) -> HttpResponse {
    let statuses = status::read_all(&state).await.ok();
    let page = status::page::render(&state.config.instance, statuses.as_deref());
    let mut answer = if statuses.is_some() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.insert_header((CACHE_CONTROL, "no-store")).content_type(HTML).body(page.into_string())
}

/// `GET /status`: the same as JSON, `{"instance":"gw-1","instances":[{"instance":"gw-1","state":"serving","sockets":12,…}]}`.
pub(crate) async fn json<B: InstanceRegistry, P: Policy>(state: web::Data<GatewayState<B, P>>) -> HttpResponse {
    match status::read_all(&state).await {
        Ok(statuses) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .json(json!({ "instance": state.config.instance, "instances": statuses })),
        Err(_) => HttpError::Unavailable.json(),
    }
}

/// `GET /metrics`: the counters for Prometheus.
pub(crate) async fn metrics<B: InstanceRegistry, P: Policy>(state: web::Data<GatewayState<B, P>>) -> impl Responder {
    state.metrics.encode().customize().insert_header(METRICS_TYPE)
}
