//! One message under one id at two gateways.

use std::{io, time::Duration};

use serde_json::{Value, json};
use trunkline_client::{ClientSession, new_id};
use trunkline_domain::Room;

use super::{
    raw::{Frame, Raw},
    strange,
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Sends it at both at once, and once more at the first; then reads the room's end.
pub(super) async fn carry_out(sessions: [ClientSession; 2], room: &Room) -> io::Result<Value> {
    let [one, other] = sessions;
    let (mut one, mut other) = tokio::try_join!(Raw::open(&one, None), Raw::open(&other, None))?;
    let id = new_id();
    let join = json!({"type": "join", "room": room, "recent": 0});
    let send = json!({"type": "send", "room": room, "id": id, "text": "twice"});
    for raw in [&mut one, &mut other] {
        raw.say(&join).await?;
        wait_for(raw, "joined").await?;
    }
    tokio::try_join!(one.say(&send), other.say(&send))?;
    let (first, second) = tokio::try_join!(wait_for(&mut one, "sent"), wait_for(&mut other, "sent"))?;
    one.say(&send).await?;
    let third = wait_for(&mut one, "sent").await?;
    one.say(&json!({"type": "history", "room": room, "limit": 50})).await?;
    let history = wait_for(&mut one, "history").await?;
    let copies = history["messages"].as_array().map_or(0, |all| all.iter().filter(|m| m["id"] == json!(id)).count());
    let positions = [&first["pos"], &second["pos"], &third["pos"]];
    Ok(json!({"attack": "twice", "positions": positions, "copies": copies,
        "once": copies == 1 && positions.iter().all(|pos| *pos == positions[0])}))
}

async fn wait_for(raw: &mut Raw, kind: &str) -> io::Result<Value> {
    let waiting = async {
        loop {
            match raw.hear().await? {
                Frame::Text(text) if text["type"] == kind => return Ok(text),
                Frame::Text(text) if text["type"] == "error" => return Err(io::Error::other(text.to_string())),
                Frame::Text(_) | Frame::Other => {}
                Frame::Close(_) => return Err(strange("the server closed the socket")),
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.map_err(|_| io::ErrorKind::TimedOut)?
}
