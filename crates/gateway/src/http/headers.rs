//! Security headers of every answer.

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

use super::{Origin, Site, origin};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Two years, as browsers' preload lists want it; sister hosts are not ours to decide on.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Middleware around everything.
pub(super) async fn set<S: Sessions, B: MessageBody>(
    site: web::Data<Site<S>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let https = site.is_https(request.request());
    let sockets: Vec<Origin> = match &site.config.public_origins[..] {
        [] => origin::own(request.headers(), https).into_iter().collect(),
        public => public.to_vec(),
    };
    let mut answer = next.call(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        put(answer.headers_mut(), https, &sockets);
    }
    Ok(answer)
}

fn put(headers: &mut HeaderMap, https: bool, sockets: &[Origin]) {
    // Origins are made of letters, digits, '.', '-', ':' and brackets, so the policy is a valid value.
    if let Ok(policy) = HeaderValue::try_from(policy(sockets)) {
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

/// Nothing but what the pages use: no inline script, no frames, no foreign origin. CSP level 3 lets `'self'` cover the
/// origin's sockets, browsers of before 2022 do not, so these are named.
fn policy(sockets: &[Origin]) -> String {
    let sockets: String = sockets.iter().map(|origin| format!(" {}", origin.socket_source())).collect();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{sockets}; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}
