//! Tests of `Client` against a scripted server.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message as Frame,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderValue,
        protocol::CloseFrame,
    },
};
use trunkline_client::{
    Client, ClientError, ClientEvent, ClientSession, ClientState, DisconnectReason, EndReason, MessageFrame,
    OutboxEntryState, SessionProbe, SocketId, WireEvent, WireObserver,
};
use trunkline_domain::Token;

/// The server's behaviour: one response per probe (the last one is repeated) and one function per socket.
#[derive(Default)]
struct Script {
    probes: Vec<&'static str>,
    sockets: Vec<SocketScript>,
    /// The `Cookie` headers received so far.
    cookies: Vec<String>,
    /// The `Authorization` headers received so far.
    tokens: Vec<String>,
}

type SocketScript = Box<dyn FnOnce(WebSocketStream<TcpStream>) -> futures_util::future::BoxFuture<'static, ()> + Send>;

async fn serve(script: Script) -> (trunkline_client::GatewayUrl, Arc<Mutex<Script>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let script = Arc::new(Mutex::new(script));
    let shared = script.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, shared.clone()));
        }
    });
    (url, script)
}

async fn answer(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let mut head = vec![0; 4096];
    // Peeking leaves the bytes for the WebSocket handshake. On loopback, requests this small arrive in one piece.
    let length = stream.peek(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..length]).into_owned();
    let field = |name| head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(str::to_owned));
    script.lock().await.cookies.extend(field("cookie: "));
    script.lock().await.tokens.extend(field("authorization: "));
    if head.starts_with("GET /ws") {
        let run = script.lock().await.sockets.remove(0);
        return run(accept_hdr_async(stream, select).await.unwrap()).await;
    }
    let mut sink = vec![0; length];
    stream.read_exact(&mut sink).await.unwrap();
    let answer = if head.starts_with("POST /login") {
        "HTTP/1.1 200 OK\r\nSet-Cookie: jsessionid=one; HttpOnly\r\nContent-Length: 14\r\n\r\n{\"user\":\"ann\"}"
    } else {
        let mut script = script.lock().await;
        if script.probes.len() > 1 { script.probes.remove(0) } else { script.probes[0] }
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[allow(clippy::result_large_err, reason = "the signature that tungstenite requires")]
fn select(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.headers()["sec-websocket-protocol"], "trunkline.v1");
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("trunkline.v1"));
    Ok(response)
}

const LOGGED_IN: &str = "HTTP/1.1 200 OK\r\nSet-Cookie: jsessionid=two\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{\"user\":\"ann\"}\r\n0\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\n\r\n<html>try later</html>";

fn script_socket<F, R>(run: F) -> SocketScript
where
    F: FnOnce(WebSocketStream<TcpStream>) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Box::new(move |socket| Box::pin(run(socket)))
}

async fn send_frame(socket: &mut WebSocketStream<TcpStream>, frame: Value) {
    // Gateways write `type` first, and `json!` sorts the fields.
    let kind = frame["type"].clone();
    let rest = frame.to_string();
    let rest = rest.replacen(&format!(",\"type\":{kind}"), "", 1).replacen(&format!("\"type\":{kind}"), "", 1);
    let text = format!("{{\"type\":{kind},{}", rest.trim_start_matches('{').trim_start_matches(',')).replace(",}", "}");
    socket.send(Frame::text(text)).await.unwrap();
}

async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Text(text))) => return serde_json::from_str(&text).unwrap(),
            Some(Ok(Frame::Close(close))) => return json!({"close": close.map(|close| u16::from(close.code))}),
            Some(Ok(_)) => {}
            other => return json!(format!("{other:?}")),
        }
    }
}

async fn welcome(socket: &mut WebSocketStream<TcpStream>) {
    send_frame(
        socket,
        json!({"type": "welcome", "user": "ann", "instance": "gw-1", "ping_interval_ms": 25000,
        "limits": {"text_bytes": 4096, "rooms": 128}}),
    )
    .await;
}

fn message(offset: u64, user: &str, id: &str) -> Value {
    json!({"type": "message", "pos": format!("5-{offset}"), "room": "lobby", "id": id, "user": user, "text": "hi", "at": 1})
}

async fn until<O: WireObserver, T>(client: &mut Client<O>, mut found: impl FnMut(ClientEvent) -> Option<T>) -> T {
    timeout(Duration::from_secs(10), async {
        loop {
            if let Some(found) = found(client.next().await) {
                return found;
            }
        }
    })
    .await
    .expect("the event arrives within 10 s")
}

