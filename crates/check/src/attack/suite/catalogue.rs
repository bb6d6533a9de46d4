//! The list of all attacks.

use std::{future::Future, pin::Pin};

use super::{
    cookies, floods, frames, logins, messages, requests, slow,
    target::{AttackOutcome, AttackTarget},
};

type AttackFuture<'a> = Pin<Box<dyn Future<Output = AttackOutcome> + Send + 'a>>;

/// One attack.
#[derive(Clone, Copy)]
pub(super) struct Attack {
    /// Name, as `--only` takes it.
    pub(super) name: &'static str,
    /// What the attack sends.
    pub(super) sends: &'static str,
    /// The reaction that `SECURITY.md` or `docs/PROTOCOL.md` promises.
    pub(super) expected: &'static str,
    pub(super) run: for<'a> fn(&'a AttackTarget) -> AttackFuture<'a>,
}

macro_rules! attack {
    ($name:literal, $sends:literal, $expected:literal, $run:path) => {
        Attack { name: $name, sends: $sends, expected: $expected, run: |target| Box::pin($run(target)) }
    };
}

/// All attacks in the order of execution. The login attacks come last, because they exhaust the login rate of the
/// address from which the suite runs.
pub(super) const ATTACKS: &[Attack] = &[
    // Requests that a foreign page or a proxy could make.
    attack!(
        "foreign-origin",
        "handshakes with foreign, null, similar and duplicate Origin",
        "403",
        requests::foreign_origin
    ),
    attack!(
        "cross-site-post",
        "logins and logouts with a foreign Origin or Sec-Fetch-Site",
        "403",
        requests::cross_site_post
    ),
    attack!(
        "forged-host",
        "a request with a forged Host, and requests with no Host, an empty one or two",
        "no forged name in the response headers; 400 for no Host, an empty one and two",
        requests::forged_host
    ),
    attack!(
        "open-redirect",
        "logins with next on another host",
        "a redirect to a path on this host",
        logins::open_redirect
    ),
    attack!(
        "request-smuggling",
        "ambiguous lengths: CL and TE, two CL, invalid TE and CL",
        "one response, or none",
        requests::request_smuggling
    ),
    attack!("protocol-upgrade", "Upgrade: h2c, and PRI * HTTP/2.0", "no 101", requests::protocol_upgrade),
    attack!(
        "invalid-handshake",
        "wrong version, no key, foreign subprotocol, POST",
        "400, 404, 405 or 426",
        requests::invalid_handshake
    ),
    attack!(
        "path-traversal",
        "paths with dot segments, encoded slashes and null bytes",
        "400 or 404",
        requests::path_traversal
    ),
    attack!("admin-routes", "GET /metrics and /status on the public address", "404", requests::admin_routes),
    attack!(
        "oversized-head",
        "256 KiB and 1 MiB of header fields, 200 fields, a path of 1 MiB",
        "400 or 431, or closed",
        requests::oversized_head
    ),
    attack!(
        "oversized-body",
        "login bodies of 9 KiB and 1 MiB, declared lengths up to 2^63",
        "413 or 400; 408 if a declared body does not arrive",
        requests::oversized_body
    ),
    attack!(
        "security-headers",
        "GET / with and without a session",
        "CSP, nosniff, Referrer-Policy, COOP; no-store with a session",
        requests::security_headers
    ),
    attack!(
        "script-injection",
        "markup in names, rooms and messages",
        "refused, or delivered as text; never in a page",
        messages::script_injection
    ),
    // Cookies and sessions.
    attack!("missing-cookie", "probe and handshake without a cookie", "401", cookies::missing_cookie),
    attack!("forged-cookie", "altered, truncated, unsigned and 5 KB cookies", "401", cookies::forged_cookie),
    attack!(
        "duplicate-cookie",
        "two session cookies, and one with a percent-encoded name",
        "401",
        cookies::duplicate_cookie
    ),
    attack!(
        "cookie-attributes",
        "a login",
        "HttpOnly, SameSite=Lax, Path=/, no Domain; Secure on https",
        cookies::cookie_attributes
    ),
    attack!(
        "session-fixation",
        "a login with a planted session cookie",
        "a new key; the planted one is not logged in",
        cookies::session_fixation
    ),
    attack!("stolen-old-key", "a session key 12 s after its rotation", "401", cookies::stolen_old_key),
    attack!(
        "use-after-logout",
        "an open socket and a cookie after the logout",
        "close 4401 within 1 s; 401",
        cookies::use_after_logout
    ),
    attack!(
        "impersonation",
        "a message with the user and time of another",
        "the message has the attacker's name",
        messages::impersonation
    ),
    // Frames.
    attack!("giant-frame", "a frame of 2^40 bytes", "1009 before 16 MiB are taken", frames::giant_frame),
    attack!("oversized-text", "a frame of 40 KiB", "1009", frames::oversized_text),
    attack!("oversized-message", "fragments of 40 KiB in total", "1009", frames::oversized_message),
    attack!("binary-frame", "a binary frame", "1003", frames::binary_frame),
    attack!("bad-utf8", "invalid UTF-8, also across fragments", "1007", frames::bad_utf8),
    attack!("unmasked-frame", "a frame without a mask", "1002", frames::unmasked_frame),
    attack!("reserved-bits", "a frame with RSV1, and reserved opcodes", "1002", frames::reserved_bits),
    attack!(
        "invalid-control-frames",
        "fragmented and long pings, a continuation of nothing, close code 1005",
        "1002",
        frames::invalid_control_frames
    ),
    attack!("invalid-json", "three texts that are not JSON", "1008", frames::invalid_json),
    attack!(
        "invalid-values",
        "invalid room names, ids, texts, positions and numbers",
        "one error frame each",
        frames::invalid_values
    ),
    // Floods.
    attack!("message-flood", "messages at the flood rate", "rate_limited, then 1008", floods::message_flood),
    attack!("join-flood", "100 joins at once, and leaves", "rate_limited", floods::join_flood),
    attack!("too-many-rooms", "129 joins at the allowed rate", "too_many_rooms", floods::too_many_rooms),
    attack!(
        "history-flood",
        "history requests without reading the answers",
        "the connection ends within 60 s",
        slow::history_flood
    ),
    attack!("ping-flood", "pings at the flood rate", "every pong, or 1008", floods::ping_flood),
    attack!(
        "fragment-flood",
        "empty fragments at the flood rate",
        "closed, or the next command is answered",
        floods::fragment_flood
    ),
    attack!("too-many-sockets", "sockets of one user, up to 40", "4409 for the oldest", floods::too_many_sockets),
    attack!(
        "connection-churn",
        "new connections at the churn rate: requests, handshakes, resets",
        "all are accepted, and a new client is served afterwards",
        floods::connection_churn
    ),
    // Slow clients.
    attack!(
        "slow-request-heads",
        "one header byte per second on many connections",
        "408 or closed within 15 s",
        slow::slow_request_heads
    ),
    attack!("slow-request-bodies", "a body that never arrives", "408 or closed within 15 s", slow::slow_request_bodies),
    attack!("silent-socket", "a socket that answers no ping", "4408 within 60 s", slow::silent_socket),
    attack!(
        "never-reading-client",
        "a socket that never reads, in a busy room",
        "the connection ends within 60 s",
        slow::never_reading_client
    ),
    // Logins.
    attack!(
        "invalid-names",
        "reserved, mixed-script, long, blank and confusable names",
        "400, or 409 for a name in use",
        logins::invalid_names
    ),
    attack!(
        "failed-logins",
        "failed logins, up to the bound",
        "400 or 409, then 429 with Retry-After",
        logins::failed_logins
    ),
    attack!(
        "forged-address",
        "logins with X-Forwarded-For and Forwarded of other addresses",
        "still 429",
        logins::forged_address
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attacks_are_unique() {
        let mut names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ATTACKS.len());
    }
}
