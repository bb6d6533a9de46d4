//! A client with nothing of its own: what it is told to send, byte for byte, and what comes back.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::frame::coding::CloseCode},
};

use super::Site;

/// Longest wait for anything; much longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A logged in person.
#[derive(Clone)]
pub(super) struct Person {
    port: u16,
    cookie: String,
}

/// One socket of a person.
pub(super) struct Peer(pub(super) WebSocketStream<TcpStream>);

/// What ended a socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Close(u16),
    /// Without a close frame.
    Cut,
}

/// One HTTP request, its answer as text.
pub(super) async fn ask(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

impl Person {
    pub(super) async fn log_in(site: &Site, name: &str) -> Self {
        let answer = ask(site.port, "POST /login", &json!({ "name": name }).to_string()).await;
        let cookie =
            answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{answer}"));
        Self { port: site.port, cookie: cookie.split(';').next().unwrap().to_owned() }
    }

    pub(super) async fn log_out(&self) {
        let head = format!("POST /logout HTTP/1.1\r\nCookie: {}\r\nX-Rest:", self.cookie);
        let answer = ask(self.port, &head, "").await;
        assert!(answer.starts_with("HTTP/1.1 204") || answer.starts_with("HTTP/1.1 303"), "{answer}");
    }

    /// A socket, its `welcome` read.
    pub(super) async fn connect(&self) -> Peer {
        let mut peer = self.open().await.unwrap();
        assert_eq!(peer.next().await["type"], "welcome");
        peer
    }

    pub(super) async fn open(&self) -> Result<Peer, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://127.0.0.1:{}/ws", self.port).into_client_request().unwrap();
        request.headers_mut().insert("cookie", self.cookie.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "trunkline.v1".parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (socket, answer) = client_async(request, stream).await?;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "trunkline.v1");
        Ok(Peer(socket))
    }
}

impl Peer {
    pub(super) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Writes bytes as they are.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        // The gateway may have closed already: then it is what it answered that counts.
        let _ = self.0.get_mut().write_all(bytes).await;
    }

    /// The next frame; pings of the protocol are skipped.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(PATIENCE, self.0.next()).await.expect("a frame").expect("no end").unwrap();
            let Message::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "ping" && frame["type"] != "presence" {
                return frame;
            }
        }
    }

    /// The next frame of this type; others are dropped.
    pub(super) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    pub(super) async fn join(&mut self, room: &str) -> Value {
        self.send(json!({"type": "join", "room": room})).await;
        self.next_of("joined").await
    }

    /// Reads to the end.
    pub(super) async fn end(&mut self) -> End {
        let mut end = End::Cut;
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(close)))) => end = End::Close(u16::from(close.code)),
                Some(Ok(Message::Close(None))) => end = End::Close(CloseCode::Status.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return end,
            }
        }
    }
}
