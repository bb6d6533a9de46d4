//! Sessions in this process, for a gateway that runs alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};
use trunkline_domain::{Millis, UserName, millis};

use crate::{
    Backend, Digest, Ending, Endings, Found, KeyChange, Lifetimes, Salt, SessionError, Sid, Store, endings,
    keyring::Keyring,
};

/// Sessions in this process. They end with it.
pub type MemorySessions = Store<Memory>;

impl MemorySessions {
    /// An empty store.
    #[must_use]
    pub fn in_memory(lifetimes: Lifetimes) -> Self {
        Self::new(Memory(Arc::new(Shared {
            lifetimes,
            started: Instant::now(),
            records: Mutex::default(),
            endings: broadcast::channel(endings::BACKLOG).0,
        })))
    }
}

/// The backend of [`MemorySessions`]: at most [`Memory::CAPACITY`] sessions, beyond which logins are
/// [`Unavailable`](SessionError::Unavailable).
#[derive(Clone, Debug)]
pub struct Memory(Arc<Shared>);

impl Memory {
    /// How many sessions can live at a time; each takes about a kilobyte.
    pub const CAPACITY: usize = 100_000;
}

#[derive(Debug)]
struct Shared {
    lifetimes: Lifetimes,
    started: Instant,
    records: Mutex<Records>,
    endings: broadcast::Sender<Ending>,
}

#[derive(Debug, Default)]
struct Records {
    sessions: HashMap<Sid, Record>,
    /// By [`Sid::name_tag`]: who holds the name.
    names: HashMap<String, Sid>,
    /// At how many sessions the expired ones are swept out next.
    sweep_at: usize,
}

#[derive(Debug)]
struct Record {
    user: UserName,
    created: Millis,
    expires: Millis,
    /// None until the first key is issued.
    keys: Option<Keyring>,
    state: String,
}

impl Records {
    /// A session that lives.
    fn live(&mut self, sid: Sid, now: Millis) -> Option<&mut Record> {
        self.sessions.get_mut(&sid).filter(|record| now < record.expires)
    }

    fn remove(&mut self, sid: Sid) -> Option<Record> {
        let record = self.sessions.remove(&sid)?;
        if self.names.get(&sid.name_tag()) == Some(&sid) {
            self.names.remove(&sid.name_tag());
        }
        Some(record)
    }

    /// Forgets expired sessions, whenever their number has doubled since the last time.
    fn sweep(&mut self, now: Millis) {
        if self.sessions.len() >= self.sweep_at.clamp(64, Memory::CAPACITY) {
            self.sessions.retain(|_, record| now < record.expires);
            self.names.retain(|_, sid| self.sessions.contains_key(sid));
            self.sweep_at = self.sessions.len() * 2;
        }
    }
}

impl Record {
    /// Counts as use.
    fn extend(&mut self, lifetimes: &Lifetimes, now: Millis) {
        self.expires = (now + millis(lifetimes.idle)).min(self.created + millis(lifetimes.max));
    }
}

impl Shared {
    /// The records and the time.
    fn lock(&self) -> (MutexGuard<'_, Records>, Millis) {
        // No operation panics half-way, so what a panicking thread left is whole.
        (self.records.lock().unwrap_or_else(PoisonError::into_inner), millis(self.started.elapsed()))
    }
}

impl Backend for Memory {
    async fn claim(&self, sid: Sid, user: &UserName) -> Result<bool, SessionError> {
        let (mut records, now) = self.0.lock();
        if let Some(holder) = records.names.get(&sid.name_tag()).copied() {
            if records.live(holder, now).is_some() {
                return Ok(false);
            }
            records.remove(holder);
        }
        records.sweep(now);
        if records.sessions.len() >= Self::CAPACITY {
            return Err(SessionError::unavailable("too many sessions"));
        }
        let expires = now + millis(Lifetimes::CLAIM);
        let record = Record { user: user.clone(), created: now, expires, keys: None, state: String::new() };
        records.sessions.insert(sid, record);
        records.names.insert(sid.name_tag(), sid);
        Ok(true)
    }

    async fn issue(&self, sid: Sid, key: Digest, state: &str) -> Result<bool, SessionError> {
        let (mut records, now) = self.0.lock();
        let Some(record) = records.live(sid, now).filter(|record| record.keys.is_none()) else { return Ok(false) };
        record.keys = Some(Keyring::new(key));
        state.clone_into(&mut record.state);
        record.expires = now + millis(self.0.lifetimes.unconfirmed());
        Ok(true)
    }

    async fn find(&self, sid: Sid, key: Digest) -> Result<Option<Found>, SessionError> {
        let (mut records, now) = self.0.lock();
        let lifetimes = &self.0.lifetimes;
        let found = records.live(sid, now).and_then(|record| {
            if !record.keys.as_mut()?.present(key, now, millis(lifetimes.grace)) {
                return None;
            }
            record.extend(lifetimes, now);
            Some(Found { user: record.user.clone(), state: record.state.clone() })
        });
        Ok(found)
    }

    async fn change(
        &self,
        sid: Sid,
        key: Digest,
        change: KeyChange,
        state: &str,
    ) -> Result<Option<Vec<Salt>>, SessionError> {
        let (mut records, now) = self.0.lock();
        let grace = millis(self.0.lifetimes.grace);
        Ok(records.live(sid, now).and_then(|record| {
            let salts = record.keys.as_mut()?.change(key, change, now, grace)?;
            state.clone_into(&mut record.state);
            record.extend(&self.0.lifetimes, now);
            Some(salts)
        }))
    }

    async fn touch(&self, sid: Sid) -> Result<Option<Duration>, SessionError> {
        let (mut records, now) = self.0.lock();
        Ok(records.live(sid, now).map(|record| {
            record.extend(&self.0.lifetimes, now);
            Duration::from_millis((record.created + millis(self.0.lifetimes.max)).saturating_sub(now))
        }))
    }

    async fn end(&self, sid: Sid) -> Result<(), SessionError> {
        let (mut records, _) = self.0.lock();
        if records.remove(sid).is_some() {
            // Nobody listens: then nobody needs to know.
            let _ = self.0.endings.send(Ending::Of(sid));
        }
        Ok(())
    }

    fn endings(&self) -> Endings {
        Endings::new(self.0.endings.subscribe())
    }

    async fn health(&self) -> Result<(), SessionError> {
        Ok(())
    }
}
