//! The probe: it checks that Redis is the same as before, and exercises every command that sends and presence need, with
//! the rights of this user, on keys and on a channel that are named like those of a room.

use std::slice;

use redis::{Cmd, Pipeline, RedisError, RedisResult, Script, Value};
use trunkline_domain::InstanceId;
use trunkline_redis::{ServerFacts, ServerRequirement, info_field};

use super::generation::Generation;
use crate::redis::{
    config::PROBE_INTERVAL,
    error::ends_link,
    keys::Keys,
    mode::PubSubMode,
    publish::{self, Retention},
    scripts,
};

/// What a probe found besides a working connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ProbeResult {
    /// Whether a message can be sent; otherwise why not.
    pub(in super::super) writes: Result<(), String>,
    /// Whether presence can be updated; otherwise why not. `None` if this probe did not exercise it.
    pub(in super::super) presence: Option<Result<(), String>>,
    /// Whether Redis keeps all data when its memory is full; otherwise what it does.
    pub(in super::super) eviction: Result<(), String>,
    /// Whether the slot of the probe's keys is no longer at this server, or on its way.
    pub(in super::super) is_redirected: bool,
}

/// What a Redis says about itself.
pub(super) struct ServerInfo {
    pub(super) generation: Generation,
    pub(super) eviction: Result<(), String>,
}

impl ServerInfo {
    /// Reads the replies to `INFO server`, `INFO replication` and `INFO memory`.
    ///
    /// # Errors
    /// Why this Redis cannot be used.
    pub(super) fn read(
        [server, replication, memory]: [&str; 3],
        read_generation: fn(&str, &str) -> Option<Generation>,
    ) -> Result<Self, String> {
        let facts = ServerFacts::from_info(&[server, replication].join("\n"));
        // A server that does not say what it is must not be taken for a master.
        info_field(replication, "role").ok_or("INFO of this Redis lacks the role, so it may be a replica")?;
        // The connector has checked the mode, which a server keeps as long as it runs.
        facts.check(ServerRequirement { mode: None, master: true }).map_err(|unusable| unusable.to_string())?;
        let generation = read_generation(server, replication)
            .ok_or("INFO of this Redis lacks run_id or master_replid, so positions cannot be assigned")?;
        Ok(Self { generation, eviction: check_eviction(memory) })
    }
}

/// Redis with a memory limit must refuse writes at the limit. All other policies delete keys: logs, sessions, ids.
fn check_eviction(memory: &str) -> Result<(), String> {
    let limited = info_field(memory, "maxmemory").is_some_and(|bytes| bytes != "0");
    match info_field(memory, "maxmemory_policy") {
        Some(policy) if limited && policy != "noeviction" => Err(format!(
            "Redis deletes room logs and sessions when its memory is full (maxmemory-policy {policy}); set noeviction"
        )),
        _ => Ok(()),
    }
}

/// The commands of a probe, in the order of their replies: the INFOs, and those that sends and presence need.
pub(super) struct Probe {
    commands: Pipeline,
    writes: Vec<&'static str>,
    presence: Vec<&'static str>,
}

/// Commands in publish.lua, for the reason when this user may not run one of them.
const PUBLISH_COMMANDS: &str = "time hget hmget hset hexists hlen hkeys hdel hgetall xadd xrange xrevrange pexpire pexpireat \
    publish (spublish in a cluster)";
/// Commands in presence.lua, leases.lua, heartbeat.lua and registry.lua.
const PRESENCE_COMMANDS: &str = "time get set incr del pexpire pttl sadd srem scard sismember smembers zadd zrem zrange \
    zrangebyscore zremrangebyscore hget hset hdel publish (spublish in a cluster)";

