//! A session store in Redis, shared by all instances.
//!
//! | key | contents |
//! | --- | --- |
//! | `<prefix>:s:{<tag>}:<id>` | a session. A hash: `user`, `name` if there is one, `created` (ms), `keys` (see `keyring.lua`) and `state` (JSON) |
//! | `<prefix>:n:{<tag>}` | the claim on a name. A string: the [`Sid`] that holds it, a space, the user. Expires with the session |
//! | `<prefix>:u:{<tag>}` | the sessions of an external user. A sorted set: [`Sid`]s by the time of their absolute limit |
//! | `<prefix>:x:{<tag>}` | exists for as long as new sessions are refused |
//!
//! `<tag>` is the session's [`UserTag`], which is the hash tag of all keys that one script uses: each script stays in one
//! slot of a Redis Cluster and declares all its keys. All times are Redis's own.
//!
//! While a slot moves to another master, Redis refuses (`TRYAGAIN`) a script of which some keys exist and others do not:
//! every operation of an external user, whose `n` key does not exist, and every login. Operations wait for up to 2 s, which
//! is far longer than a slot takes that `redis-cli --cluster reshard` moves. In a slot that stays open for longer they fail:
//! the client gets 503 and keeps its cookie.
//!
//! The Redis user needs `EVALSHA`, `SCRIPT LOAD`, `PING` and the commands of connecting; `GET`, `SET`, `DEL`, `HGET`,
//! `HMGET`, `HSET`, `PEXPIRE`, `PEXPIREAT`, `PTTL`, `TIME`, `ZADD`, `ZRANGE`, `ZREM` and `ZREMRANGEBYSCORE` on these keys;
//! `PUBLISH` and `SUBSCRIBE` on the channel `<prefix>:ended`, or `<prefix>:ended:<database>` for a database other than 0. In a
//! cluster: `SPUBLISH` and `SSUBSCRIBE` instead, `ASKING`, `CLUSTER SHARDS`, `CLUSTER SLOTS` and `CLUSTER INFO`.

mod call;
mod cluster;
mod link;
mod listener;
mod notices;
mod router;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redis::Script;
use tokio::sync::broadcast;
use trunkline_domain::{DisplayName, UserId, UserName, millis};
use trunkline_redis::RedisOptions;

use self::{call::RedisCall, listener::EventListener, notices::NoticeSender, router::Router};
use crate::{
    BackendSessions, InvalidSettings, KeyChange, Lifetimes, MAX_SESSIONS_PER_USER, SecretDigest, SecretSalt,
    SessionBackend, SessionError, SessionEvent, SessionEvents, SessionRecord, Sid, UserTag, events::EVENT_BUFFER,
};

/// A session store in Redis 7.0 or later, or Valkey.
///
/// All operations share one connection, and a second one is subscribed to ended sessions. Login, logout and key rotation are
/// sent only when the connection has answered a `PING`. Every operation ends within 3 s. A connection on which a command
/// timed out is replaced. While Redis cannot be reached, operations fail with
/// [`Unavailable`](SessionError::Unavailable), and each connects again, at most once per 200 ms.
///
/// In a Redis Cluster there is one such connection per master, and operations go to the owner of the user's slot. They follow
/// slots that move, for up to 2 s. While a master is away, operations fail for its users only. The subscription is at the owner
/// of one sharded channel. If that master is away, sessions end all the same, and other instances are notified once it is
/// back.
pub type RedisSessions = BackendSessions<RedisBackend>;

impl RedisSessions {
    /// A store in the Redis at `url`, which is one that [`RedisUrl`](trunkline_redis::RedisUrl) takes.
    ///
    /// All keys and channels begin with `prefix`, by convention `tl`. Deployments that share a Redis need different
    /// prefixes or databases. Does not connect: Redis need not be reachable yet.
    ///
    /// # Errors
    /// - [`Redis`](InvalidSettings::Redis) if the URL cannot be used.
    /// - [`Prefix`](InvalidSettings::Prefix) if the prefix is empty or contains other characters than letters, digits,
    ///   `:`, `_`, `-` and `.`.
    pub fn in_redis(url: &str, prefix: &str, lifetimes: Lifetimes) -> Result<Self, InvalidSettings> {
        Self::in_redis_with(url, &RedisOptions::default(), prefix, lifetimes)
    }

