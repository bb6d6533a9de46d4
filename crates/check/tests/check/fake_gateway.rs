//! A small gateway that keeps everything in memory and may have one defect.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
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
use trunkline_domain::{
    Body, Command, Content, ErrorCode, Event, JoinFrom, Member, Message, Position, Refusal, Room, WelcomeLimits,
};

/// A defect. Most of them show at every seventh opportunity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Omits a delivery.
    LosesDeliveries,
    /// Delivers a message twice.
    DuplicatesDeliveries,
    /// Swaps two deliveries.
    ReordersDeliveries,
    /// Delivers another text.
    AltersTexts,
    /// Acknowledges a message without appending it to the log.
    SkipsAppends,
    /// Appends a message that it refused.
    AppendsRefused,
    /// Omits the newest message from history.
    HidesHistory,
    /// Closes sockets without a reason.
    DropsSockets,
    /// Ends sessions without a reason, and lets a login wait longer than a run takes to notice that its clients are settled.
    EndsSessions,
    /// Reports a user in every room that has no socket.
    ReportsAbsentUser,
    /// Answers with texts that were deleted.
    KeepsDeletedTexts,
    /// Omits every deletion from history.
    HidesDeletions,
    /// Reports users without their names.
    OmitsNames,
    /// Refuses every second refresh of a token.
    RefusesTokens,
}

/// Duration of a login with [`Defect::EndsSessions`].
const LOGIN_DELAY: Duration = Duration::from_millis(400);

pub(crate) struct FakeGateway {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
}

struct Shared {
    defect: Defect,
    rooms: Mutex<HashMap<Room, Vec<Message>>>,
    /// Sockets of each user in each room.
    present: Mutex<HashMap<Room, BTreeMap<Member, usize>>>,
    /// Number of changes: messages, joins and leaves.
    changes: watch::Sender<u64>,
}

