//! Presence in Redis: who lives, who is where, and the boards of rooms and instances.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisResult, Script, Value, aio::MultiplexedConnection};
use trunkline_domain::{Holder, Room, Shift, Snapshot, Turn, UserName, millis};

use super::{RedisBus, keys::Keys, no_answer};
use crate::{BusError, Lease, Presence, Report, Standing};

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
pub(super) fn turn(payload: &str) -> Option<Turn> {
    let mut words = payload.split(' ');
    let number = words.next()?.parse().ok()?;
    let holder = words.next()?.parse().ok()?;
    let (mut came, mut went) = (Vec::new(), Vec::new());
    let (mut all, mut lapsed) = (None::<Vec<UserName>>, false);
    for word in words {
        if let Some(all) = &mut all {
            all.push(word.parse().ok()?);
            continue;
        }
        match word.split_at_checked(1)? {
            ("=", "") => all = Some(Vec::new()),
            ("!", "") => lapsed = true,
            ("+", user) => came.push(user.parse().ok()?),
            ("-", user) => went.push(user.parse().ok()?),
            _ => return None,
        }
    }
    let shift = match all {
        Some(users) => Shift::Whole(users),
        None if lapsed => Shift::Lapsed,
        None if came.is_empty() && went.is_empty() => Shift::Gone,
        None => Shift::Moves { came, went },
    };
    Some(Turn { number, holder, shift })
}

/// Reads the reply of `present`.
fn snapshot(reply: &[Value]) -> Option<Snapshot> {
    let (number, rest) = reply.split_first()?;
    let mut snapshot = Snapshot { number: text(number)?.parse().ok()?, holders: Vec::new() };
    for pair in rest.chunks_exact(2) {
        let Value::Array(users) = &pair[1] else { return None };
        // Somebody else's names are passed over.
        let users = users.iter().filter_map(|user| text(user)?.parse().ok()).collect();
        snapshot.holders.push((text(&pair[0])?.parse().ok()?, users));
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
    fn presence(&self, what: &str, room: &Room, holder: Holder) -> Cmd {
        let keys = Keys::of(&self.config.prefix, room);
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(PRESENCE.get_hash()).arg(2).arg(keys.holders()).arg(keys.turn());
        cmd.arg(what).arg(holder.to_string()).arg(keys.channel());
        cmd
    }

    /// Does the same in many rooms. Answers for each.
    async fn everywhere(&self, what: &str, rooms: &[Room], holder: Holder) -> Result<Vec<i64>, BusError> {
        let link = self.link()?;
        let mut turns = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let calls = rooms.iter().map(|room| self.presence(what, room, holder)).collect();
            turns.extend(link.query_all::<Vec<i64>>(calls).await?);
        }
        Ok(turns)
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

impl Presence for RedisBus {
    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn beat(&self, holder: Holder) -> Result<Vec<Holder>, BusError> {
        let mut call = redis::cmd("EVALSHA");
        call.arg(BEAT.get_hash()).arg(1).arg(self.common("alive"));
        call.arg(holder.to_string()).arg(millis(self.config.lease / 2).max(1));
        let alive: Vec<String> = self.link()?.query(call).await?;
        // Somebody else's notes are passed over.
        Ok(alive.iter().filter_map(|holder| holder.parse().ok()).collect())
    }

    async fn enter(&self, room: &Room, holder: Holder, users: &[UserName]) -> Result<(), BusError> {
        let mut call = self.presence("enter", room, holder);
        for user in users {
            call.arg(user.as_str());
        }
        self.link()?.query::<i64>(call).await.map(drop)
    }

    async fn shift(
        &self,
        room: &Room,
        holder: Holder,
        came: &[UserName],
        went: &[UserName],
    ) -> Result<Lease, BusError> {
        let mut call = self.presence("shift", room, holder);
        call.arg(came.len());
        for user in came.iter().chain(went) {
            call.arg(user.as_str());
        }
        let turn: i64 = self.link()?.query(call).await?;
        Ok(if turn < 0 { Lease::Lost } else { Lease::Held })
    }

    async fn check(&self, holder: Holder, rooms: &[Room]) -> Result<Vec<Standing>, BusError> {
        let turns = self.everywhere("check", rooms, holder).await?;
        Ok(turns.into_iter().map(|turn| u64::try_from(turn).map_or(Standing::Lost, Standing::Held)).collect())
    }

    async fn end(&self, holder: Holder, rooms: &[Room]) -> Result<(), BusError> {
        self.everywhere("end", rooms, holder).await.map(drop)
    }

    async fn present(&self, room: &Room) -> Result<Snapshot, BusError> {
        // Nobody's own question.
        let reply: Vec<Value> = self.link()?.query(self.presence("present", room, Holder(0))).await?;
        snapshot(&reply).ok_or_else(|| no_answer("the presence script answered no snapshot"))
    }

    async fn list(&self, rooms: &[(Room, usize)]) -> Result<(), BusError> {
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

    async fn rooms(&self) -> Result<Vec<(Room, usize)>, BusError> {
        let notes: Vec<Note> = self.link()?.query(self.board("rooms")).await?;
        Ok(notes.into_iter().filter_map(|(room, count, _)| Some((room.parse().ok()?, count.parse().ok()?))).collect())
    }

    async fn report(&self, holder: Holder, about: &str) -> Result<(), BusError> {
        let mut call = self.board("instances");
        call.arg(holder.to_string()).arg(about);
        self.link()?.query(call).await
    }

    async fn reports(&self) -> Result<Vec<Report>, BusError> {
        let notes: Vec<Note> = self.link()?.query(self.board("instances")).await?;
        let report = |(holder, about, age): Note| {
            Some(Report { holder: holder.parse().ok()?, about, age: Duration::from_millis(age) })
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
        let holder = Holder(10);
        let told = |words: &str| turn(&format!("7 {holder}{words}")).map(|turn| turn.shift);
        assert_eq!(told(""), Some(Shift::Gone));
        assert_eq!(told(" !"), Some(Shift::Lapsed));
        assert_eq!(told(" = ann bob-"), Some(Shift::Whole(vec![ann.clone(), bob.clone()])));
        assert_eq!(told(" -ann +bob-"), Some(Shift::Moves { came: vec![bob], went: vec![ann] }));
        for words in [" ", " ann", " =", " *ann", " +a\u{1}", " + ann"] {
            assert!(!matches!(told(words), Some(Shift::Moves { .. } | Shift::Gone)), "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".*") {
            let _ = turn(&payload);
        }
    }
}
