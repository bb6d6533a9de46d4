//! Two people on two instances.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use crate::{WAIT_TIMEOUT, site::Site};

#[tokio::test]
async fn two_people_on_two_instances_talk() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    assert_ne!(ann.instance().await, bob.instance().await);

    ann.say("hello bob").await;
    bob.until_texts(&["hello bob"]).await;
    bob.say("hello ann, <b>how</b> are you? 🙂").await;
    let both = ["hello bob", "hello ann, <b>how</b> are you? 🙂"];
    ann.until_texts(&both).await;
    assert_eq!(ann.messages().await.iter().map(|message| message.own).collect::<Vec<_>>(), [true, false]);
    assert_eq!(bob.messages().await.iter().map(|message| message.own).collect::<Vec<_>>(), [false, true]);

    ann.reload().await;
    ann.until_connected().await;
    ann.until_texts(&both).await;
    assert_eq!(ann.text("#user").await, "ann", "still logged in");

    for person in [&ann, &bob] {
        assert_eq!(person.console_errors().await, [""; 0]);
    }
}

#[tokio::test]
async fn messages_stay_in_their_room() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    ann.say("in the lobby").await;
    ann.until_texts(&["in the lobby"]).await;
    ann.find("#room-name").await.send_keys("kitchen\u{e007}").await.unwrap();
    ann.until("the room's name above it", "document.querySelector('h1').textContent === 'kitchen'").await;
    ann.until_connected().await;
    ann.until_texts(&[]).await;
    ann.go("/").await;
    ann.until_connected().await;
    ann.until_texts(&["in the lobby"]).await;
}

#[tokio::test]
async fn a_socket_needs_a_login() {
    let site = Site::start(1).await;
    assert_eq!(handshake(site.port()), "HTTP/1.1 401 Unauthorized");
    let visitor = site.visitor().await;
    visitor.go("/rooms/kitchen").await;
    visitor.log_in("ann").await;
    assert_eq!(visitor.text("h1").await, "kitchen", "the login leads back to the page that was requested");
}

/// The status line of the answer to a WebSocket handshake without a cookie.
fn handshake(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    status.trim_end().to_owned()
}