    /// As [`in_redis`](Self::in_redis), with what the URL does not say: certificates, and the credentials of Sentinels.
    ///
    /// # Errors
    /// As [`in_redis`](Self::in_redis); [`Redis`](InvalidSettings::Redis) also if the options cannot be used.
    pub fn in_redis_with(
        url: &str,
        options: &RedisOptions,
        prefix: &str,
        lifetimes: Lifetimes,
    ) -> Result<Self, InvalidSettings> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.');
        if prefix.is_empty() || !prefix.bytes().all(fits) {
            return Err(InvalidSettings::Prefix);
        }
        let connections = Arc::new(Router::new(url, options)?);
        // Pub/sub ignores databases (<https://redis.io/docs/latest/develop/pubsub/#database--scoping>), so the name contains
        // the database.
        let channel = match connections.connector().database() {
            0 => format!("{prefix}:ended"),
            database => format!("{prefix}:ended:{database}"),
        };
        let events = broadcast::channel(EVENT_BUFFER).0;
        Ok(Self::new(RedisBackend(Arc::new(RedisState {
            prefix: prefix.to_owned(),
            lifetimes,
            scripts: SessionScripts::default(),
            notices: NoticeSender::new(connections.clone(), channel.clone(), events.clone()),
            connections,
            channel,
            events,
            listener: Mutex::default(),
        }))))
    }
}

/// The backend of [`RedisSessions`].
#[derive(Clone)]
pub struct RedisBackend(Arc<RedisState>);

struct RedisState {
    prefix: String,
    lifetimes: Lifetimes,
    connections: Arc<Router>,
    scripts: SessionScripts,
    /// The channel on which sids of ended sessions are published.
    channel: String,
    events: broadcast::Sender<SessionEvent>,
    notices: NoticeSender,
    /// Started by the first call of [`SessionBackend::events`], stopped with the last clone of the store.
    listener: Mutex<Option<EventListener>>,
}

impl RedisState {
    fn session_key(&self, sid: Sid) -> String {
        format!("{}:s:{{{}}}:{}", self.prefix, sid.tag(), sid.id())
    }

    fn name_key(&self, tag: UserTag) -> String {
        format!("{}:n:{{{tag}}}", self.prefix)
    }

    fn user_key(&self, tag: UserTag) -> String {
        format!("{}:u:{{{tag}}}", self.prefix)
    }

    fn keep_out_key(&self, tag: UserTag) -> String {
        format!("{}:x:{{{tag}}}", self.prefix)
    }

    /// Runs a script that creates a session. Returns `None` if it did. If it did not for want of room, returns the sid
    /// that the script names, or an empty string.
    async fn create(&self, script: RedisCall<'_>) -> Result<Option<String>, SessionError> {
        let reply: Vec<String> = self.connections.run(script).await?;
        match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["created"] => Ok(None),
            ["full", ref sid @ ..] => Ok(Some(sid.concat())),
            ["kept_out", left] => {
                let left = left.parse().map_err(SessionError::unavailable)?;
                Err(SessionError::KeptOut(Duration::from_millis(left)))
            }
            _ => Err(SessionError::unavailable("a script replied with something else than documented")),
        }
    }

    fn with_lifetimes<'a>(&self, call: RedisCall<'a>) -> RedisCall<'a> {
        let Lifetimes { idle, max, grace } = self.lifetimes;
        call.arg(millis(idle)).arg(millis(max)).arg(millis(grace))
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the URL, which may contain a password.
        f.debug_struct("RedisBackend").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

struct SessionScripts {
    claim: Script,
    start: Script,
    keep_out: Script,
    issue: Script,
    find: Script,
    change: Script,
    touch: Script,
    end: Script,
    /// Proves that Redis answers and that scripts may be run.
    health: Script,
}

/// A script that begins with the functions of `keyring.lua`.
macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("redis/keyring.lua"), include_str!($name)))
    };
}

impl Default for SessionScripts {
    fn default() -> Self {
        Self {
            claim: script!("redis/claim.lua"),
            start: script!("redis/start.lua"),
            keep_out: script!("redis/keep_out.lua"),
            issue: script!("redis/issue.lua"),
            find: script!("redis/find.lua"),
            change: script!("redis/change.lua"),
            touch: script!("redis/touch.lua"),
            end: script!("redis/end.lua"),
            health: Script::new("return 1"),
        }
    }
}

