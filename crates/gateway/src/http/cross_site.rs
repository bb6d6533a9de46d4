//! Protection against cross-site requests: which web pages may open a socket or post a form.
//!
//! A browser lets any page open a WebSocket to any host and submit a form to it, with the cookies of that host.
//! `Origin` (RFC 6454; RFC 6455 section 10.2) and `Sec-Fetch-Site` (W3C Fetch Metadata) name the page that sends the
//! request.

use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use crate::origin::Origin;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns whether a request with these headers may open a socket. A request without `Origin` comes from a program, not
/// from a browser, and is allowed.
pub(crate) fn may_open_socket(headers: &HeaderMap, public: &[Origin]) -> bool {
    origin_is_allowed(headers, public)
}

/// Returns whether a request with these headers may post a form. If `Sec-Fetch-Site`, which no page can forge, is
/// present it decides; otherwise `Origin` does.
pub(crate) fn may_post(headers: &HeaderMap, public: &[Origin]) -> bool {
    match sec_fetch_site(headers) {
        None => origin_is_allowed(headers, public),
        Some(site) => site == "same-origin" || site == "none",
    }
}

/// Returns `Sec-Fetch-Site`, or an empty text if it is sent twice or is not ASCII.
pub(super) fn sec_fetch_site(headers: &HeaderMap) -> Option<&str> {
    match headers.get_all(SEC_FETCH_SITE).collect::<Vec<_>>()[..] {
        [] => None,
        [site] => Some(site.to_str().unwrap_or_default()),
        _ => Some(""),
    }
}

/// Returns whether `Origin` is absent or allowed. With `public` origins it must be one of them. Without, its host and
/// port must be those of `Host`; the scheme is not compared, because TLS may end at a proxy, and a `Host` without a
/// port means the default port of the origin's scheme.
fn origin_is_allowed(headers: &HeaderMap, public: &[Origin]) -> bool {
    let origin = match headers.get_all(ORIGIN).collect::<Vec<_>>()[..] {
        [] => return true,
        [origin] => origin,
        _ => return false,
    };
    // Sandboxed and file: pages send "null", which does not parse.
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok()) else { return false };
    if public.is_empty() { own_origin(headers, origin.is_https()) == Some(origin) } else { public.contains(&origin) }
}

/// Returns the origin that the request's `Host` header names, if the header is well-formed.
pub(crate) fn own_origin(headers: &HeaderMap, https: bool) -> Option<Origin> {
    headers.get(HOST).map(HeaderValue::to_str)?.ok().and_then(|host| Origin::from_authority(https, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn origins(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn socket_origin_must_match_host_without_public_origins() {
        for (lines, allowed) in [
            (&[("host", "chat.example")][..], true),
            (&[("host", "chat.example"), ("origin", "http://chat.example")], true),
            (&[("host", "chat.example"), ("origin", "https://chat.example")], true),
            (&[("host", "chat.example:443"), ("origin", "https://chat.example")], true),
            (&[("host", "CHAT.example"), ("origin", "http://chat.example")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8081")], false),
            (&[("host", "chat.example"), ("origin", "http://chat.example:8080")], false),
            (&[("host", "chat.example"), ("origin", "http://evil.example")], false),
            (&[("host", "chat.example"), ("origin", "http://chat.example.evil.example")], false),
            (&[("host", "chat.example"), ("origin", "http://evilchat.example")], false),
            (&[("host", "chat.example"), ("origin", "null")], false),
            (&[("host", "chat.example"), ("origin", "")], false),
            (&[("origin", "http://chat.example")], false),
            (&[("host", "a"), ("origin", "http://a"), ("origin", "http://evil.example")], false),
        ] {
            assert_eq!(may_open_socket(&headers(lines), &[]), allowed, "{lines:?}");
        }
    }

    #[test]
    fn socket_origin_must_be_a_public_origin_if_any_are_set() {
        let public = origins(&["https://chat.example", "http://127.0.0.1:8080"]);
        for (origin, allowed) in [
            ("https://chat.example", true),
            ("https://chat.example:443", true),
            ("http://127.0.0.1:8080", true),
            ("http://chat.example", false),
            ("https://chat.example:8443", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            // The attacker chooses `Host`, so it is ignored where public origins are set.
            let headers = headers(&[("host", "evil.example"), ("origin", origin)]);
            assert_eq!(may_open_socket(&headers, &public), allowed, "{origin}");
        }
        assert!(may_open_socket(&headers(&[("host", "anything")]), &public));
    }

    #[test]
    fn post_must_come_from_the_same_origin() {
        for (lines, allowed) in [
            (&[("host", "a"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("host", "a"), ("sec-fetch-site", "none")], true),
            (&[("host", "a"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "a"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a"), ("sec-fetch-site", "cross-site"), ("origin", "http://a")], false),
            (&[("host", "a"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a"), ("origin", "http://a")], true),
            (&[("host", "a"), ("origin", "http://b")], false),
            (&[("host", "a"), ("origin", "null")], false),
            (&[("host", "a")], true),
        ] {
            assert_eq!(may_post(&headers(lines), &[]), allowed, "{lines:?}");
        }
    }
}
