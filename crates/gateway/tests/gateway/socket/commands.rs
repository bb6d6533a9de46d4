//! The answers to each command.

use std::time::Duration;

use serde_json::json;

use super::{Site, Transport, client::Person, count, generous, limited, over_both_transports};

over_both_transports!(
    two_members_exchange_messages,
    retry_returns_the_first_position_and_keeps_the_first_text,
    resume_delivers_exactly_the_missed_messages,
    paused_reader_misses_no_message,
    refused_commands_name_the_reason,
    history_pages_are_contiguous,
    rate_limited_message_is_refused_with_retry_after,
    rate_limited_client_can_send_again_after_retry_after,
    client_that_waits_after_each_refused_join_stays_connected,
    rooms_per_socket_are_limited,
    socket_above_the_user_limit_closes_the_oldest,
);

async fn two_members_exchange_messages(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let mut bob = Person::log_in(&site, "bob").await.connect().await;
    assert_eq!(ann.join("lobby").await["head"], "0-0");
    bob.join("lobby").await;
    ann.send(json!({"type": "send", "room": "lobby", "id": "a1", "text": "hi"})).await;
    let received = bob.next_of("message").await;
    assert_eq!((&received["user"], &received["text"], &received["id"]), (&json!("ann"), &json!("hi"), &json!("a1")));
    assert_eq!(ann.next_of("message").await["pos"], received["pos"], "the sender gets its own");
    bob.send(json!({"type": "typing", "room": "lobby"})).await;
    assert_eq!(ann.next_of("typing").await["user"], "bob");
    bob.send(json!({"type": "leave", "room": "lobby"})).await;
    bob.next_of("left").await;
    ann.send(json!({"type": "send", "room": "lobby", "id": "a2", "text": "still there?"})).await;
    ann.next_of("message").await;
    bob.send(json!({"type": "dance"})).await;
    assert_eq!(bob.next().await["code"], "unknown_type", "nothing of a room after its left");
}

async fn retry_returns_the_first_position_and_keeps_the_first_text(transport: Transport) {
    let site = Site::start(transport, generous());
    let person = Person::log_in(&site, "ann").await;
    let (mut one, mut other) = (person.connect().await, person.connect().await);
    one.join("lobby").await;
    other.join("lobby").await;
    one.send(json!({"type": "send", "room": "lobby", "id": "a1", "text": "first"})).await;
    let first = one.next_of("sent").await;
    other.send(json!({"type": "send", "room": "lobby", "id": "a1", "text": "second"})).await;
    assert_eq!(other.next_of("sent").await["pos"], first["pos"]);
    let mut fresh = person.connect().await;
    fresh.join("lobby").await;
    assert_eq!(fresh.next_of("message").await["text"], "first");
}

async fn resume_delivers_exactly_the_missed_messages(transport: Transport) {
    let site = Site::start(transport, generous());
    let person = Person::log_in(&site, "ann").await;
    let mut ann = person.connect().await;
    ann.join("lobby").await;
    let mut positions = Vec::new();
    for number in 0..20 {
        ann.send(json!({"type": "send", "room": "lobby", "id": format!("a{number}"), "text": "x"})).await;
        positions.push(ann.next_of("sent").await["pos"].clone());
    }
    let mut back = person.connect().await;
    back.send(json!({"type": "join", "room": "lobby", "after": positions[11]})).await;
    let joined = back.next_of("joined").await;
    assert_eq!((&joined["resumed"], &joined["head"]), (&json!(true), &positions[19]));
    for missed in &positions[12..] {
        assert_eq!(back.next_of("message").await["pos"], *missed);
    }
    let mut stranger = person.connect().await;
    stranger.send(json!({"type": "join", "room": "lobby", "after": "1-1", "recent": 3})).await;
    assert_eq!(stranger.next_of("joined").await["resumed"], false, "a position that cannot be proven");
    for recent in &positions[17..] {
        assert_eq!(stranger.next_of("message").await["pos"], *recent);
    }
    let mut all = person.connect().await;
    all.send(json!({"type": "join", "room": "lobby", "after": "0-0"})).await;
    assert_eq!(all.next_of("joined").await["resumed"], true);
    assert_eq!(all.next_of("message").await["pos"], positions[0]);
}

/// The test sends 512 KiB, more than the buffers of a connection hold for a client that does not read.
async fn paused_reader_misses_no_message(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let mut bob = Person::log_in(&site, "bob").await.connect().await;
    ann.join("lobby").await;
    bob.join("lobby").await;
    let text = "x".repeat(4096);
    for number in 0..128 {
        ann.send(json!({"type": "send", "room": "lobby", "id": format!("a{number}"), "text": text})).await;
        ann.next_of("sent").await;
    }
    for number in 0..128 {
        let received = bob.next_of("message").await;
        assert_eq!((&received["id"], &received["text"]), (&json!(format!("a{number}")), &json!(text)));
    }
}

