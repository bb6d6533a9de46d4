//! A session store in memory, for a gateway that runs alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};
use trunkline_domain::{DisplayName, Millis, UserId, UserName, millis};

use crate::{
    BackendSessions, KeyChange, Keyring, Lifetimes, MAX_SESSIONS_PER_USER, SecretDigest, SecretSalt, SessionBackend,
    SessionError, SessionEvent, SessionEvents, SessionRecord, Sid, UserTag, events::EVENT_BUFFER,
};

/// A session store in this process's memory. Its sessions end with the process.
pub type MemorySessions = BackendSessions<MemoryBackend>;

impl MemorySessions {
    /// An empty store.
    #[must_use]
    pub fn in_memory(lifetimes: Lifetimes) -> Self {
        Self::new(MemoryBackend(Arc::new(MemoryState {
            lifetimes,
            started: Instant::now(),
            table: Mutex::default(),
            events: broadcast::channel(EVENT_BUFFER).0,
        })))
    }
}

/// The backend of [`MemorySessions`]. It holds at most [`CAPACITY`](Self::CAPACITY) sessions; beyond that, logins fail
/// with [`Unavailable`](SessionError::Unavailable).
#[derive(Clone, Debug)]
pub struct MemoryBackend(Arc<MemoryState>);

impl MemoryBackend {
    /// Maximum number of sessions. Each takes about 1 KiB.
    pub const CAPACITY: usize = 100_000;
}

#[derive(Debug)]
struct MemoryState {
    lifetimes: Lifetimes,
    started: Instant,
    table: Mutex<SessionTable>,
    events: broadcast::Sender<SessionEvent>,
}

#[derive(Debug, Default)]
struct SessionTable {
    sessions: HashMap<Sid, SessionRow>,
    /// The session that holds each name.
    names: HashMap<UserTag, Sid>,
    /// The sessions of each external user, oldest first.
    users: HashMap<UserTag, Vec<Sid>>,
    /// Until when new sessions are refused.
    kept_out: HashMap<UserTag, Millis>,
    /// Number of sessions at which expired ones are removed next.
    sweep_at: usize,
}

#[derive(Debug)]
struct SessionRow {
    user: UserId,
    name: Option<DisplayName>,
    created: Millis,
    expires: Millis,
    /// `None` until the first key is issued.
    keys: Option<Keyring>,
    state: String,
}

impl SessionTable {
    /// The session, unless it is gone or has expired.
    fn live(&mut self, sid: Sid, now: Millis) -> Option<&mut SessionRow> {
        self.sessions.get_mut(&sid).filter(|session| now < session.expires)
    }

    fn remove(&mut self, sid: Sid) -> Option<SessionRow> {
        let session = self.sessions.remove(&sid)?;
        if self.names.get(&sid.tag()) == Some(&sid) {
            self.names.remove(&sid.tag());
        }
        if let Some(sids) = self.users.get_mut(&sid.tag()) {
            sids.retain(|other| *other != sid);
            if sids.is_empty() {
                self.users.remove(&sid.tag());
            }
        }
        Some(session)
    }

    fn check_kept_out(&self, tag: UserTag, now: Millis) -> Result<(), SessionError> {
        match self.kept_out.get(&tag).map_or(0, |until| until.saturating_sub(now)) {
            0 => Ok(()),
            left => Err(SessionError::KeptOut(Duration::from_millis(left))),
        }
    }

    /// Creates a session without a key.
    fn create(&mut self, sid: Sid, user: UserId, name: Option<DisplayName>, now: Millis) -> Result<(), SessionError> {
        self.sweep(now);
        if self.sessions.len() >= MemoryBackend::CAPACITY {
            return Err(SessionError::unavailable(format!(
                "the store holds its maximum of {} sessions",
                MemoryBackend::CAPACITY
            )));
        }
        let expires = now + millis(Lifetimes::CLAIM_TIMEOUT);
        let session = SessionRow { user, name, created: now, expires, keys: None, state: String::new() };
        self.sessions.insert(sid, session);
        Ok(())
    }

    /// Removes expired sessions whenever the number of sessions has doubled since the last time.
    fn sweep(&mut self, now: Millis) {
        if self.sessions.len() >= self.sweep_at.clamp(64, MemoryBackend::CAPACITY) {
            self.sessions.retain(|_, session| now < session.expires);
            self.names.retain(|_, sid| self.sessions.contains_key(sid));
            self.users.retain(|_, sids| {
                sids.retain(|sid| self.sessions.contains_key(sid));
                !sids.is_empty()
            });
            self.sweep_at = self.sessions.len() * 2;
        }
    }
}