#[tokio::test]
async fn client_resumes_and_resends_after_a_crash_with_rotated_cookies() {
    let first = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        assert_eq!(receive(&mut socket).await, json!({"type": "join", "room": "lobby", "recent": 20}));
        send_frame(&mut socket, json!({"type": "joined", "room": "lobby", "resumed": false, "head": "5-1"})).await;
        send_frame(&mut socket, message(1, "bob", "b1")).await;
        assert_eq!(receive(&mut socket).await["type"], "send");
        // The server crashes: no answer and no close frame.
    });
    let second = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        assert_eq!(receive(&mut socket).await, json!({"type": "join", "room": "lobby", "after": "5-1", "recent": 20}));
        send_frame(&mut socket, json!({"type": "joined", "room": "lobby", "resumed": true, "head": "5-2"})).await;
        send_frame(&mut socket, message(2, "bob", "b2")).await;
        let send = receive(&mut socket).await;
        assert_eq!(send["text"], "mine");
        send_frame(&mut socket, json!({"type": "sent", "room": "lobby", "id": send["id"], "pos": "5-3"})).await;
        assert_eq!(receive(&mut socket).await, json!({"close": 1000}));
    });
    let (url, script) =
        serve(Script { probes: vec![LOGGED_IN], sockets: vec![first, second], ..Script::default() }).await;
    let (session, user) = ClientSession::login(&url, "ann").await.unwrap();
    let mut client = Client::new(session, user);
    let room: trunkline_domain::Room = "lobby".parse().unwrap();
    client.join(room.clone(), 20);
    client.send(room, "mine".parse().unwrap());
    let mut shown = Vec::new();
    let pos = until(&mut client, |event| match event {
        ClientEvent::Message { message, .. } => {
            shown.push(message.pos.offset);
            None
        }
        ClientEvent::Outbox(entry) => match entry.state {
            OutboxEntryState::Sent { pos } => Some(pos),
            _ => None,
        },
        _ => None,
    })
    .await;
    assert_eq!((pos.to_string().as_str(), shown), ("5-3", vec![1, 2]));
    assert_eq!(client.outbox().len(), 0);
    client.close().await;
    assert_eq!(script.lock().await.cookies, ["jsessionid=one", "jsessionid=two", "jsessionid=two", "jsessionid=two"]);
}

#[tokio::test]
async fn client_ends_when_its_session_ends() {
    let first = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        let close = CloseFrame { code: 4401.into(), reason: "".into() };
        socket.send(Frame::Close(Some(close))).await.unwrap();
        while socket.next().await.is_some() {}
    });
    let (url, _) =
        serve(Script { probes: vec![UNAVAILABLE, LOGGED_IN], sockets: vec![first], ..Script::default() }).await;
    let (session, user) = ClientSession::login(&url, "ann").await.unwrap();
    let mut client = Client::new(session, user);
    let end = until(&mut client, |event| match event {
        ClientEvent::State(ClientState::Ended(end)) => Some(end),
        _ => None,
    });
    assert_eq!(end.await, EndReason::SessionEnded);
}

const TOKEN_OF_2_S: &str = "HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{\"user\":\"ann\",\"expires_in\":2}";
const UNAUTHORISED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn client_takes_a_new_token_for_each_attempt_and_refreshes_it_before_it_expires() {
    let first = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        assert_eq!(receive(&mut socket).await, json!({"type": "refresh", "token": "t3"}));
        send_frame(&mut socket, json!({"type": "error", "code": "bad_token", "detail": "?"})).await;
        assert_eq!(receive(&mut socket).await, json!({"type": "refresh", "token": "t4"}), "asked anew at once");
        send_frame(&mut socket, json!({"type": "refreshed", "expires_in": 3600})).await;
        let close = CloseFrame { code: 4401.into(), reason: "".into() };
        socket.send(Frame::Close(Some(close))).await.unwrap();
        while socket.next().await.is_some() {}
    });
    let second = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        while socket.next().await.is_some() {}
    });
    let probes = vec![UNAUTHORISED, TOKEN_OF_2_S];
    let (url, script) = serve(Script { probes, sockets: vec![first, second], ..Script::default() }).await;
    let number = std::sync::atomic::AtomicU32::new(0);
    let session = ClientSession::with_tokens(&url, move || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        async move { Ok(Token::new(format!("t{number}"))) }
    });
    assert!(!format!("{session:?}").contains("t1"));
    let mut client = Client::new(session, None);
    let mut states = Vec::new();
    let user = until(&mut client, |event| match event {
        ClientEvent::State(ClientState::Connected { user, .. }) if states.len() == 2 => Some(user),
        ClientEvent::State(ClientState::Waiting { reason, .. }) => {
            states.push(reason);
            None
        }
        _ => None,
    })
    .await;
    assert_eq!((user.as_str(), states), ("ann", vec![DisconnectReason::BadToken, DisconnectReason::Closed]));
    // One per probe and handshake; a refusal of the probe is followed by a new token.
    let tokens = ["t1", "t2", "t2", "t5", "t5"].map(|token| format!("bearer {token}"));
    assert_eq!(script.lock().await.tokens, tokens);
}

