//! Security headers of every response.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
            STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    web,
};
use trunkline_session::Sessions;

use super::{HttpState, cross_site::own_origin};
use crate::origin::Origin;

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Two years, the value that the preload lists of browsers expect. Without `includeSubDomains`, because the gateway
/// does not control other hosts of the domain.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Outermost middleware of every resource.
pub(super) async fn add_security_headers<S: Sessions, B: MessageBody>(
    state: web::Data<HttpState<S>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let https = state.is_https(request.request());
    let socket_origins: Vec<Origin> = match &state.config.public_origins[..] {
        [] => own_origin(request.headers(), https).into_iter().collect(),
        public => public.to_vec(),
    };
    let mut answer = next.call(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        insert(answer.headers_mut(), https, &socket_origins);
    }
    Ok(answer)
}

fn insert(headers: &mut HeaderMap, https: bool, socket_origins: &[Origin]) {
    // An origin contains no character that is invalid in a header, so the conversion succeeds.
    if let Ok(policy) = HeaderValue::try_from(content_security_policy(socket_origins)) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Returns a policy that allows only what the pages use: no inline script, no frames, no other origin. In CSP level 3
/// `'self'` includes the origin's WebSockets; browsers released before 2022 do not implement this, so the policy names
/// them.
fn content_security_policy(socket_origins: &[Origin]) -> String {
    let sockets: String = socket_origins.iter().map(|origin| format!(" {}", origin.websocket_source())).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{sockets}; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}