async fn refused_commands_name_the_reason(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let table = [
        (json!({"type": "send", "room": "lobby", "id": "a", "text": "x"}), "not_joined"),
        (json!({"type": "history", "room": "lobby"}), "not_joined"),
        (json!({"type": "typing", "room": "lobby"}), "not_joined"),
        (json!({"type": "join", "room": "No Room"}), "bad_room"),
        (json!({"type": "dance"}), "unknown_type"),
        (json!({"type": "join", "room": "lobby", "recent": "many"}), "bad_frame"),
    ];
    for (command, code) in table {
        ann.send(command.clone()).await;
        assert_eq!(ann.next().await["code"], code, "{command}");
    }
    ann.join("lobby").await;
    let bad_sends = [("a b", "x", "bad_id"), ("a", " ", "bad_text"), ("a", "\u{7}", "bad_text")];
    for (id, text, code) in bad_sends {
        ann.send(json!({"type": "send", "room": "lobby", "id": id, "text": text})).await;
        let refusal = ann.next().await;
        assert_eq!((&refusal["code"], &refusal["room"]), (&json!(code), &json!("lobby")));
    }
    ann.send(json!({"type": "send", "room": "lobby", "id": "long", "text": "x".repeat(4097)})).await;
    let refusal = ann.next().await;
    assert_eq!((&refusal["code"], &refusal["id"]), (&json!("too_long"), &json!("long")));
}

async fn history_pages_are_contiguous(transport: Transport) {
    let site = Site::start(transport, generous());
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    let long = "y".repeat(4000);
    for number in 0..40 {
        ann.send(json!({"type": "send", "room": "lobby", "id": format!("a{number}"), "text": long})).await;
        ann.next_of("sent").await;
    }
    let (mut before, mut ids, mut pages) = (None, Vec::new(), 0);
    loop {
        let mut ask = json!({"type": "history", "room": "lobby", "limit": 200});
        if let Some(before) = &before {
            ask["before"] = json!(before);
        }
        ann.send(ask).await;
        let page = ann.next_of("history").await;
        assert!(page.to_string().len() <= 64 << 10);
        let messages = page["messages"].as_array().unwrap();
        ids.splice(0..0, messages.iter().map(|message| message["id"].clone()));
        before = messages.first().map(|oldest| oldest["pos"].clone());
        pages += 1;
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(ids, (0..40).map(|number| json!(format!("a{number}"))).collect::<Vec<_>>());
    assert!(pages > 1, "a page is bounded by bytes");
}

async fn rate_limited_message_is_refused_with_retry_after(transport: Transport) {
    let site = Site::start(transport, limited(|limits| limits.send_rate = count(1)));
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    for number in 0..8 {
        ann.send(json!({"type": "send", "room": "lobby", "id": format!("a{number}"), "text": "x"})).await;
    }
    let refusal = ann.next_of("error").await;
    assert_eq!((&refusal["code"], &refusal["room"]), (&json!("rate_limited"), &json!("lobby")));
    assert!(refusal["retry_after_ms"].as_u64().unwrap() > 0 && refusal["id"].is_string());
}

/// An outbox that grew during a network outage: more messages than the number of refusals that closes a socket.
async fn rate_limited_client_can_send_again_after_retry_after(transport: Transport) {
    let site = Site::start(transport, limited(|limits| limits.send_rate = count(200)));
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("lobby").await;
    let mut refused = 0;
    for number in 0..1000 {
        let message = json!({"type": "send", "room": "lobby", "id": format!("a{number}"), "text": "x"});
        loop {
            ann.send(message.clone()).await;
            let answer = loop {
                let frame = ann.next().await;
                if frame["type"] == "sent" || frame["type"] == "error" {
                    break frame;
                }
            };
            if answer["type"] == "sent" {
                break;
            }
            refused += 1;
            let wait = answer["retry_after_ms"].as_u64().unwrap();
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }
    assert!(refused < 20, "{refused} refusals");
}

/// With waits for a single join, 200 refusals would follow within 4 s, and 100 close the socket.
async fn client_that_waits_after_each_refused_join_stays_connected(transport: Transport) {
    let site = Site::start(transport, limited(|limits| limits.join_rate = count(50)));
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    let (mut joined, mut refused) = (0, 0);
    while joined < 250 {
        ann.send(json!({"type": "join", "room": "lobby", "recent": 0})).await;
        let answer = ann.next().await;
        if answer["code"] == "rate_limited" {
            refused += 1;
            tokio::time::sleep(Duration::from_millis(answer["retry_after_ms"].as_u64().unwrap())).await;
        } else {
            assert_eq!(answer["type"], "joined", "{answer}");
            joined += 1;
            ann.send(json!({"type": "leave", "room": "lobby"})).await;
            ann.next_of("left").await;
        }
    }
    assert!((1..=5).contains(&refused), "{refused} refusals");
}

async fn rooms_per_socket_are_limited(transport: Transport) {
    let site = Site::start(transport, limited(|limits| limits.rooms_per_socket = 2));
    let mut ann = Person::log_in(&site, "ann").await.connect().await;
    ann.join("one").await;
    ann.join("two").await;
    ann.send(json!({"type": "join", "room": "three"})).await;
    assert_eq!(ann.next_of("error").await["code"], "too_many_rooms");
    ann.send(json!({"type": "leave", "room": "one"})).await;
    ann.join("three").await;
    ann.join("three").await;
}

async fn socket_above_the_user_limit_closes_the_oldest(transport: Transport) {
    let site = Site::start(transport, limited(|limits| limits.sockets_per_user = count(2)));
    let person = Person::log_in(&site, "ann").await;
    let mut oldest = person.connect().await;
    let mut second = person.connect().await;
    let mut newest = person.connect().await;
    assert_eq!(oldest.end().await, super::client::End::Close(4409));
    second.join("lobby").await;
    newest.join("lobby").await;
}
