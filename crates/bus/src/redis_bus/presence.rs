//! Presence in Redis: who lives, who is where, and the boards of rooms and instances.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisResult, Script, Value, aio::MultiplexedConnection};
use trunkline_domain::{ChangeKind, InstanceId, PresenceChange, PresenceSnapshot, Room, UserName, millis};

use super::{RedisBus, keys::Keys, no_answer};
use crate::{BusError, InstanceRegistry, InstanceReport, Lease, LeaseStatus, PresenceStore};

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("beat.lua")));
static PRESENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence.lua")));
static BOARD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("board.lua")));

/// Rooms in one pipeline: what other commands wait for at most, about a millisecond.
const ROOMS_AT_ONCE: usize = 128;

/// Makes the scripts known to the Redis at the other end.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    BEAT.load_async(connection).await?;
    PRESENCE.load_async(connection).await?;
    BOARD.load_async(connection).await?;
    Ok(())
}

/// Reads the payload of a change, without its kind byte. `None` for what no gateway of this version wrote.
pub(super) fn change(payload: &str) -> Option<PresenceChange> {
    let mut words = payload.split(' ');
    let version = words.next()?.parse().ok()?;
    let instance = words.next()?.parse().ok()?;
    let (mut joined, mut left) = (Vec::new(), Vec::new());
    let (mut all, mut lapsed) = (None::<Vec<UserName>>, false);
    for word in words {
        if let Some(all) = &mut all {
            all.push(word.parse().ok()?);
            continue;
        }
        match word.split_at_checked(1)? {
            ("=", "") => all = Some(Vec::new()),
            ("!", "") => lapsed = true,
            ("+", user) => joined.push(user.parse().ok()?),
            ("-", user) => left.push(user.parse().ok()?),
            _ => return None,
        }
    }
    let kind = match all {
        Some(users) => ChangeKind::Replaced(users),
        None if lapsed => ChangeKind::Expired,
        None if joined.is_empty() && left.is_empty() => ChangeKind::Left,
        None => ChangeKind::Updated { joined, left },
    };
    Some(PresenceChange { version, instance, kind })
}

/// Reads the reply of `present`.
fn snapshot(reply: &[Value]) -> Option<PresenceSnapshot> {
    let (version, rest) = reply.split_first()?;
    let mut snapshot = PresenceSnapshot { version: text(version)?.parse().ok()?, instances: Vec::new() };
    for pair in rest.chunks_exact(2) {
        let Value::Array(users) = &pair[1] else { return None };
        // Somebody else's names are passed over.
        let users = users.iter().filter_map(|user| text(user)?.parse().ok()).collect();
        snapshot.instances.push((text(&pair[0])?.parse().ok()?, users));
    }
    Some(snapshot)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// A note of a board: name, text, and its age in milliseconds.
type Note = (String, String, u64);

impl RedisBus {
    /// The call of the presence script, but for what is special to what it is to do.
    fn presence(&self, what: &str, room: &Room, instance: InstanceId) -> Cmd {
        let keys = Keys::of(&self.config.prefix, room);
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(PRESENCE.get_hash()).arg(2).arg(keys.holders()).arg(keys.turn());
        cmd.arg(what).arg(instance.to_string()).arg(keys.channel());
        cmd
    }

    /// Does the same in many rooms. Answers for each.
    async fn everywhere(&self, what: &str, rooms: &[Room], instance: InstanceId) -> Result<Vec<i64>, BusError> {
        let link = self.link()?;
        let mut changes = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let calls = rooms.iter().map(|room| self.presence(what, room, instance)).collect();
            changes.extend(link.query_all::<Vec<i64>>(calls).await?);
        }
        Ok(changes)
    }

    /// A key of no room: in braces, as one hash tag, a name that no room has.
    fn common(&self, name: &str) -> String {
        format!("{}:{{:{name}}}", self.config.prefix)
    }

    /// The call of the board script, to which notes may be added.
    fn board(&self, name: &str) -> Cmd {
        let ends = self.common(name);
        let notes = format!("{ends}:notes");
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(BOARD.get_hash()).arg(2).arg(ends).arg(notes);
        cmd.arg(millis(self.config.lease).max(1));
        cmd
    }
}

