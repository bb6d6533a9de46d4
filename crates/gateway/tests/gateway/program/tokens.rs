//! The program with JSON Web Tokens: key files, key sets at a URL, and sockets of token users.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{
    Error, HandshakeError, Message, WebSocket, client, client::IntoClientRequest as _, handshake::client::Response,
};
use trunkline_testbed::{Gateway, http_get};

use super::{SECOND, client::request, gateway, run};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token with these claims, valid for an hour unless they say otherwise.
fn token(claims: Value) -> String {
    token_with(&json!({"alg": "HS256"}), claims, |message| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message).as_ref().to_vec()
    })
}

fn token_with(header: &Value, claims: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let mut all = json!({"exp": now() + 3600});
    let (Value::Object(all_claims), Value::Object(claims)) = (&mut all, claims) else { unreachable!() };
    all_claims.extend(claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(&all));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

/// A gateway that accepts tokens of [`SECRET`].
fn start(args: &[&str]) -> (Gateway, u16, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(&file, SECRET).unwrap();
    let gateway = gateway().args(["--jwt-key-file", file.to_str().unwrap()]).args(args).start().unwrap();
    let port = gateway.port().unwrap();
    (gateway, port, folder)
}

/// A socket with its handshake's answer.
struct Socket(WebSocket<TcpStream>, Response);

/// Opens a socket with these header lines. A refusal is returned with its status.
fn open(port: u16, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(20 * SECOND)).unwrap();
    match client(request, stream) {
        Ok((socket, answer)) => Ok(Socket(socket, answer)),
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

fn open_with(port: u16, token: &str) -> Result<Socket, u16> {
    open(port, &[("sec-websocket-protocol", &format!("trunkline.v1, trunkline.token.{token}"))])
}

impl Socket {
    fn send(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).unwrap();
    }

    /// Returns the next frame that is neither `ping` nor `presence`, or the code of the close frame.
    fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] != "ping" && frame["type"] != "presence" {
                        return Ok(frame);
                    }
                }
                Message::Close(close) => return Err(close.map_or(1005, |close| close.code.into())),
                _ => {}
            }
        }
    }

    fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame);
        self.next().unwrap()
    }
}

