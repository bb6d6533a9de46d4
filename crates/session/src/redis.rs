//! Sessions in Redis, which every instance knows.
//!
//! A session is a hash `<prefix>:s:{<name tag>}:<id>` with the fields `user`, `created` (ms), `keys` (see
//! `keyring.lua`) and `state` (JSON). The claim on its name is a string `<prefix>:n:{<name tag>}` that holds the sid.
//! Both share a hash tag and an expiry, so that one script changes both, on Redis Cluster too. Redis's clock counts.
//!
//! The Redis user needs `EVALSHA`, `SCRIPT LOAD`, `PING` and the commands of connecting; `GET`, `SET`, `DEL`, `HGET`,
//! `HMGET`, `HSET`, `PEXPIRE`, `PEXPIREAT` and `TIME` on the keys `<prefix>:s:*` and `<prefix>:n:*`; `PUBLISH` and
//! `SUBSCRIBE` on the channel `<prefix>:ended`, or `<prefix>:ended:<database>` for a database other than 0.

mod connect;
mod link;
mod listener;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redis::Script;
use tokio::sync::broadcast;
use trunkline_domain::{UserName, millis};

use self::{link::RedisConnections, listener::Listener};
use crate::{
    Backend, Digest, Ending, Endings, Found, InvalidSettings, KeyChange, Lifetimes, Salt, SessionError, Sid, Store,
    endings,
};

/// How long Redis may take to answer one command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions in Redis 6.2 or later, or Valkey.
///
/// Look-up and [`touch`](crate::Sessions::touch) share one connection; login, logout and rotation take one from a pool
/// of eight, behind which they wait for a second at most. Every operation ends within three seconds. While Redis is
/// away operations are [`Unavailable`](SessionError::Unavailable), and the first one after it is back connects again.
pub type RedisSessions = Store<Redis>;

impl RedisSessions {
    /// Sessions in the Redis at `url` (`redis://[user[:password]@]host[:port][/db]`), under keys that begin with
    /// `prefix`, `tl` by convention. Does not connect: it does not matter whether Redis is there yet.
    ///
    /// # Errors
    /// [`Url`](InvalidSettings::Url), [`Prefix`](InvalidSettings::Prefix).
    pub fn in_redis(url: &str, prefix: &str, lifetimes: Lifetimes) -> Result<Self, InvalidSettings> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-' | b'.');
        if prefix.is_empty() || !prefix.bytes().all(fits) {
            return Err(InvalidSettings::Prefix);
        }
        Ok(Self::new(Redis(Arc::new(Shared {
            prefix: prefix.to_owned(),
            lifetimes,
            connections: RedisConnections::new(url)?,
            scripts: Scripts::default(),
            endings: broadcast::channel(endings::BACKLOG).0,
            listener: Mutex::default(),
        }))))
    }
}

/// The backend of [`RedisSessions`].
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    prefix: String,
    lifetimes: Lifetimes,
    connections: RedisConnections,
    scripts: Scripts,
    endings: broadcast::Sender<Ending>,
    /// Started by the first who wants to hear; ends with the last handle.
    listener: Mutex<Option<Listener>>,
}

impl Shared {
    fn session(&self, sid: Sid) -> String {
        format!("{}:s:{{{}}}:{}", self.prefix, sid.name_tag(), sid.id())
    }

    fn name(&self, sid: Sid) -> String {
        format!("{}:n:{{{}}}", self.prefix, sid.name_tag())
    }

    /// Pub/sub ignores databases (<https://redis.io/docs/latest/develop/pubsub/#database--scoping>), so the name tells
    /// them apart.
    fn channel(&self) -> String {
        match self.connections.database() {
            0 => format!("{}:ended", self.prefix),
            database => format!("{}:ended:{database}", self.prefix),
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Redis").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

struct Scripts {
    claim: Script,
    issue: Script,
    find: Script,
    change: Script,
    touch: Script,
    end: Script,
    /// Answers, and shows that scripts may be run.
    health: Script,
}

/// A script with the functions of `keyring.lua` in front.
macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("redis/keyring.lua"), include_str!($name)))
    };
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            claim: script!("redis/claim.lua"),
            issue: script!("redis/issue.lua"),
            find: script!("redis/find.lua"),
            change: script!("redis/change.lua"),
            touch: script!("redis/touch.lua"),
            end: script!("redis/end.lua"),
            health: Script::new("return 1"),
        }
    }
}

