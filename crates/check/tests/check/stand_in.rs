//! A server in a few lines that speaks the protocol from memory, and, if asked to, badly.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
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
use trunkline_domain::{Command, Event, JoinFrom, Limits, Message, Position, Refusal, Room, UserName};

/// What the server does wrong, at every seventh opportunity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A delivery is left out.
    Loses,
    /// A delivery comes twice.
    Duplicates,
    /// Two deliveries change places.
    Reorders,
    /// Texts are mixed up.
    Tears,
    /// What was acknowledged never gets into the log.
    Forgets,
    /// What was refused gets into the log.
    Lies,
    /// The newest message is missing from history.
    Hides,
    /// Sockets are closed for no reason.
    Hangs,
    /// Sessions end for no reason.
    LogsOut,
    /// Somebody is said to be in every room, and is not.
    Haunts,
}

pub(crate) struct StandIn {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
}

struct Shared {
    flaw: Flaw,
    rooms: Mutex<HashMap<Room, Vec<Message>>>,
    /// Sockets of each user in each room.
    present: Mutex<HashMap<Room, BTreeMap<UserName, usize>>>,
    /// Goes up with every message, and when somebody comes or goes.
    news: watch::Sender<u64>,
}

impl StandIn {
    pub(crate) async fn start(flaw: Flaw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { flaw, rooms: Mutex::default(), present: Mutex::default(), news: watch::channel(0).0 });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone()));
            }
        });
        Self { url: format!("http://{address}"), address }
    }
}

async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = vec![0; 4096];
    // Peeking leaves the bytes to the WebSocket handshake; requests this small come in one piece on loopback.
    let Ok(length) = stream.peek(&mut head).await else { return };
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let user = text.split("jsessionid=").nth(1).and_then(|rest| rest.split(['\r', ';']).next()).map(str::to_owned);
    if text.starts_with("GET /ws") {
        let (Some(user), Ok(socket)) = (user, accept_hdr_async(stream, select).await) else { return };
        let (cursors, told) = (HashMap::new(), HashMap::new());
        let mut socket = Socket { shared, user: user.parse().unwrap(), socket, cursors, told, turns: 0 };
        socket.serve().await;
        for room in socket.cursors.keys() {
            socket.go(room);
        }
        return;
    }
    let mut sink = vec![0; length];
    stream.read_exact(&mut sink).await.unwrap();
    let (status, cookie, body) = if text.starts_with("POST /login") {
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let name = body["name"].as_str().unwrap();
        ("200 OK", format!("Set-Cookie: jsessionid={name}\r\n"), json!({"user": name}).to_string())
    } else if text.starts_with("GET /session") {
        ("200 OK", String::new(), json!({"user": user}).to_string())
    } else {
        ("204 No Content", String::new(), String::new())
    };
    let answer = format!("HTTP/1.1 {status}\r\n{cookie}Content-Length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[allow(clippy::result_large_err, reason = "the library's signature")]
#[allow(clippy::unnecessary_wraps, reason = "the library's signature")]
fn select(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("trunkline.v1"));
    Ok(response)
}

struct Socket {
    shared: Arc<Shared>,
    user: UserName,
    socket: WebSocketStream<TcpStream>,
    /// How many messages of each room were sent.
    cursors: HashMap<Room, usize>,
    /// Whom it was told of as being there.
    told: HashMap<Room, Vec<UserName>>,
    turns: u64,
}

