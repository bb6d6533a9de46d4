//! Runs the test vectors that pin this state machine and the browser's alike. `web/vectors/README.md` documents them.

use std::{collections::HashMap, fs, path::Path};

use serde_json::{Map, Value, json};
use trunkline_client::{
    ClientCore, ClientEffect, ClientEvent, ClientInput, ClientState, DisconnectReason, EndReason, HistoryFailure,
    JitterSource, OutboxEntry, OutboxEntryState, SessionProbe,
};
use trunkline_domain::{Command, Content, Data, Message};

#[test]
fn core_produces_the_effects_of_every_vector() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/vectors");
    let given: HashMap<String, Value> =
        cases(&folder.join("given.json")).into_iter().map(|case| (text(&case, "name"), case)).collect();
    let mut ran = 0;
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|ext| ext == "json") {
            for case in cases(&file) {
                run(&case, &given);
                ran += 1;
            }
        }
    }
    assert!(ran > 40, "only {ran} vectors were found");
}

fn cases(file: &Path) -> Vec<Value> {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn run(case: &Value, given: &HashMap<String, Value>) {
    let user = match case.get("user") {
        None => Some("ann".parse().unwrap()),
        Some(Value::Null) => None,
        Some(name) => Some(name.as_str().unwrap().parse().unwrap()),
    };
    let core = ClientCore::new(user, JitterSource::constant(0.5));
    let mut core = if case["tokens"] == true { core.with_tokens() } else { core };
    let before = case.get("given").map(|name| &given[name.as_str().unwrap()]);
    for step in before.into_iter().chain([case]).flat_map(|case| case["steps"].as_array().unwrap()) {
        core.handle(step["at"].as_u64().unwrap(), input(&step["event"]));
        let effects: Vec<Value> = std::iter::from_fn(|| core.poll_effect()).map(|effect| shown(&effect)).collect();
        let about = format!("{:?} at {}: {}", case["name"], step["at"], step["event"]);
        assert_eq!(json!(effects), step["effects"], "{about}");
        assert_eq!(json!(core.next_tick()), step["wake"], "wake, {about}");
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

fn input(event: &Value) -> ClientInput {
    let room = || text(event, "room").parse().unwrap();
    let id = || text(event, "id").parse().unwrap();
    let socket = || event["socket"].as_u64().unwrap();
    let number = |field: &str, default| event.get(field).map_or(default, |n| n.as_u64().unwrap());
    match event["type"].as_str().unwrap() {
        "connect" => ClientInput::Connect,
        "disconnect" => ClientInput::Disconnect,
        "tick" => ClientInput::Tick,
        "online" => ClientInput::Online,
        "offline" => ClientInput::Offline,
        "visible" => ClientInput::Visible,
        "probed" => {
            let after = number("retry_after_ms", 0);
            let result = match (event["status"].as_u64().unwrap(), event["user"].as_str()) {
                (200, Some(user)) => {
                    let (user, expires_in) = (user.parse().unwrap(), event["expires_in"].as_u64());
                    SessionProbe::LoggedIn { user, expires_in }
                }
                (401, _) => SessionProbe::NotLoggedIn,
                (503, _) => SessionProbe::Unavailable(after),
                _ => SessionProbe::Unreachable(after),
            };
            ClientInput::Probed { socket: socket(), result }
        }
        "token" => {
            let token = event["token"].as_str().map(trunkline_domain::Token::new);
            ClientInput::Token { socket: socket(), token }
        }
        "frame" => {
            let event = trunkline_domain::Event::decode(&event["frame"].to_string()).unwrap();
            ClientInput::Frame { socket: socket(), event }
        }
        "closed" => ClientInput::Closed { socket: socket(), code: number("code", 1006).try_into().unwrap() },
        "join" => ClientInput::Join { room: room(), recent: number("recent", 50).try_into().unwrap() },
        "leave" => ClientInput::Leave { room: room() },
        "outbox" => {
            let entries = event["entries"].as_array().unwrap().iter().map(entry).collect();
            ClientInput::Outbox { room: room(), entries }
        }
        "send" => ClientInput::Send { room: room(), id: id(), content: content(event) },
        "retry" => ClientInput::Retry { room: room(), id: id() },
        "discard" => ClientInput::Discard { room: room(), id: id() },
        "history" => {
            let before = event.get("before").and_then(Value::as_str).map(|pos| pos.parse().unwrap());
            ClientInput::History { room: room(), before, limit: number("limit", 50).try_into().unwrap() }
        }
        "typing" => ClientInput::Typing { room: room() },
        "signal" => {
            let name = text(event, "event").parse().unwrap();
            ClientInput::Signal { room: room(), event: name, data: data(event).unwrap_or_else(Data::null) }
        }
        "seen" => ClientInput::Seen { room: room(), pos: text(event, "pos").parse().unwrap() },
        other => panic!("unknown event: {other}"),
    }
}

fn data(value: &Value) -> Option<Data> {
    value.get("data").map(|data| Data::encode(data).unwrap())
}

/// The content of a `send` with these fields.
fn content(value: &Value) -> Content {
    let mut frame = json!({"type": "send", "room": "r", "id": "a"});
    for field in ["event", "ref", "text", "data"] {
        if let Some(given) = value.get(field) {
            frame[field] = given.clone();
        }
    }
    match Command::decode(&frame.to_string()) {
        Ok(Command::Send { content, .. }) => content,
        other => panic!("{value}: {other:?}"),
    }
}

fn entry(value: &Value) -> OutboxEntry {
    OutboxEntry {
        user: text(value, "user").parse().unwrap(),
        room: text(value, "room").parse().unwrap(),
        id: text(value, "id").parse().unwrap(),
        content: content(value),
        written_at: value["at"].as_u64().unwrap(),
        first_sent_at: value["tried"].as_u64(),
        state: match value["state"].as_str().unwrap() {
            "pending" => OutboxEntryState::Pending,
            "failed" => OutboxEntryState::Failed,
            "unsure" => OutboxEntryState::Uncertain,
            other => panic!("stored entries are never {other}"),
        },
        refusal: None,
    }
}

fn frame(command: &Command) -> Value {
    serde_json::from_str(&command.encode()).unwrap()
}

fn shown(effect: &ClientEffect) -> Value {
    match effect {
        ClientEffect::Probe { socket } => json!({"do": "probe", "socket": socket}),
        ClientEffect::Open { socket } => json!({"do": "open", "socket": socket}),
        ClientEffect::Close { socket } => json!({"do": "close", "socket": socket}),
        ClientEffect::Transmit { socket, command } => {
            json!({"do": "transmit", "socket": socket, "frame": frame(command)})
        }
        ClientEffect::Token { socket } => json!({"do": "token", "socket": socket}),
        ClientEffect::Load { user, room } => json!({"do": "load", "user": user, "room": room}),
        ClientEffect::Emit(notice) => notice_shown(notice),
    }
}

fn notice_shown(notice: &ClientEvent) -> Value {
    match notice {
        ClientEvent::State(state) => state_shown(state),
        ClientEvent::Outbox(entry) => json!({"do": "entry", "entry": entry_shown(entry)}),
        ClientEvent::Joined { room, head, resumed, gap } => {
            json!({"do": "joined", "room": room, "head": head, "resumed": resumed, "gap": gap})
        }
        ClientEvent::CaughtUp { room, missed } => json!({"do": "caught_up", "room": room, "missed": missed}),
        ClientEvent::Message { room, message, own } => {
            json!({"do": "message", "room": room, "message": message, "own": own})
        }
        ClientEvent::History { room, before, messages, more } => {
            let messages: &[Message] = messages;
            json!({"do": "history", "room": room, "before": before, "messages": messages, "more": more})
        }
        ClientEvent::HistoryFailed { room, before, reason } => {
            let code = match reason {
                HistoryFailure::Busy => json!("busy"),
                HistoryFailure::Closed => json!("closed"),
                HistoryFailure::Gap => json!("gap"),
                HistoryFailure::Refused(code) => json!(code),
            };
            json!({"do": "history_failed", "room": room, "before": before, "code": code})
        }
        ClientEvent::Presence { room, count, users, joined, left } => {
            json!({"do": "presence", "room": room, "count": count, "users": users, "joined": joined, "left": left})
        }
        ClientEvent::Typing { room, user } => json!({"do": "typing", "room": room, "user": user}),
        ClientEvent::Signal { room, user, event, data } => {
            let data: Value = serde_json::from_str(data.as_str()).unwrap();
            json!({"do": "signal", "room": room, "user": user, "event": event, "data": data})
        }
        ClientEvent::Seen { room, pos } => json!({"do": "seen", "room": room, "pos": pos}),
        ClientEvent::Refused { code, room, detail } => with(
            json!({"do": "refused", "code": code}),
            [("room", room.as_ref().map(|room| json!(room))), ("detail", detail.as_ref().map(|detail| json!(detail)))],
        ),
    }
}

fn state_shown(state: &ClientState) -> Value {
    match state {
        ClientState::Connecting => json!({"do": "state", "state": "connecting"}),
        ClientState::Connected { user, name, instance } => {
            let base = json!({"do": "state", "state": "connected", "user": user, "instance": instance});
            with(base, [("name", name.as_ref().map(|name| json!(name)))])
        }
        ClientState::Waiting { reason, retry_at, code, offline } => {
            let state = if *offline { "offline" } else { "waiting" };
            let reason = match reason {
                DisconnectReason::Unreachable => "unreachable",
                DisconnectReason::BadToken => "bad_token",
                DisconnectReason::Unavailable => "unavailable",
                DisconnectReason::Closed => "closed",
                DisconnectReason::Timeout => "timeout",
                DisconnectReason::Silence => "silence",
                DisconnectReason::Drain => "drain",
            };
            let base = json!({"do": "state", "state": state, "cause": reason, "retry_at": retry_at});
            with(base, [("code", code.map(|code| json!(code)))])
        }
        ClientState::Ended(reason) => {
            let reason = match reason {
                EndReason::NotLoggedIn => "not_logged_in",
                EndReason::SessionEnded => "session_ended",
                EndReason::OtherUser => "other_user",
            };
            json!({"do": "state", "state": "ended", "cause": reason})
        }
        ClientState::TooManySockets => json!({"do": "state", "state": "down", "cause": "too_many_sockets"}),
        ClientState::Closed => json!({"do": "state", "state": "closed"}),
    }
}

fn entry_shown(entry: &OutboxEntry) -> Value {
    let (state, pos) = match entry.state {
        OutboxEntryState::Pending => ("pending", None),
        OutboxEntryState::Failed => ("failed", None),
        OutboxEntryState::Uncertain => ("unsure", None),
        OutboxEntryState::Sent { pos } => ("sent", Some(pos)),
        OutboxEntryState::Discarded => ("discarded", None),
    };
    let base = json!({"user": entry.user, "room": entry.room, "id": entry.id, "at": entry.written_at,
        "tried": entry.first_sent_at, "state": state});
    let content: Map<String, Value> = serde_json::from_str(&serde_json::to_string(&entry.content).unwrap()).unwrap();
    let Value::Object(base) = base else { unreachable!() };
    let base = Value::Object(base.into_iter().chain(content).collect());
    with(base, [("code", entry.refusal.map(|code| json!(code))), ("pos", pos.map(|pos| json!(pos)))])
}

/// Adds the fields that are present to the object.
fn with<const N: usize>(base: Value, fields: [(&str, Option<Value>); N]) -> Value {
    let Value::Object(base) = base else { panic!("not an object: {base}") };
    let more = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(base.into_iter().chain(more).collect::<Map<_, _>>())
}