/// Records all traffic and consumes the messages.
#[derive(Default)]
struct TrafficLog(Vec<String>);

impl WireObserver for TrafficLog {
    const CONSUMES_MESSAGES: bool = true;

    fn observe(&mut self, wire: WireEvent<'_>) {
        self.0.push(match wire {
            WireEvent::Probed(SessionProbe::LoggedIn { user, .. }) => format!("probed {user}"),
            WireEvent::Message(socket, MessageFrame { pos, .. }) => format!("{socket} message {pos}"),
            WireEvent::Closed(socket, code) => format!("{socket} closed {code}"),
            WireEvent::Sent(socket, command) => format!("{socket} {}", command.encode()),
            WireEvent::Abandoned(socket) => format!("{socket} abandoned"),
            WireEvent::Frame(socket, event) => format!("{socket} {}", event.encode().get(..13).unwrap_or("?")),
            other => format!("{other:?}"),
        });
    }
}

#[tokio::test]
async fn observer_sees_all_traffic_and_can_consume_messages() {
    let first = script_socket(async |mut socket| {
        welcome(&mut socket).await;
        receive(&mut socket).await;
        send_frame(&mut socket, json!({"type": "joined", "room": "lobby", "resumed": false, "head": "5-1"})).await;
        send_frame(&mut socket, message(1, "bob", "b1")).await;
        send_frame(&mut socket, json!({"type": "nonsense"})).await;
        send_frame(&mut socket, json!({"type": "joined"})).await;
        send_frame(&mut socket, json!({"type": "ping"})).await;
        receive(&mut socket).await;
    });
    let (url, _) = serve(Script { probes: vec![LOGGED_IN], sockets: vec![first], ..Script::default() }).await;
    let (session, user) = ClientSession::login(&url, "ann").await.unwrap();
    let mut client = Client::with_observer(session, user, TrafficLog::default());
    client.join("lobby".parse().unwrap(), 0);
    until(&mut client, |event| match event {
        ClientEvent::Message { .. } => panic!("the observer consumes the messages"),
        ClientEvent::State(ClientState::Waiting { .. }) => Some(()),
        _ => None,
    })
    .await;
    let first: SocketId = 1;
    assert_eq!(
        client.close().await.0,
        [
            "probed ann".to_owned(),
            format!("Opened({first})"),
            format!("{first} {{\"type\":\"welc"),
            format!("{first} {{\"type\":\"join\",\"room\":\"lobby\",\"recent\":0}}"),
            format!("{first} {{\"type\":\"join"),
            format!("{first} message 5-1"),
            format!("{first} ?"),
            format!("Unreadable({first}, \"{{\\\"type\\\":\\\"joined\\\"}}\")"),
            format!("{first} {{\"type\":\"ping"),
            format!("{first} {{\"type\":\"pong\"}}"),
            format!("{first} closed 1006"),
        ]
    );
}

#[tokio::test]
async fn login_reports_refusals_and_unreachable_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: trunkline_client::GatewayUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let body = r#"{"code":"name_taken","detail":"held"}"#;
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let head = format!("HTTP/1.1 409 Conflict\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    });
    let refused = ClientSession::login(&url, "ann").await.unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { status: 409, code, .. } if code == "name_taken"), "{refused}");
    let unreachable = ClientSession::login(&url, "ann").await.unwrap_err();
    assert!(matches!(unreachable, ClientError::Unreachable(_) | ClientError::NotAGateway(_)), "{unreachable}");
}