impl Probe {
    /// Probe `number` of a link: the id of the message that it sends. Presence is exercised if `with_presence`.
    pub(super) fn new(
        keys: &Keys,
        (publish_script, mode): (&Script, PubSubMode),
        number: u64,
        with_presence: bool,
    ) -> Self {
        let mut commands = info();
        let expiry = 3 * PROBE_INTERVAL;
        let retention = Retention { entries: 1, millis: expiry.as_millis() as u64 };
        let (log, ids) = (keys.log(), [keys.ids(0), keys.ids(1)]);
        let mut add = |what: &'static str, command: Cmd, group: &mut Vec<&'static str>| {
            commands.add_command(command);
            group.push(what);
        };
        let mut writes = Vec::new();
        // Apart from the script, so that a refused write does not look like a lost subscription.
        add("publish", redis::cmd(mode.publish()).arg(keys.channel()).arg("").take(), &mut writes);
        let publish = publish::plain(publish_script, keys, retention, ("probe", &number.to_string(), "probe"));
        add("sending a message", publish, &mut writes);
        add("xrevrange", redis::cmd("XREVRANGE").arg(&log).arg("+").arg("-").arg("COUNT").arg(1).take(), &mut writes);
        add("xrange", redis::cmd("XRANGE").arg(&log).arg("0-0").arg("+").arg("COUNT").arg(1).take(), &mut writes);
        let expire = redis::cmd("PEXPIRE").arg(keys.meta()).arg(retention.millis).arg("GT").take();
        add("pexpire", expire, &mut writes);
        add("del", redis::cmd("DEL").arg(&ids).take(), &mut writes);

        let mut presence = Vec::new();
        if with_presence {
            let (instance, alive, registry) = (InstanceId(0), keys.other("alive"), keys.other("registry"));
            let call = |operation| scripts::presence(mode, operation, keys, instance);
            add("presence: replace", call("replace").arg("probe").take(), &mut presence);
            add("presence: update", call("update").arg(1).arg("other").arg("probe").take(), &mut presence);
            add("presence: check", scripts::leases(slice::from_ref(keys), instance), &mut presence);
            add("presence: snapshot", scripts::snapshot(mode, keys, &[instance]), &mut presence);
            add("presence: expire", call("expire"), &mut presence);
            add("heartbeat", scripts::heartbeat(&alive, instance, expiry), &mut presence);
            let set = scripts::registry(&registry, expiry).arg("probe").arg("1").arg("other").arg("").take();
            add("registry: set", set, &mut presence);
            add("registry: read", scripts::registry(&registry, expiry), &mut presence);
            let keys = [keys.version(), alive, format!("{registry}:notes"), registry];
            // In case DEL is not permitted: the keys of a process are written by no other one.
            for key in &keys {
                add("pexpire", redis::cmd("PEXPIRE").arg(key).arg(retention.millis).take(), &mut presence);
            }
            add("del", redis::cmd("DEL").arg(&keys).take(), &mut presence);
        }
        commands.ignore_errors();
        Self { commands, writes, presence }
    }

    pub(super) fn commands(&self) -> &Pipeline {
        &self.commands
    }

