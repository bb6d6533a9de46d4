//! The Lua scripts of presence, quiet rooms, read marks and shared limits, and their calls. The publish script is compiled per run of Redis: see
//! [`Generation`](super::connection::Generation).

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisResult, Script, aio::MultiplexedConnection};
use trunkline_domain::{InstanceId, Position, UserId, millis};

use super::{keys::Keys, mode::PubSubMode};

static PRESENCE: LazyLock<Script> = LazyLock::new(|| presence_script(PubSubMode::Classic));
static PRESENCE_SHARDED: LazyLock<Script> = LazyLock::new(|| presence_script(PubSubMode::Sharded));
static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heartbeat.lua")));
static REGISTRY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("registry.lua")));
static HEADS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heads.lua")));
static LEASES: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("leases.lua")));
static SEEN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("seen.lua")));
pub(super) static CHARGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("charge.lua")));
pub(super) static SOCKETS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sockets.lua")));

fn presence_script(mode: PubSubMode) -> Script {
    Script::new(&mode.script_text(include_str!("presence.lua")))
}

fn presence_of(mode: PubSubMode) -> &'static Script {
    match mode {
        PubSubMode::Classic => &PRESENCE,
        PubSubMode::Sharded => &PRESENCE_SHARDED,
    }
}

/// Loads the scripts into the Redis at the other end of `connection`.
pub(super) async fn load(connection: &mut MultiplexedConnection, mode: PubSubMode) -> RedisResult<()> {
    for script in [presence_of(mode), &HEADS, &LEASES, &HEARTBEAT, &REGISTRY, &SEEN, &CHARGE, &SOCKETS] {
        script.load_async(connection).await?;
    }
    Ok(())
}

/// The call of presence.lua for `instance`. Append the arguments of the operation.
pub(super) fn presence(mode: PubSubMode, operation: &str, keys: &Keys, instance: InstanceId) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(presence_of(mode).get_hash()).arg(3);
    cmd.arg(keys.instances()).arg(keys.version()).arg(keys.users(instance));
    cmd.arg(operation).arg(instance.to_string()).arg(keys.channel());
    cmd
}

/// The call of presence.lua for a snapshot. `instances` are those that are known to have users in the room: Redis moves a
/// slot key by key, and refuses the call unless the users of all of them are at the same server.
pub(super) fn snapshot(mode: PubSubMode, keys: &Keys, instances: &[InstanceId]) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(presence_of(mode).get_hash()).arg(2 + instances.len()).arg(keys.instances()).arg(keys.version());
    for instance in instances {
        cmd.arg(keys.users(*instance));
    }
    cmd.arg("snapshot").arg("").arg(keys.channel());
    cmd
}

/// The call of heads.lua for the logs of `rooms`.
pub(super) fn heads(rooms: &[(Keys, Position)]) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(HEADS.get_hash()).arg(rooms.len());
    for (keys, _) in rooms {
        cmd.arg(keys.log());
    }
    for (_, head) in rooms {
        cmd.arg(head.to_string());
    }
    cmd
}

/// The call of leases.lua: checks the leases of `instance` in `rooms`.
pub(super) fn leases(rooms: &[Keys], instance: InstanceId) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(LEASES.get_hash()).arg(3 * rooms.len());
    for keys in rooms {
        cmd.arg(keys.instances()).arg(keys.version()).arg(keys.users(instance));
    }
    cmd.arg(instance.to_string());
    cmd
}

/// The call of seen.lua: the mark of `user` moves to `pos` and lives for `expiry_ms`.
pub(super) fn mark_seen(keys: &Keys, user: &UserId, pos: Position, expiry_ms: u64) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(SEEN.get_hash()).arg(2).arg(keys.log()).arg(keys.seen());
    cmd.arg(user.as_str()).arg(pos.to_string()).arg(expiry_ms);
    cmd
}

/// The call of heartbeat.lua: `instance` counts as alive for `lifetime`.
pub(super) fn heartbeat(key: &str, instance: InstanceId, lifetime: Duration) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(HEARTBEAT.get_hash()).arg(1).arg(key).arg(instance.to_string()).arg(millis(lifetime).max(1));
    cmd
}

/// The call of registry.lua. Append the records to set; without any, the script returns all records.
pub(super) fn registry(key: &str, lifetime: Duration) -> Cmd {
    let mut cmd = redis::cmd("EVALSHA");
    cmd.arg(REGISTRY.get_hash()).arg(2).arg(key).arg(format!("{key}:notes")).arg(millis(lifetime).max(1));
    cmd
}
