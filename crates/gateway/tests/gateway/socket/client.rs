//! A client that sends exactly what a test gives it, and returns what it receives.

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

/// Maximum time for a single step of a test; much longer than any step takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A user with a session.
#[derive(Clone)]
pub(super) struct Person {
    port: u16,
    cookie: String,
}

/// One socket of a user.
pub(crate) struct TestSocket(pub(crate) WebSocketStream<TcpStream>);

/// How a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close(u16),
    /// Without a close frame.
    Cut,
}

/// Sends one HTTP request and returns the response as text.
pub(crate) async fn ask(port: u16, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(STEP_TIMEOUT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
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

    /// Opens a socket and reads its `welcome`.
    pub(super) async fn connect(&self) -> TestSocket {
        let mut socket = self.open().await.unwrap();
        assert_eq!(socket.next().await["type"], "welcome");
        socket
    }

    pub(super) async fn open(&self) -> Result<TestSocket, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://127.0.0.1:{}/ws", self.port).into_client_request().unwrap();
        request.headers_mut().insert("cookie", self.cookie.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "trunkline.v1".parse().unwrap());
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (socket, answer) = client_async(request, stream).await?;
        assert_eq!(answer.headers()["sec-websocket-protocol"], "trunkline.v1");
        Ok(TestSocket(socket))
    }
}

impl TestSocket {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The gateway may have closed the socket already; the test judges the frames that it sent.
        let _ = self.0.get_mut().write_all(bytes).await;
    }

    /// Returns the next frame that is neither `ping` nor `presence`.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame = timeout(STEP_TIMEOUT, self.0.next()).await.expect("a frame").expect("no end").unwrap();
            let Message::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] != "ping" && frame["type"] != "presence" {
                return frame;
            }
        }
    }

    /// Returns the next frame of this type and drops others.
    pub(crate) async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    pub(crate) async fn join(&mut self, room: &str) -> Value {
        self.send(json!({"type": "join", "room": room})).await;
        self.next_of("joined").await
    }

    /// Reads until the socket ends.
    pub(crate) async fn end(&mut self) -> End {
        let mut end = End::Cut;
        loop {
            match timeout(STEP_TIMEOUT, self.0.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(close)))) => end = End::Close(u16::from(close.code)),
                Some(Ok(Message::Close(None))) => end = End::Close(CloseCode::Status.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return end,
            }
        }
    }
}
