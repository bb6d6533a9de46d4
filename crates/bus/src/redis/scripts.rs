//! The Lua scripts of presence and of shared limits. The publish script is compiled per run of Redis: see
//! [`Generation`](super::connection::Generation).

use std::sync::LazyLock;

use redis::{RedisResult, Script, aio::MultiplexedConnection};

pub(super) static PRESENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence.lua")));
pub(super) static HEARTBEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("heartbeat.lua")));
pub(super) static REGISTRY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("registry.lua")));
pub(super) static CHARGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("charge.lua")));
pub(super) static SOCKETS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sockets.lua")));

/// Loads the scripts into the Redis at the other end of `connection`.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    for script in [&PRESENCE, &HEARTBEAT, &REGISTRY, &CHARGE, &SOCKETS] {
        script.load_async(connection).await?;
    }
    Ok(())
}
