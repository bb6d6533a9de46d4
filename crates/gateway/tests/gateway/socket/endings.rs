//! The ways in which a socket ends, and that other sockets stay open.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use trunkline_gateway::Config;

use super::{
    Site, Transport,
    client::{End, Person},
    generous, over_both_transports,
};

over_both_transports!(
    close_frame_is_echoed_with_its_code,
    three_malformed_frames_in_a_row_close_the_socket,
    hundred_rate_limited_commands_close_the_socket,
    client_that_answers_no_ping_is_closed,
    logout_closes_every_socket_of_the_session,
    drain_sends_closing_then_closes_each_socket,
    socket_of_a_vanished_client_is_removed,
    websocket_ping_is_answered_with_its_payload,
);

async fn close_frame_is_echoed_with_its_code(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let close = CloseFrame { code: 4000.into(), reason: "".into() };
    ann.0.send(Message::Close(Some(close))).await.unwrap();
    assert_eq!(ann.end().await, End::Close(4000));
}

async fn three_malformed_frames_in_a_row_close_the_socket(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    for _ in 0..2 {
        ann.0.send(Message::text("{")).await.unwrap();
    }
    ann.send(json!({"type": "pong"})).await;
    for _ in 0..3 {
        ann.0.send(Message::text("[]")).await.unwrap();
    }
    assert_eq!(ann.end().await, End::Close(1008));
}

async fn hundred_rate_limited_commands_close_the_socket(transport: Transport) {
    let site = Site::start(transport, Config::default());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    for number in 0..200 {
        let frame = json!({"type": "send", "room": "lobby", "id": format!("f{number}"), "text": "x"});
        ann.0.feed(Message::text(frame.to_string())).await.unwrap();
    }
    let _ = ann.0.flush().await;
    assert_eq!(ann.end().await, End::Close(1008));
}

async fn client_that_answers_no_ping_is_closed(transport: Transport) {
    let config = Config { ping_interval: Duration::from_millis(300), ..generous() };
    let site = Site::start(transport, config);
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    assert_eq!(ann.end().await, End::Close(4408));
}

/// Without the reset, the kernel keeps the connection for as long as the client does not read.
#[actix_web::test]
async fn client_that_reads_nothing_is_reset_after_its_close_frame() {
    let config = Config { ping_interval: Duration::from_millis(300), ..generous() };
    let site = Site::start(Transport::TakenOver, config);
    let ann = Person::log_in(&site, "ann").await.connect().await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while ann.0.get_ref().take_error().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the connection is not reset");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn logout_closes_every_socket_of_the_session(transport: Transport) {
    let site = Site::start(transport, generous());
    let person = Person::log_in(&site, "ann").await;
    let mut bob = Person::log_in(&site, "bob").await.connect().await;
    let (mut one, mut other) = (person.connect().await, person.connect().await);
    person.log_out().await;
    assert_eq!((one.end().await, other.end().await), (End::Close(4401), End::Close(4401)));
    assert!(person.open().await.is_err(), "no socket without a session");
    bob.join("lobby").await;
}

async fn drain_sends_closing_then_closes_each_socket(transport: Transport) {
    let config = Config { drain_delay: Duration::ZERO, drain_window: Duration::from_millis(400), ..generous() };
    let site = Site::start(transport, config);
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    let gateway = site.gateway.clone();
    let drain = actix_web::rt::spawn(async move { gateway.drain().await });
    let closing = ann.next_of("closing").await;
    assert_eq!(closing["reason"], "drain");
    assert!(closing["reconnect_after_ms"].as_u64().unwrap() <= 400);
    ann.send(json!({"type": "send", "room": "lobby", "id": "late", "text": "until then everything works"})).await;
    ann.next_of("sent").await;
    assert_eq!(ann.end().await, End::Close(1012));
    drain.await.unwrap();
    assert_eq!(site.gateway.sockets(), 0);
}

async fn socket_of_a_vanished_client_is_removed(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    assert_eq!(site.gateway.sockets(), 1);
    drop(ann);
    for _ in 0..500 {
        if site.gateway.sockets() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the socket is still there");
}

async fn websocket_ping_is_answered_with_its_payload(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.0.send(Message::Ping(vec![1, 2, 3].into())).await.unwrap();
    loop {
        if let Message::Pong(payload) = ann.0.next().await.unwrap().unwrap() {
            assert_eq!(&payload[..], [1, 2, 3]);
            return;
        }
    }
}