impl PresenceStore for RedisBus {
    async fn replace(&self, room: &Room, instance: InstanceId, users: &[UserName]) -> Result<(), BusError> {
        let mut call = self.presence("enter", room, instance);
        for user in users {
            call.arg(user.as_str());
        }
        self.link()?.query::<i64>(call).await.map(drop)
    }

    async fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        joined: &[UserName],
        left: &[UserName],
    ) -> Result<Lease, BusError> {
        let mut call = self.presence("shift", room, instance);
        call.arg(joined.len());
        for user in joined.iter().chain(left) {
            call.arg(user.as_str());
        }
        let change: i64 = self.link()?.query(call).await?;
        Ok(if change < 0 { Lease::Lost } else { Lease::Held })
    }

    async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<LeaseStatus>, BusError> {
        let changes = self.everywhere("check", rooms, instance).await?;
        Ok(changes
            .into_iter()
            .map(|change| u64::try_from(change).map_or(LeaseStatus::Lost, LeaseStatus::Held))
            .collect())
    }

    async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
        self.everywhere("end", rooms, instance).await.map(drop)
    }

    async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
        // Nobody's own question.
        let reply: Vec<Value> = self.link()?.query(self.presence("present", room, InstanceId(0))).await?;
        snapshot(&reply).ok_or_else(|| no_answer("the presence script answered no snapshot"))
    }

    async fn set_room_counts(&self, rooms: &[(Room, usize)]) -> Result<(), BusError> {
        let link = self.link()?;
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let mut call = self.board("rooms");
            for (room, count) in rooms {
                call.arg(room.as_str()).arg(if *count == 0 { String::new() } else { count.to_string() });
            }
            link.query::<()>(call).await?;
        }
        Ok(())
    }

    async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
        let notes: Vec<Note> = self.link()?.query(self.board("rooms")).await?;
        Ok(notes.into_iter().filter_map(|(room, count, _)| Some((room.parse().ok()?, count.parse().ok()?))).collect())
    }
}

impl InstanceRegistry for RedisBus {
    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn heartbeat(&self, instance: InstanceId) -> Result<Vec<InstanceId>, BusError> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(BEAT.get_hash()).arg(1).arg(self.common("alive"));
        call.arg(instance.to_string()).arg(millis(self.config.lease / 2).max(1));
        let alive: Vec<String> = self.link()?.query(call).await?;
        // Somebody else's notes are passed over.
        Ok(alive.iter().filter_map(|instance| instance.parse().ok()).collect())
    }

    async fn report(&self, instance: InstanceId, text: &str) -> Result<(), BusError> {
        let mut call = self.board("instances");
        call.arg(instance.to_string()).arg(text);
        self.link()?.query(call).await
    }

    async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
        let notes: Vec<Note> = self.link()?.query(self.board("instances")).await?;
        let report = |(instance, text, age): Note| {
            Some(InstanceReport { instance: instance.parse().ok()?, text, age: Duration::from_millis(age) })
        };
        Ok(notes.into_iter().filter_map(report).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_are_read_as_the_script_tells_them() {
        let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob-".parse().unwrap());
        let instance = InstanceId(10);
        let told = |words: &str| change(&format!("7 {instance}{words}")).map(|change| change.kind);
        assert_eq!(told(""), Some(ChangeKind::Left));
        assert_eq!(told(" !"), Some(ChangeKind::Expired));
        assert_eq!(told(" = ann bob-"), Some(ChangeKind::Replaced(vec![ann.clone(), bob.clone()])));
        assert_eq!(told(" -ann +bob-"), Some(ChangeKind::Updated { joined: vec![bob], left: vec![ann] }));
        for words in [" ", " ann", " =", " *ann", " +a\u{1}", " + ann"] {
            assert!(!matches!(told(words), Some(ChangeKind::Updated { .. } | ChangeKind::Left)), "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".*") {
            let _ = change(&payload);
        }
    }
}