impl SessionBackend for RedisBackend {
    async fn claim(&self, sid: Sid, user: &UserName) -> Result<bool, SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.name_key(sid.tag()), shared.keep_out_key(sid.tag())];
        let claim = RedisCall::script(&shared.scripts.claim, &keys).arg(sid.to_string()).arg(user.as_str());
        Ok(shared.create(claim.arg(millis(Lifetimes::CLAIM_TIMEOUT))).await?.is_none())
    }

    async fn start(&self, sid: Sid, user: &UserId, name: Option<&DisplayName>) -> Result<Option<Sid>, SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.user_key(sid.tag()), shared.keep_out_key(sid.tag())];
        let start = RedisCall::script(&shared.scripts.start, &keys).arg(sid.to_string()).arg(user.as_str());
        let start = start.arg(name.map_or("", DisplayName::as_str)).arg(millis(Lifetimes::CLAIM_TIMEOUT));
        let oldest = shared.create(start.arg(millis(shared.lifetimes.max)).arg(MAX_SESSIONS_PER_USER)).await?;
        oldest.map(|sid| sid.parse().map_err(SessionError::unavailable)).transpose()
    }

    async fn keep_out(&self, tag: UserTag, user: &UserId, time: Option<Duration>) -> Result<Vec<Sid>, SessionError> {
        let shared = &*self.0;
        let keys = [shared.name_key(tag), shared.user_key(tag), shared.keep_out_key(tag)];
        let time = time.map(|time| millis(time).to_string()).unwrap_or_default();
        let keep_out = RedisCall::script(&shared.scripts.keep_out, &keys).arg(user.as_str()).arg(time);
        let sids: Vec<String> = shared.connections.run(keep_out).await?;
        sids.iter().map(|sid| sid.parse().map_err(SessionError::unavailable)).collect()
    }

    async fn issue(&self, sid: Sid, key: SecretDigest, state: &str) -> Result<bool, SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.name_key(sid.tag())];
        let issue = RedisCall::script(&shared.scripts.issue, &keys).arg(key.to_string()).arg(state);
        let issue = issue.arg(millis(shared.lifetimes.before_first_use())).arg(millis(shared.lifetimes.max));
        shared.connections.run(issue).await
    }

    async fn find(&self, sid: Sid, key: SecretDigest) -> Result<Option<SessionRecord>, SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.name_key(sid.tag())];
        let find = shared.with_lifetimes(RedisCall::script(&shared.scripts.find, &keys).arg(key.to_string()));
        let record: Option<(String, Option<String>, String)> = shared.connections.run(find.repeatable()).await?;
        let Some((user, name, state)) = record else { return Ok(None) };
        let user = user.parse().map_err(SessionError::unavailable)?;
        let name = name.map(|name| name.parse()).transpose().map_err(SessionError::unavailable)?;
        Ok(Some(SessionRecord { user, name, state }))
    }

    async fn change(
        &self,
        sid: Sid,
        key: SecretDigest,
        change: KeyChange,
        state: &str,
    ) -> Result<Option<Vec<SecretSalt>>, SessionError> {
        let shared = &*self.0;
        let (what, digest, salt) = match change {
            KeyChange::Keep => ("keep", String::new(), String::new()),
            KeyChange::Rotate { digest, salt } => ("rotate", digest.to_string(), salt.to_string()),
            KeyChange::Renew { digest } => ("renew", digest.to_string(), String::new()),
        };
        let keys = [shared.session_key(sid), shared.name_key(sid.tag())];
        let change =
            RedisCall::script(&shared.scripts.change, &keys).arg(key.to_string()).arg(what).arg(digest).arg(salt);
        let change = shared.with_lifetimes(change.arg(state));
        let salts: Option<Vec<String>> = shared.connections.run(change).await?;
        let parse = |salt: String| salt.parse().map_err(SessionError::unavailable);
        salts.map(|salts| salts.into_iter().map(parse).collect()).transpose()
    }

    async fn touch(&self, sid: Sid) -> Result<Option<Duration>, SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.name_key(sid.tag())];
        let touch = RedisCall::script(&shared.scripts.touch, &keys).arg(millis(shared.lifetimes.idle));
        let left: Option<u64> = shared.connections.run(touch.arg(millis(shared.lifetimes.max)).repeatable()).await?;
        Ok(left.map(Duration::from_millis))
    }

    async fn end(&self, sid: Sid) -> Result<(), SessionError> {
        let shared = &*self.0;
        let keys = [shared.session_key(sid), shared.name_key(sid.tag()), shared.user_key(sid.tag())];
        let end = RedisCall::script(&shared.scripts.end, &keys).arg(sid.to_string());
        if shared.connections.cluster().is_none() {
            return shared.connections.run::<bool>(end.arg(&shared.channel)).await.map(|_| ());
        }
        // The channel has another slot. If the reply is lost, so is the notice: sockets end at the next look-up of their
        // session.
        if shared.connections.run(end.arg("")).await? {
            shared.notices.send(sid).await;
        }
        Ok(())
    }

    fn events(&self) -> SessionEvents {
        let shared = &*self.0;
        let events = SessionEvents::new(shared.events.subscribe());
        let mut listener = shared.listener.lock().unwrap_or_else(PoisonError::into_inner);
        // The listener ends with the runtime on which it was started; the next call starts another one.
        if !listener.as_ref().is_some_and(EventListener::is_running) {
            let router = shared.connections.clone();
            *listener = Some(EventListener::start(router, shared.channel.clone(), shared.events.clone()));
        }
        events
    }

    async fn health(&self) -> Result<Vec<String>, SessionError> {
        self.0.connections.check(&RedisCall::script(&self.0.scripts.health, &[]).repeatable()).await
    }
}