impl SessionRow {
    /// Counts as use.
    fn extend(&mut self, lifetimes: &Lifetimes, now: Millis) {
        self.expires = (now + millis(lifetimes.idle)).min(self.created + millis(lifetimes.max));
    }
}

impl MemoryState {
    /// The table, and the time in ms since the store was created.
    fn lock(&self) -> (MutexGuard<'_, SessionTable>, Millis) {
        // No operation panics between two changes of the table, so a poisoned lock guards consistent data.
        (self.table.lock().unwrap_or_else(PoisonError::into_inner), millis(self.started.elapsed()))
    }
}

impl SessionBackend for MemoryBackend {
    async fn claim(&self, sid: Sid, user: &UserName) -> Result<bool, SessionError> {
        let (mut table, now) = self.0.lock();
        table.check_kept_out(sid.tag(), now)?;
        if let Some(holder) = table.names.get(&sid.tag()).copied() {
            if table.live(holder, now).is_some() {
                return Ok(false);
            }
            table.remove(holder);
        }
        table.create(sid, user.clone().into(), None, now)?;
        table.names.insert(sid.tag(), sid);
        Ok(true)
    }

    async fn start(&self, sid: Sid, user: &UserId, name: Option<&DisplayName>) -> Result<Option<Sid>, SessionError> {
        let (mut table, now) = self.0.lock();
        table.check_kept_out(sid.tag(), now)?;
        let sids = table.users.get(&sid.tag()).map_or(&[][..], Vec::as_slice);
        if sids.len() >= MAX_SESSIONS_PER_USER {
            return Ok(sids.first().copied());
        }
        table.create(sid, user.clone(), name.cloned(), now)?;
        table.users.entry(sid.tag()).or_default().push(sid);
        Ok(None)
    }

    async fn keep_out(&self, tag: UserTag, user: &UserId, time: Option<Duration>) -> Result<Vec<Sid>, SessionError> {
        let (mut table, now) = self.0.lock();
        if let Some(time) = time {
            table.kept_out.retain(|_, until| now < *until);
            table.kept_out.insert(tag, now + millis(time));
        }
        let named = table.names.get(&tag).filter(|sid| table.sessions.get(sid).is_some_and(|row| row.user == *user));
        let external = table.users.get(&tag).into_iter().flatten();
        Ok(external.chain(named).copied().collect())
    }

    async fn issue(&self, sid: Sid, key: SecretDigest, state: &str) -> Result<bool, SessionError> {
        let (mut table, now) = self.0.lock();
        let Some(session) = table.live(sid, now).filter(|session| session.keys.is_none()) else { return Ok(false) };
        session.keys = Some(Keyring::new(key));
        state.clone_into(&mut session.state);
        session.expires = now + millis(self.0.lifetimes.before_first_use());
        Ok(true)
    }

    async fn find(&self, sid: Sid, key: SecretDigest) -> Result<Option<SessionRecord>, SessionError> {
        let (mut table, now) = self.0.lock();
        let lifetimes = &self.0.lifetimes;
        let found = table.live(sid, now).and_then(|session| {
            if !session.keys.as_mut()?.present(key, now, millis(lifetimes.grace)) {
                return None;
            }
            session.extend(lifetimes, now);
            Some(SessionRecord { user: session.user.clone(), name: session.name.clone(), state: session.state.clone() })
        });
        Ok(found)
    }

    async fn change(
        &self,
        sid: Sid,
        key: SecretDigest,
        change: KeyChange,
        state: &str,
    ) -> Result<Option<Vec<SecretSalt>>, SessionError> {
        let (mut table, now) = self.0.lock();
        let grace = millis(self.0.lifetimes.grace);
        Ok(table.live(sid, now).and_then(|session| {
            let salts = session.keys.as_mut()?.change(key, change, now, grace)?;
            state.clone_into(&mut session.state);
            session.extend(&self.0.lifetimes, now);
            Some(salts)
        }))
    }

    async fn touch(&self, sid: Sid) -> Result<Option<Duration>, SessionError> {
        let (mut table, now) = self.0.lock();
        Ok(table.live(sid, now).map(|session| {
            session.extend(&self.0.lifetimes, now);
            Duration::from_millis((session.created + millis(self.0.lifetimes.max)).saturating_sub(now))
        }))
    }

    async fn end(&self, sid: Sid) -> Result<(), SessionError> {
        let (mut table, _) = self.0.lock();
        if table.remove(sid).is_some() {
            // An error means that there is no receiver.
            let _ = self.0.events.send(SessionEvent::Ended(sid));
        }
        Ok(())
    }

    fn events(&self) -> SessionEvents {
        SessionEvents::new(self.0.events.subscribe())
    }

    async fn health(&self) -> Result<Vec<String>, SessionError> {
        Ok(Vec::new())
    }
}
