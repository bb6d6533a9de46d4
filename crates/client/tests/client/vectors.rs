//! The vectors that pin this core and the browser's machine alike: `web/vectors/README.md` names every field.

use std::{collections::HashMap, fs, path::Path};

use serde_json::{Map, Value, json};
use trunkline_client::{Cause, Core, Effect, End, Entry, EntryState, Input, Notice, PageFailure, Probed, State};
use trunkline_domain::{Command, Message};

#[test]
fn the_core_answers_every_vector() {
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
    let mut core = Core::new(user, Box::new(|| 0.5));
    let before = case.get("given").map(|name| &given[name.as_str().unwrap()]);
    for step in before.into_iter().chain([case]).flat_map(|case| case["steps"].as_array().unwrap()) {
        core.handle(step["at"].as_u64().unwrap(), input(&step["event"]));
        let effects: Vec<Value> = std::iter::from_fn(|| core.effect()).map(|effect| shown(&effect)).collect();
        let about = format!("{:?} at {}: {}", case["name"], step["at"], step["event"]);
        assert_eq!(json!(effects), step["effects"], "{about}");
        assert_eq!(json!(core.wake()), step["wake"], "wake, {about}");
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

fn input(event: &Value) -> Input {
    let room = || text(event, "room").parse().unwrap();
    let id = || text(event, "id").parse().unwrap();
    let socket = || event["socket"].as_u64().unwrap();
    let number = |field: &str, default| event.get(field).map_or(default, |n| n.as_u64().unwrap());
    match event["type"].as_str().unwrap() {
        "connect" => Input::Connect,
        "disconnect" => Input::Disconnect,
        "tick" => Input::Tick,
        "online" => Input::Online,
        "offline" => Input::Offline,
        "visible" => Input::Visible,
        "probed" => {
            let after = number("retry_after_ms", 0);
            let answer = match (event["status"].as_u64().unwrap(), event["user"].as_str()) {
                (200, Some(user)) => Probed::LoggedIn(user.parse().unwrap()),
                (401, _) => Probed::NotLoggedIn,
                (503, _) => Probed::Unavailable(after),
                _ => Probed::Unreachable(after),
            };
            Input::Probed { socket: socket(), answer }
        }
        "frame" => {
            let event = trunkline_domain::Event::decode(&event["frame"].to_string()).unwrap();
            Input::Frame { socket: socket(), event }
        }
        "closed" => Input::Closed { socket: socket(), code: number("code", 1006).try_into().unwrap() },
        "join" => Input::Join { room: room(), recent: number("recent", 50).try_into().unwrap() },
        "leave" => Input::Leave { room: room() },
        "outbox" => {
            let entries = event["entries"].as_array().unwrap().iter().map(entry).collect();
            Input::Outbox { room: room(), entries }
        }
        "send" => Input::Send { room: room(), id: id(), text: text(event, "text").parse().unwrap() },
        "retry" => Input::Retry { room: room(), id: id() },
        "discard" => Input::Discard { room: room(), id: id() },
        "history" => {
            let before = event.get("before").and_then(Value::as_str).map(|pos| pos.parse().unwrap());
            Input::History { room: room(), before, limit: number("limit", 50).try_into().unwrap() }
        }
        "typing" => Input::Typing { room: room() },
        other => panic!("an event that this test does not know: {other}"),
    }
}

fn entry(value: &Value) -> Entry {
    Entry {
        user: text(value, "user").parse().unwrap(),
        room: text(value, "room").parse().unwrap(),
        id: text(value, "id").parse().unwrap(),
        text: text(value, "text").parse().unwrap(),
        at: value["at"].as_u64().unwrap(),
        tried: value["tried"].as_u64(),
        state: match value["state"].as_str().unwrap() {
            "pending" => EntryState::Pending,
            "failed" => EntryState::Failed,
            "unsure" => EntryState::Unsure,
            other => panic!("no store holds an entry that is {other}"),
        },
        code: None,
    }
}

fn frame(command: &Command) -> Value {
    serde_json::from_str(&command.encode()).unwrap()
}

fn shown(effect: &Effect) -> Value {
    match effect {
        Effect::Probe { socket } => json!({"do": "probe", "socket": socket}),
        Effect::Open { socket } => json!({"do": "open", "socket": socket}),
        Effect::Close { socket } => json!({"do": "close", "socket": socket}),
        Effect::Transmit { socket, command } => json!({"do": "transmit", "socket": socket, "frame": frame(command)}),
        Effect::Load { user, room } => json!({"do": "load", "user": user, "room": room}),
        Effect::Tell(notice) => notice_shown(notice),
    }
}

fn notice_shown(notice: &Notice) -> Value {
    match notice {
        Notice::State(state) => state_shown(state),
        Notice::Entry(entry) => json!({"do": "entry", "entry": entry_shown(entry)}),
        Notice::Joined { room, head, resumed, gap } => {
            json!({"do": "joined", "room": room, "head": head, "resumed": resumed, "gap": gap})
        }
        Notice::CaughtUp { room, missed } => json!({"do": "caught_up", "room": room, "missed": missed}),
        Notice::Message { room, message, own } => {
            json!({"do": "message", "room": room, "message": message, "own": own})
        }
        Notice::History { room, before, messages, more } => {
            let messages: &[Message] = messages;
            json!({"do": "history", "room": room, "before": before, "messages": messages, "more": more})
        }
        Notice::HistoryFailed { room, before, cause } => {
            let code = match cause {
                PageFailure::Busy => json!("busy"),
                PageFailure::Closed => json!("closed"),
                PageFailure::Gap => json!("gap"),
                PageFailure::Refused(code) => json!(code),
            };
            json!({"do": "history_failed", "room": room, "before": before, "code": code})
        }
        Notice::Presence { room, count, here, came, went } => {
            json!({"do": "presence", "room": room, "count": count, "here": here, "came": came, "went": went})
        }
        Notice::Typing { room, user } => json!({"do": "typing", "room": room, "user": user}),
        Notice::Refused { code, room, detail } => with(
            json!({"do": "refused", "code": code}),
            [("room", room.as_ref().map(|room| json!(room))), ("detail", detail.as_ref().map(|detail| json!(detail)))],
        ),
    }
}

fn state_shown(state: &State) -> Value {
    match state {
        State::Connecting => json!({"do": "state", "state": "connecting"}),
        State::Connected { user, instance } => {
            json!({"do": "state", "state": "connected", "user": user, "instance": instance})
        }
        State::Waiting { cause, retry_at, code, offline } => {
            let state = if *offline { "offline" } else { "waiting" };
            let cause = match cause {
                Cause::Unreachable => "unreachable",
                Cause::Unavailable => "unavailable",
                Cause::Closed => "closed",
                Cause::Timeout => "timeout",
                Cause::Silence => "silence",
                Cause::Drain => "drain",
            };
            let base = json!({"do": "state", "state": state, "cause": cause, "retry_at": retry_at});
            with(base, [("code", code.map(|code| json!(code)))])
        }
        State::Ended(end) => {
            let cause = match end {
                End::NotLoggedIn => "not_logged_in",
                End::SessionEnded => "session_ended",
                End::OtherUser => "other_user",
            };
            json!({"do": "state", "state": "ended", "cause": cause})
        }
        State::Down => json!({"do": "state", "state": "down", "cause": "too_many_sockets"}),
        State::Closed => json!({"do": "state", "state": "closed"}),
    }
}

fn entry_shown(entry: &Entry) -> Value {
    let (state, pos) = match entry.state {
        EntryState::Pending => ("pending", None),
        EntryState::Failed => ("failed", None),
        EntryState::Unsure => ("unsure", None),
        EntryState::Sent { pos } => ("sent", Some(pos)),
        EntryState::Discarded => ("discarded", None),
    };
    let base = json!({"user": entry.user, "room": entry.room, "id": entry.id, "text": entry.text, "at": entry.at,
        "tried": entry.tried, "state": state});
    with(base, [("code", entry.code.map(|code| json!(code))), ("pos", pos.map(|pos| json!(pos)))])
}

/// The object with those of the fields that are there.
fn with<const N: usize>(base: Value, fields: [(&str, Option<Value>); N]) -> Value {
    let Value::Object(base) = base else { panic!("not an object: {base}") };
    let more = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(base.into_iter().chain(more).collect::<Map<_, _>>())
}