impl Socket {
    async fn serve(&mut self) {
        let mut news = self.shared.news.subscribe();
        let (user, limits) = (self.user.clone(), Limits { text_bytes: 4096, rooms: 128 });
        self.tell(Event::Welcome { user, instance: "stand-in".to_owned(), ping_interval_ms: 25_000, limits }).await;
        loop {
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => match Command::decode(&text) {
                        Ok(command) => self.obey(command).await,
                        Err(refusal) => self.tell(Event::Error(refusal)).await,
                    },
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                _ = news.changed() => {}
            }
            for room in self.cursors.keys().cloned().collect::<Vec<_>>() {
                self.deliver(&room).await;
                self.tell_presence(&room).await;
            }
            if self.shared.flaw == Flaw::Hangs && self.turns > 200 {
                return;
            }
            if self.shared.flaw == Flaw::LogsOut && self.turns > 200 {
                let close = CloseFrame { code: 4401.into(), reason: "".into() };
                let _ = self.socket.close(Some(close)).await;
                return;
            }
        }
    }

    async fn tell(&mut self, event: Event) {
        let _ = self.socket.send(Frame::text(event.encode())).await;
    }

    /// Whether it is time for the flaw.
    fn errs(&mut self, flaw: Flaw) -> bool {
        self.turns += 1;
        self.shared.flaw == flaw && self.turns.is_multiple_of(7)
    }

    fn log(&self, room: &Room) -> Vec<Message> {
        self.shared.rooms.lock().unwrap().get(room).cloned().unwrap_or_default()
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Join { room, from: JoinFrom { after, recent } } => {
                let log = self.log(&room);
                let head = log.last().map_or(Position::ORIGIN, |message| message.pos);
                let start = match after {
                    Some(after) => log.partition_point(|message| message.pos <= after),
                    None => log.len().saturating_sub(recent),
                };
                self.tell(Event::Joined { room: room.clone(), resumed: after.is_some(), head }).await;
                if self.cursors.insert(room.clone(), start).is_none() {
                    let mut present = self.shared.present.lock().unwrap();
                    *present.entry(room).or_default().entry(self.user.clone()).or_default() += 1;
                    self.shared.news.send_modify(|news| *news += 1);
                }
            }
            Command::Leave { room } => {
                if self.cursors.remove(&room).is_some() {
                    self.go(&room);
                }
                self.told.remove(&room);
                self.tell(Event::Left { room }).await;
            }
            Command::Send { room, id, text } => {
                if self.errs(Flaw::Lies) {
                    let refusal = Refusal::new(trunkline_domain::ErrorCode::Forbidden, "no").in_room(&room).of(&id);
                    self.tell(Event::Error(refusal)).await;
                } else if self.errs(Flaw::Forgets) {
                    let pos = Position::new(7, 1_000_000 + self.turns);
                    return self.tell(Event::Sent { room, id, pos }).await;
                }
                let pos = {
                    let mut rooms = self.shared.rooms.lock().unwrap();
                    let log = rooms.entry(room.clone()).or_default();
                    let known = log.iter().find(|message| message.id == id && message.user == self.user);
                    match known.map(|message| message.pos) {
                        Some(pos) => pos,
                        None => {
                            let pos = Position::new(7, log.len() as u64 + 1);
                            log.push(Message { pos, id: id.clone(), user: self.user.clone(), text, at: 1 });
                            pos
                        }
                    }
                };
                self.shared.news.send_modify(|news| *news += 1);
                self.tell(Event::Sent { room, id, pos }).await;
            }
            Command::History { room, before, limit } => {
                let mut log = self.log(&room);
                if self.shared.flaw == Flaw::Hides && before.is_none() {
                    log.pop();
                }
                log.truncate(before.map_or(log.len(), |before| log.partition_point(|message| message.pos < before)));
                let messages = log.split_off(log.len().saturating_sub(limit));
                let event = Event::History { room, before, messages, more: !log.is_empty() };
                self.tell(event).await;
            }
            Command::Typing { .. } | Command::Pong => {}
        }
    }

    fn go(&self, room: &Room) {
        let mut present = self.shared.present.lock().unwrap();
        let users = present.get_mut(room).unwrap();
        *users.get_mut(&self.user).unwrap() -= 1;
        users.retain(|_, sockets| *sockets > 0);
        self.shared.news.send_modify(|news| *news += 1);
    }

    async fn tell_presence(&mut self, room: &Room) {
        let mut here: Vec<_> = self.shared.present.lock().unwrap()[room].keys().cloned().collect();
        here.extend((self.shared.flaw == Flaw::Haunts).then(|| "ghost".parse().unwrap()));
        if self.told.get(room) != Some(&here) {
            self.told.insert(room.clone(), here.clone());
            let (room, count) = (room.clone(), here.len());
            self.tell(Event::Presence { room, count, here: Some(here), came: None, went: None }).await;
        }
    }

    async fn deliver(&mut self, room: &Room) {
        let log = self.log(room);
        let mut messages = log[self.cursors[room].min(log.len())..].to_vec();
        // Half of the users get the first two of what is new the wrong way round, and wait until there are two.
        if self.shared.flaw == Flaw::Reorders && self.user.as_str().bytes().fold(0, |sum, byte| sum ^ byte) % 2 == 0 {
            if messages.len() < 2 {
                return;
            }
            messages.swap(0, 1);
        }
        self.cursors.insert(room.clone(), log.len());
        for mut message in messages {
            if self.errs(Flaw::Loses) {
                continue;
            }
            if self.errs(Flaw::Tears) {
                message.text = "torn".parse().unwrap();
            }
            let again = self.errs(Flaw::Duplicates);
            for _ in 0..=usize::from(again) {
                self.tell(Event::Message { room: room.clone(), message: message.clone() }).await;
            }
        }
    }
}