impl FakeGateway {
    pub(crate) async fn start(defect: Defect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            defect,
            rooms: Mutex::default(),
            present: Mutex::default(),
            changes: watch::channel(0).0,
        });
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
    // `peek` leaves the bytes for the WebSocket handshake. Requests this small arrive in one piece on loopback.
    let Ok(length) = stream.peek(&mut head).await else { return };
    let text = String::from_utf8_lossy(&head[..length]).into_owned();
    let cookie = text.split("jsessionid=").nth(1).and_then(|rest| rest.split(['\r', ';']).next());
    let token = text.split("authorization: Bearer ").nth(1).or_else(|| text.split("Authorization: Bearer ").nth(1));
    let identity = match (cookie, token.and_then(|rest| rest.split('\r').next())) {
        (_, Some(token)) => Some(Identity::of_token(token)),
        (Some(name), None) => Some(Identity { member: name.parse().unwrap(), until: Duration::MAX }),
        (None, None) => None,
    };
    if text.starts_with("GET /ws") {
        let (Some(identity), Ok(socket)) = (identity, accept_hdr_async(stream, select).await) else { return };
        let (cursors, sent_presence) = (HashMap::new(), HashMap::new());
        let mut socket = Socket { shared, identity, socket, cursors, sent_presence, opportunities: 0, refreshes: 0 };
        socket.serve().await;
        for room in socket.cursors.keys() {
            socket.leave(room);
        }
        return;
    }
    let mut sink = vec![0; length];
    stream.read_exact(&mut sink).await.unwrap();
    let (status, cookie, body) = if text.starts_with("POST /login") {
        let body: Value = serde_json::from_str(text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let name = body["name"].as_str().unwrap();
        if shared.defect == Defect::EndsSessions && !name.ends_with("-reference") {
            tokio::time::sleep(LOGIN_DELAY).await;
        }
        ("200 OK", format!("Set-Cookie: jsessionid={name}\r\n"), json!({"user": name}).to_string())
    } else if text.starts_with("GET /session") {
        let user = identity.as_ref().map(|identity| identity.member.user.to_string());
        let expires_in = identity.map(|identity| identity.expires_in());
        ("200 OK", String::new(), json!({"user": user, "expires_in": expires_in}).to_string())
    } else {
        ("204 No Content", String::new(), String::new())
    };
    let answer = format!("HTTP/1.1 {status}\r\n{cookie}Content-Length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

#[allow(clippy::result_large_err, reason = "the signature is given by the library")]
#[allow(clippy::unnecessary_wraps, reason = "the signature is given by the library")]
fn select(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("trunkline.v1"));
    Ok(response)
}

/// The user of a client, and the end of the login.
#[derive(Clone)]
struct Identity {
    member: Member,
    /// Time since the Unix epoch.
    until: Duration,
}

impl Identity {
    /// Reads the claims of a token without checking its signature.
    fn of_token(token: &str) -> Self {
        let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let name = claims["name"].as_str().map(|name| name.parse().unwrap());
        Self {
            member: Member::new(claims["sub"].as_str().unwrap().parse().unwrap(), name),
            until: Duration::from_secs(claims["exp"].as_u64().unwrap()),
        }
    }

    /// Seconds until it ends, rounded down.
    fn expires_in(&self) -> u64 {
        self.until.saturating_sub(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()).as_secs()
    }

    fn has_ended(&self) -> bool {
        self.until <= SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
    }
}

struct Socket {
    shared: Arc<Shared>,
    identity: Identity,
    socket: WebSocketStream<TcpStream>,
    /// Number of delivered messages of each room.
    cursors: HashMap<Room, usize>,
    /// Presence of each room as last sent.
    sent_presence: HashMap<Room, Vec<Member>>,
    opportunities: u64,
    refreshes: u64,
}

impl Socket {
    async fn serve(&mut self) {
        let mut changes = self.shared.changes.subscribe();
        let limits = WelcomeLimits { text_bytes: 4096, rooms: 128, data_bytes: 16384 };
        let (Member { user, name }, instance) = (self.identity.member.clone(), "fake-gateway".to_owned());
        self.send(Event::Welcome { user, name, instance, ping_interval_ms: 25_000, limits }).await;
        let mut second = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = second.tick() => {
                    if self.identity.has_ended() {
                        let close = CloseFrame { code: 4401.into(), reason: "".into() };
                        let _ = self.socket.close(Some(close)).await;
                        return;
                    }
                }
                frame = self.socket.next() => match frame {
                    Some(Ok(Frame::Text(text))) => match Command::decode(&text) {
                        Ok(command) => self.execute(command).await,
                        Err(refusal) => self.send(Event::Error(refusal)).await,
                    },
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                _ = changes.changed() => {}
            }
            for room in self.cursors.keys().cloned().collect::<Vec<_>>() {
                self.deliver(&room).await;
                self.send_presence(&room).await;
            }
            if self.shared.defect == Defect::DropsSockets && self.opportunities > 200 {
                return;
            }
            // The client that makes the reference read does not log in again.
            let is_reader = self.identity.member.user.as_str().ends_with("-reference");
            if self.shared.defect == Defect::EndsSessions && self.opportunities > 200 && !is_reader {
                let close = CloseFrame { code: 4401.into(), reason: "".into() };
                let _ = self.socket.close(Some(close)).await;
                return;
            }
        }
    }

    async fn send(&mut self, event: Event) {
        let _ = self.socket.send(Frame::text(event.encode())).await;
    }

    /// Returns whether the defect shows at this opportunity.
    fn defect_shows(&mut self, defect: Defect) -> bool {
        self.opportunities += 1;
        self.shared.defect == defect && self.opportunities.is_multiple_of(7)
    }

    fn log(&self, room: &Room) -> Vec<Message> {
        self.shared.rooms.lock().unwrap().get(room).cloned().unwrap_or_default()
    }

    async fn execute(&mut self, command: Command) {
        match command {
            Command::Join { room, from: JoinFrom { after, recent } } => {
                let log = self.log(&room);
                let head = log.last().map_or(Position::ORIGIN, |message| message.pos);
                let start = match after {
                    Some(after) => log.partition_point(|message| message.pos <= after),
                    None => log.len().saturating_sub(recent),
                };
                self.send(Event::Joined { room: room.clone(), resumed: after.is_some(), head, seen: None }).await;
                if self.cursors.insert(room.clone(), start).is_none() {
                    let mut present = self.shared.present.lock().unwrap();
                    *present.entry(room).or_default().entry(self.identity.member.clone()).or_default() += 1;
                    self.shared.changes.send_modify(|changes| *changes += 1);
                }
            }
            Command::Leave { room } => {
                if self.cursors.remove(&room).is_some() {
                    self.leave(&room);
                }
                self.sent_presence.remove(&room);
                self.send(Event::Left { room }).await;
            }
            Command::Send { room, id, content } => {
                if let Err(code) = self.check(&room, &content) {
                    let refusal = Refusal::new(code, "no").in_room(&room).of(&id);
                    return self.send(Event::Error(refusal)).await;
                }
                if self.defect_shows(Defect::AppendsRefused) {
                    let refusal = Refusal::new(ErrorCode::Forbidden, "no").in_room(&room).of(&id);
                    self.send(Event::Error(refusal)).await;
                } else if self.defect_shows(Defect::SkipsAppends) {
                    let pos = Position::new(7, 1_000_000 + self.opportunities);
                    return self.send(Event::Sent { room, id, pos }).await;
                }
                let pos = {
                    let mut rooms = self.shared.rooms.lock().unwrap();
                    let log = rooms.entry(room.clone()).or_default();
                    let known =
                        log.iter().find(|message| message.id == id && message.user == self.identity.member.user);
                    match known.map(|message| message.pos) {
                        Some(pos) => pos,
                        None => {
                            let pos = Position::new(7, log.len() as u64 + 1);
                            let Member { user, name } = self.identity.member.clone();
                            log.push(Message { pos, id: id.clone(), user, name, body: Body::Content(content), at: 1 });
                            pos
                        }
                    }
                };
                self.shared.changes.send_modify(|changes| *changes += 1);
                self.send(Event::Sent { room, id, pos }).await;
            }
            Command::History { room, before, limit } => {
                let mut log = self.log(&room);
                if self.shared.defect == Defect::HidesHistory && before.is_none() {
                    log.pop();
                }
                log.truncate(before.map_or(log.len(), |before| log.partition_point(|message| message.pos < before)));
                let mut messages = log.split_off(log.len().saturating_sub(limit));
                messages.iter_mut().for_each(|message| self.redact(&room, message));
                if self.shared.defect == Defect::HidesDeletions {
                    messages.retain(|message| message.deletes().is_none());
                }
                let event = Event::History { room, before, messages, more: !log.is_empty() };
                self.send(event).await;
            }
            Command::Refresh { token } => {
                self.refreshes += 1;
                if self.shared.defect == Defect::RefusesTokens && self.refreshes % 2 == 1 {
                    return self.send(Event::Error(Refusal::new(ErrorCode::BadToken, "no"))).await;
                }
                self.identity = Identity::of_token(token.reveal());
                self.send(Event::Refreshed { expires_in: self.identity.expires_in() }).await;
            }
            Command::Typing { .. } | Command::Signal { .. } | Command::Seen { .. } | Command::Pong => {}
        }
    }

    /// Checks an amendment.
    fn check(&self, room: &Room, content: &Content) -> Result<(), ErrorCode> {
        let Some(of) = content.amends() else { return Ok(()) };
        let log = self.log(room);
        let text = log.iter().find(|message| message.pos == of && message.text().is_some());
        let is_deleted = log.iter().any(|message| message.deletes() == Some(of));
        let message = text.filter(|_| !is_deleted).ok_or(ErrorCode::NotFound)?;
        let may = matches!(content, Content::React { .. }) || message.user == self.identity.member.user;
        if may { Ok(()) } else { Err(ErrorCode::Forbidden) }
    }

    /// Removes the text of a message if it was deleted.
    fn redact(&self, room: &Room, message: &mut Message) {
        if self.shared.defect != Defect::KeepsDeletedTexts {
            let log = self.log(room);
            message.redact(|of| log.iter().any(|other| other.deletes() == Some(of)));
        }
    }

    fn leave(&self, room: &Room) {
        let mut present = self.shared.present.lock().unwrap();
        let users = present.get_mut(room).unwrap();
        *users.get_mut(&self.identity.member).unwrap() -= 1;
        users.retain(|_, sockets| *sockets > 0);
        self.shared.changes.send_modify(|changes| *changes += 1);
    }

    async fn send_presence(&mut self, room: &Room) {
        let mut users: Vec<_> = self.shared.present.lock().unwrap()[room].keys().cloned().collect();
        users.extend((self.shared.defect == Defect::ReportsAbsentUser).then(|| "ghost".parse().unwrap()));
        if self.shared.defect == Defect::OmitsNames {
            users.iter_mut().for_each(|user| user.name = None);
        }
        if self.sent_presence.get(room) != Some(&users) {
            self.sent_presence.insert(room.clone(), users.clone());
            let (room, count) = (room.clone(), users.len());
            self.send(Event::Presence { room, count, users: Some(users), joined: None, left: None }).await;
        }
    }

    async fn deliver(&mut self, room: &Room) {
        let log = self.log(room);
        let mut messages = log[self.cursors[room].min(log.len())..].to_vec();
        // Half of the users receive the first two new messages in the wrong order, so they wait for two.
        if self.shared.defect == Defect::ReordersDeliveries
            && self.identity.member.user.as_str().bytes().fold(0, |sum, byte| sum ^ byte) % 2 == 0
        {
            if messages.len() < 2 {
                return;
            }
            messages.swap(0, 1);
        }
        self.cursors.insert(room.clone(), log.len());
        for mut message in messages {
            if self.defect_shows(Defect::LosesDeliveries) {
                continue;
            }
            if self.defect_shows(Defect::AltersTexts) {
                message.body = match message.body {
                    Body::Content(Content::Text { reply_to, .. }) => {
                        Body::Content(Content::Text { text: "altered".parse().unwrap(), reply_to })
                    }
                    Body::Content(Content::Event { event, .. }) => {
                        Body::Content(Content::Event { event, data: "{}".parse().unwrap() })
                    }
                    other => other,
                };
            }
            self.redact(room, &mut message);
            let again = self.defect_shows(Defect::DuplicatesDeliveries);
            for _ in 0..=usize::from(again) {
                self.send(Event::Message { room: room.clone(), message: message.clone() }).await;
            }
        }
    }
}
