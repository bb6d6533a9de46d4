//! Sends one message with the same id to two gateways.

use std::{io, time::Duration};

use serde_json::{Value, json};
use trunkline_client::{ClientSession, new_id};
use trunkline_domain::Room;

use super::raw_socket::{RawSocket, ReceivedFrame, invalid};

/// Longest time for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Sends the message to both gateways at the same time and once more to the first, then counts its copies in the history.
pub(super) async fn send_at_two_gateways(sessions: [ClientSession; 2], room: &Room) -> io::Result<Value> {
    let [one, other] = sessions;
    let (mut one, mut other) = tokio::try_join!(RawSocket::open(&one, None), RawSocket::open(&other, None))?;
    let id = new_id();
    let join = json!({"type": "join", "room": room, "recent": 0});
    let send = json!({"type": "send", "room": room, "id": id, "text": "twice"});
    for socket in [&mut one, &mut other] {
        socket.send(&join).await?;
        wait_for(socket, "joined").await?;
    }
    tokio::try_join!(one.send(&send), other.send(&send))?;
    let (first, second) = tokio::try_join!(wait_for(&mut one, "sent"), wait_for(&mut other, "sent"))?;
    one.send(&send).await?;
    let third = wait_for(&mut one, "sent").await?;
    one.send(&json!({"type": "history", "room": room, "limit": 50})).await?;
    let history = wait_for(&mut one, "history").await?;
    let copies = history["messages"].as_array().map_or(0, |all| all.iter().filter(|m| m["id"] == json!(id)).count());
    let positions = [&first["pos"], &second["pos"], &third["pos"]];
    Ok(json!({"attack": "twice", "positions": positions, "copies": copies,
        "once": copies == 1 && positions.iter().all(|pos| *pos == positions[0])}))
}

/// Waits for a frame of this type. Fails if an `error` frame arrives first.
pub(super) async fn wait_for(socket: &mut RawSocket, kind: &str) -> io::Result<Value> {
    let answer = async {
        loop {
            match socket.receive().await? {
                ReceivedFrame::Text(text) if text["type"] == kind => return Ok(text),
                ReceivedFrame::Text(text) if text["type"] == "error" => return Err(io::Error::other(text.to_string())),
                ReceivedFrame::Text(_) | ReceivedFrame::Other => {}
                ReceivedFrame::Close(_) => return Err(invalid("the server closed the socket")),
            }
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_| io::ErrorKind::TimedOut)?
}