#[test]
fn token_opens_a_socket_by_subprotocol_and_by_header() {
    let (gateway, port, _folder) = start(&["--public-origin", "https://chat.example"]);
    let token = token(json!({"sub": "u-17", "name": "Ann"}));
    let bearer = format!("Bearer {token}");
    let origin = ("origin", "https://shop.example");
    let offered = format!("trunkline.v1, trunkline.token.{token}");
    for headers in [&[("sec-websocket-protocol", &*offered), origin][..], &[("authorization", &bearer), origin]] {
        let mut socket = open(port, headers).unwrap();
        let protocol = socket.1.headers().get("sec-websocket-protocol");
        assert_eq!(protocol.is_some(), headers[0].0 == "sec-websocket-protocol");
        assert!(protocol.is_none_or(|protocol| protocol == "trunkline.v1"));
        let welcome = socket.next().unwrap();
        assert_eq!((&welcome["user"], &welcome["name"]), (&json!("u-17"), &json!("Ann")));
        assert_eq!(socket.ask(&json!({"type": "join", "room": "lobby"}))["type"], "joined");
        let sent = socket.ask(&json!({"type": "send", "room": "lobby", "id": "a", "text": "hi"}));
        let message = if sent["type"] == "message" { sent } else { socket.next().unwrap() };
        assert!(message["type"] == "message" || message["type"] == "sent", "{message}");
    }
    let bearer = format!("Authorization: {bearer}");
    let answer = request(port, "GET /session", &[bearer.as_bytes()], "");
    assert_eq!(answer.status(), 200);
    assert!(answer.0.contains(r#""name":"Ann""#) && answer.0.contains(r#""expires_in":3"#), "{answer:?}");
    let answer = request(port, "GET /rooms", &[bearer.as_bytes(), b"Accept: application/json"], "");
    assert!(answer.status() == 200 && answer.0.contains(r#"{"rooms":["#), "{answer:?}");
    assert!(!gateway.last_lines().contains(&token[..40]), "a token is in the log");
}

#[test]
fn bad_token_is_refused_without_a_reason_even_with_a_valid_cookie() {
    let (gateway, port, _folder) = start(&["--name-login", "--jwt-audience", "chat", "--log", "json"]);
    let cookie = super::client::log_in(port, "ann").cookie();
    open(port, &[("cookie", &cookie)]).unwrap();
    let good = token(json!({"sub": "u", "aud": "chat"}));
    assert_eq!(open_with(port, &good).unwrap().next().unwrap()["user"], "u");
    let unsigned = token_with(&json!({"alg": "none"}), json!({"sub": "u", "aud": "chat"}), |_| Vec::new());
    let forged = token_with(&json!({"alg": "HS256"}), json!({"sub": "u", "aud": "chat"}), |_| vec![7; 32]);
    for bad in [
        "x",
        &good[..good.len() - 2],
        &unsigned,
        &forged,
        &token(json!({"sub": "u", "aud": "chat", "exp": now() - 61})),
        &token(json!({"sub": "u", "aud": "shop"})),
        &token(json!({"sub": "u"})),
        &token(json!({"sub": "two words", "aud": "chat"})),
        &"x".repeat(8193),
    ] {
        let bearer = format!("Bearer {bad}");
        assert_eq!(open(port, &[("authorization", &bearer), ("cookie", &cookie)]).err(), Some(401), "{bad}");
        let headers = [format!("Authorization: {bearer}"), format!("Cookie: {cookie}")];
        let answer = request(port, "GET /session", &[headers[0].as_bytes(), headers[1].as_bytes()], "");
        assert_eq!(answer.status(), 401, "{bad}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        let body = "{\"code\":\"bad_token\",\"detail\":\"the token is invalid or has expired; get a new one and repeat the \
                    request with it\"}";
        assert!(answer.0.ends_with(body), "{bad}: {answer:?}");
    }
    let deadline = Instant::now() + 20 * SECOND;
    for text in ["the signature is wrong", "--name-login"] {
        while !gateway.last_lines().contains(text) {
            assert!(Instant::now() < deadline, "{text} is not in {}", gateway.last_lines());
            thread::sleep(SECOND / 100);
        }
    }
}

#[test]
fn name_login_is_off_where_tokens_are_accepted() {
    let (_gateway, port, _folder) = start(&[]);
    let answer = super::client::log_in(port, "ann");
    assert_eq!(answer.status(), 403, "{answer:?}");
    assert!(answer.0.contains("name_login_off"), "{answer:?}");
}

#[test]
fn socket_closes_when_its_token_expires_unless_it_is_refreshed() {
    let (_gateway, port, _folder) = start(&[]);
    let end = now() + 3;
    let short = token(json!({"sub": "u", "exp": end}));
    let [mut ending, mut refreshed] = [0; 2].map(|_| {
        let mut socket = open_with(port, &short).unwrap();
        assert_eq!(socket.next().unwrap()["type"], "welcome");
        socket
    });
    let answer = refreshed.ask(&json!({"type": "refresh", "token": token(json!({"sub": "u"}))}));
    assert_eq!(answer["type"], "refreshed");
    assert!((3590..=3600).contains(&answer["expires_in"].as_u64().unwrap()), "{answer}");
    assert_eq!(ending.next(), Err(4401));
    let closed =
        SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(end)).expect("not before it expires");
    assert!(closed < Duration::from_millis(1300), "{closed:?} after the token has expired");
    thread::sleep(SECOND);
    assert_eq!(refreshed.ask(&json!({"type": "join", "room": "lobby"}))["type"], "joined");
}

#[test]
fn refresh_with_a_token_of_another_user_or_a_bad_one_changes_nothing() {
    let (_gateway, port, _folder) = start(&["--name-login"]);
    let mut socket = open_with(port, &token(json!({"sub": "u"}))).unwrap();
    socket.next().unwrap();
    for bad in [token(json!({"sub": "v"})), "x".to_owned(), token(json!({"sub": "u", "exp": now() - 61}))] {
        let answer = socket.ask(&json!({"type": "refresh", "token": bad}));
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("bad_token")), "{answer}");
    }
    assert_eq!(socket.ask(&json!({"type": "join", "room": "lobby"}))["type"], "joined");

    let cookie = super::client::log_in(port, "ann").cookie();
    let mut socket = open(port, &[("cookie", &cookie)]).unwrap();
    socket.next().unwrap();
    let answer = socket.ask(&json!({"type": "refresh", "token": token(json!({"sub": "ann"}))}));
    assert_eq!(answer["code"], "bad_token", "a session needs no token: {answer}");
}

#[test]
fn grants_limit_rooms_and_a_narrower_token_leaves_them() {
    let (_gateway, port, _folder) = start(&[]);
    let grant = |room: &str, can: &[&str]| json!({"room": room, "can": can});
    let all = ["join", "read", "send", "moderate"];
    let wide = token(json!({"sub": "u", "rooms": [grant("orders.*", &all), grant("news", &["join"])]}));
    let mut socket = open_with(port, &wide).unwrap();
    socket.next().unwrap();
    let refused = socket.ask(&json!({"type": "join", "room": "lobby"}));
    assert_eq!((&refused["code"], &refused["room"]), (&json!("forbidden"), &json!("lobby")), "{refused}");
    for room in ["orders.1", "orders.2", "news"] {
        assert_eq!(socket.ask(&json!({"type": "join", "room": room}))["type"], "joined");
    }
    let refused = socket.ask(&json!({"type": "send", "room": "news", "id": "a", "text": "x"}));
    assert_eq!(refused["code"], "forbidden");
    assert_eq!(socket.ask(&json!({"type": "history", "room": "news"}))["code"], "forbidden");
    assert_eq!(socket.ask(&json!({"type": "history", "room": "orders.1"}))["type"], "history");

    let narrow = token(json!({"sub": "u", "rooms": [grant("orders.2", &["join"])]}));
    assert_eq!(socket.ask(&json!({"type": "refresh", "token": narrow}))["type"], "refreshed");
    for room in ["orders.1", "news"] {
        let left = socket.next().unwrap();
        assert_eq!((&left["type"], &left["room"]), (&json!("left"), &json!(room)), "{left}");
        let error = socket.next().unwrap();
        assert_eq!((&error["code"], &error["room"]), (&json!("forbidden"), &json!(room)), "{error}");
    }
    let refused = socket.ask(&json!({"type": "send", "room": "orders.2", "id": "b", "text": "x"}));
    assert_eq!(refused["code"], "forbidden", "still a member: {refused}");
    assert_eq!(socket.ask(&json!({"type": "join", "room": "orders.1"}))["code"], "forbidden");
}

#[test]
fn moderator_by_grant_deletes_messages_of_others() {
    let (_gateway, port, _folder) = start(&[]);
    let mut author = open_with(port, &token(json!({"sub": "author"}))).unwrap();
    author.next().unwrap();
    author.ask(&json!({"type": "join", "room": "lobby"}));
    let mut sent = author.ask(&json!({"type": "send", "room": "lobby", "id": "a", "text": "hi"}));
    if sent["type"] != "sent" {
        sent = author.next().unwrap();
    }
    let delete = json!({"type": "send", "room": "lobby", "id": "d", "event": "delete", "ref": sent["pos"]});
    for (can, expected) in [(&["join", "send"][..], "error"), (&["join", "send", "moderate"], "sent")] {
        let claims = json!({"sub": "mod", "rooms": [{"room": "*", "can": can}]});
        let mut moderator = open_with(port, &token(claims)).unwrap();
        moderator.next().unwrap();
        moderator.send(&json!({"type": "join", "room": "lobby", "recent": 0}));
        moderator.next().unwrap();
        moderator.send(&delete);
        let answer = loop {
            let frame = moderator.next().unwrap();
            if frame["type"] != "message" {
                break frame;
            }
        };
        assert_eq!(answer["type"], expected, "{answer}");
    }
}

/// A key set at an https URL of this machine.
struct KeyServer {
    url: String,
    /// The document; `None` answers with 500.
    document: Arc<Mutex<Option<Value>>>,
    /// The certificate that proves the server's name, in PEM.
    certificate: String,
}

impl KeyServer {
    fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into());
        let tls = Arc::new(tls.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/keys?tenant=1", listener.local_addr().unwrap().port());
        let document = Arc::new(Mutex::new(None));
        let served: Arc<Mutex<Option<Value>>> = document.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), stream.unwrap());
                // A client that does not trust the certificate ends the connection here.
                if stream.read(&mut [0; 4096]).is_err() {
                    continue;
                }
                let (status, body) = match &*served.lock().unwrap() {
                    Some(document) => ("200 OK", document.to_string()),
                    None => ("500 Internal Server Error", String::new()),
                };
                let length = body.len();
                let _ =
                    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            }
        });
        Self { url, document, certificate: certified.cert.pem() }
    }
}

