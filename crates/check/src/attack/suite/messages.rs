//! Messages with forged fields and with markup.

use serde_json::json;

use super::{
    logins::login,
    target::{AttackOutcome, AttackTarget, Observation, answer_to, status_name},
};

/// Sends a message that claims another author and another time.
pub(super) async fn impersonation(target: &AttackTarget) -> AttackOutcome {
    let mut socket = target.open_socket().await?;
    socket.send(&json!({"type": "join", "room": target.room, "recent": 0})).await?;
    answer_to(&mut socket, "joined").await?;
    let send =
        json!({"type": "send", "room": target.room, "id": "impersonation", "text": "hello", "user": "admin", "at": 7});
    socket.send(&send).await?;
    let message = answer_to(&mut socket, "message").await?;
    let ok = message["user"] == target.user.as_str() && message["at"] != 7;
    Ok(Observation::new(ok, format!("the message is from {}, at {}", message["user"], message["at"])))
}

pub(super) async fn script_injection(target: &AttackTarget) -> AttackOutcome {
    const MARKUP: &str = "<script>alert(1)</script>";
    let mut socket = target.open_socket().await?;
    socket.send(&json!({"type": "join", "room": target.room, "recent": 0})).await?;
    answer_to(&mut socket, "joined").await?;
    socket.send(&json!({"type": "send", "room": target.room, "id": "markup", "text": MARKUP})).await?;
    let message = answer_to(&mut socket, "message").await?;
    let page = target.request("GET", &format!("/rooms/{}", target.room), &target.cookie_line(), "");
    let encoded = "/rooms/%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let bad_room = target.request("GET", encoded, &target.cookie_line(), "");
    let name = login(target, "", &json!({"name": MARKUP}).to_string()).await?;
    let form = "Content-Type: application/x-www-form-urlencoded\r\nAccept: text/html\r\n";
    let next = "name=&next=%2F%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    let pages = [
        ("the room's page", target.exchange(&page).await?),
        ("the page of an invalid room", target.exchange(&bad_room).await?),
        ("the answer to a login with markup", name),
        ("the login page", target.exchange(&target.request("POST", "/login", form, next)).await?),
    ];
    if let Some((name, _)) = pages.iter().find(|(_, answer)| answer.text.contains(MARKUP)) {
        return Ok(Observation::new(false, format!("{name} contains the markup")));
    }
    let statuses: Vec<_> = pages.iter().map(|(_, answer)| status_name(answer.status)).collect();
    let ok = message["text"] == MARKUP && pages[2].1.status == 400 && matches!(pages[1].1.status, 400 | 404);
    Ok(Observation::new(ok, format!("the message is text; pages without markup ({})", statuses.join(", "))))
}