impl Backend for Redis {
    async fn claim(&self, sid: Sid, user: &UserName) -> Result<bool, SessionError> {
        let shared = &*self.0;
        let mut claim = shared.scripts.claim.key(shared.session(sid));
        claim.key(shared.name(sid)).arg(sid.to_string()).arg(user.as_str()).arg(millis(Lifetimes::CLAIM));
        shared.connections.on_pool(&claim).await
    }

    async fn issue(&self, sid: Sid, key: Digest, state: &str) -> Result<bool, SessionError> {
        let shared = &*self.0;
        let mut issue = shared.scripts.issue.key(shared.session(sid));
        issue.key(shared.name(sid)).arg(key.to_string()).arg(state);
        issue.arg(millis(shared.lifetimes.unconfirmed())).arg(millis(shared.lifetimes.max));
        shared.connections.on_pool(&issue).await
    }

    async fn find(&self, sid: Sid, key: Digest) -> Result<Option<Found>, SessionError> {
        let shared = &*self.0;
        let mut find = shared.scripts.find.key(shared.session(sid));
        find.key(shared.name(sid)).arg(key.to_string());
        find.arg(millis(shared.lifetimes.idle)).arg(millis(shared.lifetimes.max)).arg(millis(shared.lifetimes.grace));
        let found: Option<(String, String)> = shared.connections.on_shared(&find).await?;
        found
            .map(|(user, state)| Ok(Found { user: user.parse().map_err(SessionError::unavailable)?, state }))
            .transpose()
    }

    async fn change(
        &self,
        sid: Sid,
        key: Digest,
        change: KeyChange,
        state: &str,
    ) -> Result<Option<Vec<Salt>>, SessionError> {
        let shared = &*self.0;
        let (what, digest, salt) = match change {
            KeyChange::Keep => ("keep", String::new(), String::new()),
            KeyChange::Rotate { digest, salt } => ("rotate", digest.to_string(), salt.to_string()),
            KeyChange::Renew { digest } => ("renew", digest.to_string(), String::new()),
        };
        let mut change = shared.scripts.change.key(shared.session(sid));
        change.key(shared.name(sid)).arg(key.to_string()).arg(what).arg(digest).arg(salt).arg(state);
        change.arg(millis(shared.lifetimes.idle)).arg(millis(shared.lifetimes.max)).arg(millis(shared.lifetimes.grace));
        let salts: Option<Vec<String>> = shared.connections.on_pool(&change).await?;
        let parse = |salt: String| salt.parse().map_err(SessionError::unavailable);
        salts.map(|salts| salts.into_iter().map(parse).collect()).transpose()
    }

    async fn touch(&self, sid: Sid) -> Result<Option<Duration>, SessionError> {
        let shared = &*self.0;
        let mut touch = shared.scripts.touch.key(shared.session(sid));
        touch.key(shared.name(sid)).arg(millis(shared.lifetimes.idle)).arg(millis(shared.lifetimes.max));
        let left: Option<u64> = shared.connections.on_shared(&touch).await?;
        Ok(left.map(Duration::from_millis))
    }

    async fn end(&self, sid: Sid) -> Result<(), SessionError> {
        let shared = &*self.0;
        let mut end = shared.scripts.end.key(shared.session(sid));
        end.key(shared.name(sid)).arg(sid.to_string()).arg(shared.channel());
        shared.connections.on_pool::<bool>(&end).await.map(|_| ())
    }

    fn endings(&self) -> Endings {
        let shared = &*self.0;
        let endings = Endings::new(shared.endings.subscribe());
        let mut listener = shared.listener.lock().unwrap_or_else(PoisonError::into_inner);
        // A runtime that ends takes the listener with it: the next to call has one that lives.
        if !listener.as_ref().is_some_and(Listener::is_running) {
            let connector = shared.connections.connector();
            *listener = Some(Listener::start(connector, shared.channel(), shared.endings.clone()));
        }
        endings
    }

    async fn health(&self) -> Result<(), SessionError> {
        let health = self.0.scripts.health.prepare_invoke();
        self.0.connections.on_shared::<()>(&health).await
    }
}
