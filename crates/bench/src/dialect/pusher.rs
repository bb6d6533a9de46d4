//! The Pusher protocol, as Sockudo speaks it: version 7 and its own version 2, which adds positions for recovery
//! (<https://sockudo.io/docs/reference/protocol>). Pure.
//!
//! Subscribers use WebSockets. Publishers use the HTTP API, whose requests are signed
//! (<https://pusher.com/docs/channels/library_auth_reference/rest-api/>).

use std::fmt;

use hmac::{Hmac, Mac};
use md5::{Digest as _, Md5};
use sha2::Sha256;

/// The app in `crates/check/peers/sockudo/config.toml`.
const APP: PusherApp<'_> = PusherApp { id: "bench", key: "bench-key", secret: "bench-secret" };

/// Text that a client sends, or in which it recognises a frame.
pub(super) const PONG: &str = r#"{"event":"pusher:pong","data":{}}"#;
pub(super) const PING: &str = r#"{"event":"pusher:ping""#;
/// Version 2 has `sockudo` as prefix.
pub(super) const CONNECTED: &str = ":connection_established\"";
pub(super) const SUBSCRIBED: &str = "_internal:subscription_succeeded\"";

/// Credentials of an app.
#[derive(Clone, Copy)]
struct PusherApp<'a> {
    id: &'a str,
    key: &'a str,
    secret: &'a str,
}

/// Path of the handshake.
pub(super) fn path(version: u8) -> String {
    format!("/app/{}?protocol={version}&client=trunkline-bench&version=1.0", APP.key)
}

/// The frame that subscribes to a public channel.
pub(super) fn subscribe(prefix: &str, channel: &str) -> String {
    format!(r#"{{"event":"{prefix}:subscribe","data":{{"channel":"{channel}"}}}}"#)
}

/// The request that publishes a text, which must need no escaping in JSON. Sockudo accepts it up to 600 s after
/// `unix_seconds`.
pub(super) fn publish(channel: &str, text: &str, unix_seconds: u64) -> String {
    let body = format!(r#"{{"name":"message","channel":"{channel}","data":"{text}"}}"#);
    let target = APP.signed_target(&body, unix_seconds);
    format!(
        "POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl PusherApp<'_> {
    /// Path and query of a publish request.
    fn signed_target(self, body: &str, unix_seconds: u64) -> String {
        let path = format!("/apps/{}/events", self.id);
        let query = format!(
            "auth_key={}&auth_timestamp={unix_seconds}&auth_version=1.0&body_md5={}",
            self.key,
            Hex(&Md5::digest(body))
        );
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("a key of any length is accepted");
        [b"POST\n", path.as_bytes(), b"\n", query.as_bytes()].iter().for_each(|part| hmac.update(part));
        format!("{path}?{query}&auth_signature={}", Hex(&hmac.finalize().into_bytes()))
    }
}

/// Bytes as lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_matches_the_example_of_the_documentation() {
        let app = PusherApp { id: "3", key: "278d425bdf160c739803", secret: "7ad3773142a6692b25b8" };
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            app.signed_target(body, 1_353_088_179),
            "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }
}