    /// Evaluates the replies. `presence` is `None` if it was not exercised.
    ///
    /// # Errors
    /// Why the connection must be replaced.
    pub(super) fn evaluate(
        &self,
        replies: Vec<RedisResult<Value>>,
        generation: &Generation,
        read_generation: fn(&str, &str) -> Option<Generation>,
    ) -> Result<ProbeResult, String> {
        let mut replies = replies.into_iter();
        let mut text = || -> Result<String, String> {
            let reply = replies.next().ok_or("Redis sent fewer replies than there were commands")?;
            redis::from_redis_value(reply.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
        };
        let (server, replication, memory) = (text()?, text()?, text()?);
        let info = ServerInfo::read([&server, &replication, &memory], read_generation)?;
        if info.generation != *generation {
            return Err("Redis was restarted or failed over".to_owned());
        }
        let mut is_redirected = false;
        let writes = first_error(&self.writes, &mut replies, PUBLISH_COMMANDS, &mut is_redirected)?;
        let presence = first_error(&self.presence, &mut replies, PRESENCE_COMMANDS, &mut is_redirected)?;
        let presence = (!self.presence.is_empty()).then_some(presence);
        Ok(ProbeResult { writes, presence, eviction: info.eviction, is_redirected })
    }
}

/// `INFO` for each section that [`ServerInfo`] reads. One command per section: several sections in one need Redis 7, and
/// proxies in front of Redis know one.
pub(super) fn info() -> Pipeline {
    let mut commands = redis::pipe();
    for section in ["server", "replication", "memory"] {
        commands.cmd("INFO").arg(section);
    }
    commands
}

/// The first error among the replies to the commands named `names`. `Err` if it means that the connection must be replaced.
/// A redirection is no error: it says nothing about the server, only that the probe needs other keys.
fn first_error(
    names: &[&str],
    replies: &mut impl Iterator<Item = RedisResult<Value>>,
    script_commands: &str,
    is_redirected: &mut bool,
) -> Result<Result<(), String>, String> {
    let mut result = Ok(());
    for name in names {
        let reply = replies.next().ok_or("Redis sent fewer replies than there were commands")?;
        if let Err(error) = reply.and_then(Value::extract_error) {
            if ends_link(&error) {
                return Err(error.to_string());
            }
            if matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN")) {
                *is_redirected = true;
                continue;
            }
            result = result.and(Err(explain(name, &error, script_commands)));
        }
    }
    Ok(result)
}

/// What failed and why. Redis does not say which command of a script was denied, so all of them are listed.
fn explain(name: &str, error: &RedisError, script_commands: &str) -> String {
    let error = error.to_string();
    if error.contains("can't run this command") {
        return format!("{name}: {error}; the script needs: {script_commands}");
    }
    format!("{name}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICATION: &str = "role:master\r\nmaster_replid:ff\r\n";
    const MEMORY: &str = "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n";

    fn read(server: &str, replication: &str, memory: &str) -> Result<Result<(), String>, String> {
        let server = format!("{server}\r\nrun_id:aa\r\n");
        ServerInfo::read([&server, replication, memory], Generation::from_info).map(|info| info.eviction)
    }

    #[test]
    fn unsuitable_servers_are_named() {
        assert_eq!(read("redis_version:7.0.15", REPLICATION, MEMORY), Ok(Ok(())));
        assert_eq!(read("redis_version:7.2.4\r\nvalkey_version:8.0.1", REPLICATION, MEMORY), Ok(Ok(())));
        assert_eq!(read("redis_version:10.0.0", REPLICATION, MEMORY), Ok(Ok(())));
        let old = read("redis_version:6.2.14", REPLICATION, MEMORY).unwrap_err();
        assert!(old.contains("6.2.14") && old.contains("7.0"), "{old}");
        let replica = read("redis_version:7.0.0", "role:slave\r\nmaster_replid:ff\r\n", MEMORY).unwrap_err();
        assert!(replica.contains("replica"), "{replica}");
        let no_role = read("redis_version:7.0.0", "master_replid:ff\r\n", MEMORY).unwrap_err();
        assert!(no_role.contains("role"), "{no_role}");
        let no_generation = read("redis_version:7.0.0", "role:master\r\n", MEMORY).unwrap_err();
        assert!(no_generation.contains("master_replid"), "{no_generation}");
    }

    #[test]
    fn eviction_is_named_only_if_memory_is_limited() {
        let eviction = |memory: &str| read("redis_version:7.0.0", REPLICATION, memory).unwrap();
        assert_eq!(eviction("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"), Ok(()));
        assert_eq!(eviction("maxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n"), Ok(()));
        let evicting = eviction("maxmemory:1048576\r\nmaxmemory_policy:volatile-lru\r\n").unwrap_err();
        assert!(evicting.contains("volatile-lru") && evicting.contains("noeviction"), "{evicting}");
    }
}
