//! Presence in Redis: leases, and the boards of rooms and instances.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisResult, Script, Value, aio::MultiplexedConnection};
use trunkline_domain::{Holder, Room, Shift, Snapshot, Turn, UserName, millis};

use super::{RedisBus, keys::Keys, link::Link, no_answer};
use crate::{Beat, BusError, Lease, Presence, Report};

static PRESENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence.lua")));
static BOARD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("board.lua")));

/// Rooms in one pipeline: what other commands wait for at most, about a millisecond.
const ROOMS_AT_ONCE: usize = 128;

/// Makes the scripts known to the Redis at the other end.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
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
    fn presence(&self, link: &Link, what: &str, room: &Room, holder: Holder) -> Cmd {
        let keys = Keys::of(&self.config.prefix, room);
        let lease = self.config.lease;
        let may_end = link.since().elapsed() >= lease;
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(PRESENCE.get_hash()).arg(2).arg(keys.leases()).arg(keys.turn());
        // Two thirds: within the rest somebody else renews their own, finds it, and tells.
        let until = lease * 2 / 3;
        cmd.arg(what).arg(holder.to_string()).arg(millis(until).max(1)).arg(u8::from(may_end)).arg(keys.channel());
        cmd
    }

    /// The call of the board script, to which notes may be added.
    fn board(&self, name: &str) -> Cmd {
        let prefix = &self.config.prefix;
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(BOARD.get_hash()).arg(2);
        // One hash tag, and no room's: those have no colon.
        cmd.arg(format!("{prefix}:{{:{name}}}")).arg(format!("{prefix}:{{:{name}}}:notes"));
        cmd.arg(millis(self.config.lease).max(1));
        cmd
    }
}

impl Presence for RedisBus {
    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn enter(&self, room: &Room, holder: Holder, users: &[UserName]) -> Result<(), BusError> {
        let link = self.link()?;
        let mut call = self.presence(&link, "enter", room, holder);
        for user in users {
            call.arg(user.as_str());
        }
        link.query::<i64>(call).await.map(drop)
    }

    async fn shift(
        &self,
        room: &Room,
        holder: Holder,
        came: &[UserName],
        went: &[UserName],
    ) -> Result<Lease, BusError> {
        let link = self.link()?;
        let mut call = self.presence(&link, "shift", room, holder);
        call.arg(came.len());
        for user in came.iter().chain(went) {
            call.arg(user.as_str());
        }
        let turn: i64 = link.query(call).await?;
        Ok(if turn < 0 { Lease::Lost } else { Lease::Held })
    }

    async fn beat(&self, holder: Holder, rooms: &[Room]) -> Result<Vec<Beat>, BusError> {
        let link = self.link()?;
        let mut beats = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let calls = rooms.iter().map(|room| self.presence(&link, "beat", room, holder)).collect();
            let turns: Vec<i64> = link.query_all(calls).await?;
            beats.extend(turns.into_iter().map(|turn| u64::try_from(turn).map_or(Beat::Lost, Beat::Renewed)));
        }
        Ok(beats)
    }

    async fn present(&self, room: &Room) -> Result<Snapshot, BusError> {
        let link = self.link()?;
        // Nobody's own question: no lease is spared.
        let reply: Vec<Value> = link.query(self.presence(&link, "present", room, Holder(0))).await?;
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