#[test]
fn keys_are_fetched_from_a_url_and_its_failure_degrades_readiness() {
    let server = KeyServer::start();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("ca.pem");
    fs::write(&trusted, &server.certificate).unwrap();
    let gateway = gateway().env("SSL_CERT_FILE", trusted.to_str().unwrap());
    let gateway = gateway.args(["--jwt-jwks-url", &server.url]).start().unwrap();
    let port = gateway.port().unwrap();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let signed = |kid: &str| {
        token_with(&json!({"alg": "EdDSA", "kid": kid}), json!({"sub": "u"}), |m| pair.sign(m).as_ref().to_vec())
    };

    assert_eq!(open_with(port, &signed("a")).err(), Some(503), "no keys yet");
    let ready = http_get(port, "/readyz", 5 * SECOND).unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("jwks: the answer has the status 500"), "{ready:?}");

    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    *server.document.lock().unwrap() =
        Some(json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x, "use": "sig"}]}));
    let deadline = Instant::now() + 20 * SECOND;
    while let Err(status) = open_with(port, &signed("a")) {
        assert_eq!(status, 503);
        assert!(Instant::now() < deadline, "{}", gateway.last_lines());
        thread::sleep(SECOND / 10);
    }
    let ready = http_get(port, "/readyz", 5 * SECOND).unwrap();
    assert!(ready.body.contains(r#""degraded":[]"#), "{ready:?}");
    // The next fetch for an unknown key comes after a minute.
    assert_eq!(open_with(port, &signed("b")).err(), Some(401));
}

#[test]
fn keys_of_a_server_with_an_untrusted_certificate_are_not_used() {
    let server = KeyServer::start();
    *server.document.lock().unwrap() = Some(json!({"keys": []}));
    let gateway = gateway().args(["--jwt-jwks-url", &server.url]).start().unwrap();
    let deadline = Instant::now() + 20 * SECOND;
    while !gateway.last_lines().contains("invalid peer certificate") {
        assert!(Instant::now() < deadline, "{}", gateway.last_lines());
        thread::sleep(SECOND / 10);
    }
}

#[test]
fn unreadable_keys_are_an_invalid_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let path = file.to_str().unwrap();
    let (code, output) = run(&["--jwt-key-file", path], &[]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("No such file"), "{output}");
    fs::write(&file, "-----BEGIN PUBLIC KEY-----\nMIIB\n").unwrap();
    let (code, output) = run(&[], &[("TRUNKLINE_JWT_KEY_FILE", path)]);
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("line 1: the PEM block has no matching END line"), "{output}");
}
