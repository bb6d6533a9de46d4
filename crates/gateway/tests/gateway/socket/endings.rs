//! How a socket ends, and that nothing else does.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use trunkline_gateway::Config;

use super::{
    Site, Transport, generous, over_both_transports,
    peer::{End, Person},
};

over_both_transports!(
    a_close_is_answered_with_its_code,
    three_bad_frames_in_a_row_end_a_socket,
    a_hundred_refusals_end_a_socket,
    a_silent_client_is_closed,
    logout_ends_every_socket_of_the_session,
    a_drain_tells_everybody_then_closes,
    a_client_that_is_cut_off_is_forgotten,
    a_websocket_ping_is_answered,
);

async fn a_close_is_answered_with_its_code(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let close = CloseFrame { code: 4000.into(), reason: "".into() };
    ann.0.send(Message::Close(Some(close))).await.unwrap();
    assert_eq!(ann.end().await, End::Close(4000));
}

async fn three_bad_frames_in_a_row_end_a_socket(transport: Transport) {
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

async fn a_hundred_refusals_end_a_socket(transport: Transport) {
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

async fn a_silent_client_is_closed(transport: Transport) {
    let config = Config { ping_interval: Duration::from_millis(300), ..generous() };
    let site = Site::start(transport, config);
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    assert_eq!(ann.end().await, End::Close(4408));
}

async fn logout_ends_every_socket_of_the_session(transport: Transport) {
    let site = Site::start(transport, generous());
    let person = Person::log_in(&site, "ann").await;
    let mut bob = Person::log_in(&site, "bob").await.connect().await;
    let (mut one, mut other) = (person.connect().await, person.connect().await);
    person.log_out().await;
    assert_eq!((one.end().await, other.end().await), (End::Close(4401), End::Close(4401)));
    assert!(person.open().await.is_err(), "no socket without a session");
    bob.join("lobby").await;
}

async fn a_drain_tells_everybody_then_closes(transport: Transport) {
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

async fn a_client_that_is_cut_off_is_forgotten(transport: Transport) {
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

async fn a_websocket_ping_is_answered(transport: Transport) {
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
