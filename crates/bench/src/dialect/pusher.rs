//! The Pusher protocol, as Sockudo speaks it: version 7, and Sockudo's own version 2, whose messages have positions
//! (<https://sockudo.io/docs/reference/protocol>). Pure.
//!
//! Members of a room write client events. These need private channels, and a backend signs the subscriptions to private
//! channels (<https://pusher.com/docs/channels/server_api/authorizing-users/>). The load generator is that backend.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The app in `crates/check/peers/sockudo/config.toml`.
const APP: PusherApp<'_> = PusherApp { key: "bench-key", secret: "bench-secret" };

/// Text in which a client recognises a frame. Version 2 has another prefix.
pub(super) const CONNECTED: &str = ":connection_established\"";
pub(super) const SUBSCRIBED: &str = "_internal:subscription_succeeded\"";
pub(super) const PING: &str = r#"{"event":"pusher:ping""#;
pub(super) const PONG: &str = r#"{"event":"pusher:pong","data":{}}"#;

/// Credentials of an app.
struct PusherApp<'a> {
    key: &'a str,
    secret: &'a str,
}

impl PusherApp<'_> {
    /// The proof that the backend allows a socket to subscribe.
    fn authorization(&self, socket_id: &str, channel: &str) -> String {
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).expect("a key of any length is accepted");
        hmac.update(format!("{socket_id}:{channel}").as_bytes());
        let digits: String = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}:{digits}", self.key)
    }
}

/// Path of the handshake. Writers of version 2 ask not to receive their own messages; those of version 7 never do.
pub(super) fn path(version: u8) -> String {
    format!("/app/{}?protocol={version}&client=trunkline-bench&version=1.0&echo_messages=false", APP.key)
}

/// The frame that subscribes to a room's channel, signed for the socket to which the server sent `connected`.
pub(super) fn subscribe(prefix: &str, room: &str, connected: &[u8]) -> String {
    let channel = channel(room);
    let auth = APP.authorization(socket_id(connected).unwrap_or_default(), &channel);
    format!(r#"{{"event":"{prefix}:subscribe","data":{{"channel":"{channel}","auth":"{auth}"}}}}"#)
}

/// The frame that sends a text, which must need no escaping in JSON.
pub(super) fn client_event(room: &str, text: &str) -> String {
    format!(r#"{{"event":"client-message","channel":"{}","data":"{text}"}}"#, channel(room))
}

fn channel(room: &str) -> String {
    format!("private-{room}")
}

/// The id in the first frame of a connection, whose data is JSON in a JSON string or an object.
fn socket_id(connected: &[u8]) -> Option<&str> {
    let (_, rest) = std::str::from_utf8(connected).ok()?.split_once("socket_id")?;
    let start = rest.find(|c: char| c.is_ascii_digit())?;
    rest[start..].split(['"', '\\']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_matches_the_example_of_the_documentation() {
        let app = PusherApp { key: "278d425bdf160c739803", secret: "7ad3773142a6692b25b8" };
        assert_eq!(
            app.authorization("1234.1234", "private-foobar"),
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
    }

    #[test]
    fn socket_id_is_read_from_escaped_and_plain_data() {
        let escaped =
            br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#;
        assert_eq!(socket_id(escaped), Some("12.34"));
        assert_eq!(socket_id(br#"{"event":"sockudo:connection_established","data":{"socket_id":"5.6"}}"#), Some("5.6"));
        assert_eq!(socket_id(b"{}"), None);
    }
}
