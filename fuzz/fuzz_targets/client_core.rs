//! The client's state machine, driven by a server that sends arbitrary frames.
//!
//! Each line is a frame, or one of the words below. Invariants: the machine settles after every input; a message that the
//! server repeats is emitted once. The order is the server's.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use trunkline_client::{ClientCore, ClientEffect, ClientEvent, ClientInput, JitterSource, SessionProbe};
use trunkline_domain::{Content, Event, Position, Room, Token};

/// Maximum number of effects of one input.
const MAX_EFFECTS: usize = 1000;

fuzz_target!(|text: &str| {
    let ann = || "ann".parse().unwrap();
    let room = || -> Room { "lobby".parse().unwrap() };
    let (mut core, mut now, mut latest) = (ClientCore::new(Some(ann()), JitterSource::constant(0.5)), 1_000_000, 0);
    if text.len() % 2 == 1 {
        core = core.with_tokens();
    }
    let mut last: HashMap<Room, Position> = HashMap::new();
    let mut sent = 0;
    let start = [ClientInput::Join { room: room(), recent: 50 }, ClientInput::Connect];
    let rest = text.lines().take(200).filter_map(|line| {
        Some(match line {
            "online" => ClientInput::Online,
            "offline" => ClientInput::Offline,
            "disconnect" => ClientInput::Disconnect,
            "connect" => ClientInput::Connect,
            "tick" => ClientInput::Tick,
            "send" => {
                sent += 1;
                let content = Content::Text { text: "hi".parse().unwrap(), reply_to: None };
                ClientInput::Send { room: room(), id: format!("m{sent}").parse().unwrap(), content }
            }
            "history" => ClientInput::History { room: room(), before: None, limit: 50 },
            "typing" => ClientInput::Typing { room: room() },
            "seen" => ClientInput::Seen { room: room(), pos: Position::new(7, 5) },
            "token" => ClientInput::Token { socket: 0, token: Some(Token::new("t")) },
            "leave" => ClientInput::Leave { room: room() },
            "join" => ClientInput::Join { room: room(), recent: 50 },
            "probed" => {
                let result = SessionProbe::LoggedIn { user: ann(), expires_in: Some(5) };
                ClientInput::Probed { socket: 0, result }
            }
            "rejected" => ClientInput::Probed { socket: 0, result: SessionProbe::NotLoggedIn },
            frame => match frame.strip_prefix("closed ") {
                Some(code) => ClientInput::Closed { socket: 0, code: code.parse().ok()? },
                None => ClientInput::Frame { socket: 0, event: Event::decode(frame).ok()? },
            },
        })
    });
    for mut input in start.into_iter().chain(rest) {
        match &mut input {
            // The deadlines that a server can set are unbounded; the clock is not.
            ClientInput::Tick => now = core.next_tick().unwrap_or(now).clamp(now, now + 600_000),
            ClientInput::Probed { socket, .. }
            | ClientInput::Token { socket, .. }
            | ClientInput::Frame { socket, .. }
            | ClientInput::Closed { socket, .. } => {
                *socket = latest;
            }
            _ => now += 10,
        }
        core.handle(now, input);
        for count in 0.. {
            assert!(count < MAX_EFFECTS, "one input has more than {MAX_EFFECTS} effects");
            match core.poll_effect() {
                None => break,
                Some(ClientEffect::Probe { socket } | ClientEffect::Open { socket }) => latest = socket,
                Some(ClientEffect::Emit(ClientEvent::Joined { room, .. })) => _ = last.remove(&room),
                Some(ClientEffect::Emit(ClientEvent::Message { room, message, .. })) => {
                    let before = last.insert(room, message.pos);
                    assert_ne!(before, Some(message.pos), "emitted twice");
                }
                Some(_) => {}
            }
        }
    }
});
