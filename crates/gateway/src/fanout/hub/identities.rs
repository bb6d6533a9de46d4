//! The identities of a hub's connections: they are replaced, and they end.

use std::{rc::Rc, time::Duration};

use trunkline_domain::{CloseCode, UserId};
use trunkline_session::Sid;

use super::{Hub, TIMER_GRANULARITY};
use crate::{identity::Identity, ids::ConnectionKey, ticks::Tick};

/// The reason in the close frame of a connection whose identity has ended.
pub(super) const EXPIRED: &str = "the token has expired";

impl Hub {
    /// Replaces the identity of a connection by another of the same user, which ends after `left`.
    pub(crate) fn replace_identity(&mut self, key: ConnectionKey, identity: Rc<Identity>, left: Option<Duration>) {
        let expiry = left.map(|left| self.expiry(left));
        if let Some(connection) = self.connection(key) {
            (connection.identity, connection.expiry) = (identity, expiry);
        }
        if let Some(expiry) = expiry {
            self.schedule(key.slot, expiry);
        }
    }

    /// Returns the tick at which an identity ends that now has `left`. The clock of the hub is up to one granularity late, and
    /// was rounded down.
    pub(super) fn expiry(&self, left: Duration) -> Tick {
        self.now + left + (TIMER_GRANULARITY + Tick::UNIT)
    }

    /// Closes every connection whose identity has ended, in one pass over the connections. For a hub whose clock stood still.
    pub(crate) fn end_expired(&mut self, has_ended: impl Fn(&Identity) -> bool) {
        let now = self.now;
        for (_, (_, connection)) in &mut self.connections {
            if has_ended(&connection.identity) {
                connection.close(Some(CloseCode::SessionEnded.code()), EXPIRED, now);
            }
        }
    }

    /// Closes every connection of these sessions with code 4401, in one pass over the connections. `sids` must be sorted.
    pub(crate) fn end_sessions(&mut self, sids: &[Sid]) {
        let now = self.now;
        for (_, (_, connection)) in &mut self.connections {
            if connection.identity.session().is_some_and(|sid| sids.binary_search(sid).is_ok()) {
                connection.close(Some(CloseCode::SessionEnded.code()), "the session ended", now);
            }
        }
    }

    /// Closes every connection of the user with code 4401.
    pub(crate) fn end_user(&mut self, user: &UserId) {
        let now = self.now;
        for (_, (_, connection)) in &mut self.connections {
            if connection.identity.user() == user {
                connection.close(Some(CloseCode::SessionEnded.code()), "the service disconnected the user", now);
            }
        }
    }

    /// Returns the sessions of all connections, each once.
    pub(crate) fn sessions(&self) -> Vec<Sid> {
        let sessions = self.connections.iter().filter_map(|(_, (_, connection))| connection.identity.session());
        let mut sids: Vec<Sid> = sessions.copied().collect();
        sids.sort_unstable();
        sids.dedup();
        sids
    }
}

#[cfg(test)]
mod tests {
    use std::{
        task::{Context, Poll, Waker},
        time::{SystemTime, UNIX_EPOCH},
    };

    use trunkline_domain::Event;

    use super::*;
    use crate::random::Random;

    const SECOND: Duration = Duration::from_secs(1);

    fn hub() -> Hub {
        Hub::new(Duration::from_secs(25), Random::new(1))
    }

    fn is_open(hub: &mut Hub, key: ConnectionKey) -> bool {
        hub.poll_readable(key, &Context::from_waker(Waker::noop())) == Poll::Ready(Ok(()))
    }

    #[test]
    fn ended_sessions_lose_all_their_connections_and_others_none() {
        let mut hub = hub();
        let user: trunkline_domain::UserName = "ann".parse().unwrap();
        let [mut ended, kept] = [0, 1].map(|_| [0, 1].map(|_| Sid::new(&user)));
        let identity = |sid| Rc::new(Identity::new(user.clone().into()).of_session(sid));
        let keys = [ended, ended, kept].map(|sids| sids.map(|sid| hub.open(identity(sid), None, &Event::Ping)));
        let of_token = hub.open(Rc::new(Identity::new(user.clone().into())), None, &Event::Ping);
        assert_eq!(hub.sessions().len(), 4);
        ended.sort_unstable();
        hub.end_sessions(&ended);
        let are_open: Vec<bool> = keys.as_flattened().iter().map(|key| is_open(&mut hub, *key)).collect();
        assert_eq!(are_open, [false, false, false, false, true, true]);
        assert!(is_open(&mut hub, of_token));
    }

    /// Ticks four times per second, and returns the time at which the connection was closed.
    fn run_until_closed(hub: &mut Hub, key: ConnectionKey, from: Duration) -> Duration {
        let mut now = from;
        while is_open(hub, key) {
            assert!(now < from + 100 * SECOND, "still open");
            now += TIMER_GRANULARITY;
            hub.tick(now);
            hub.received_frame(key);
            hub.bytes_taken(key);
        }
        now
    }

    #[test]
    fn connection_closes_within_a_second_after_its_identity_ends() {
        for seconds in [0, 1, 20, 64, 90] {
            let mut hub = hub();
            hub.tick(SECOND);
            let identity = Rc::new(Identity::new("ann".parse().unwrap()));
            let key = hub.open(identity, Some(seconds * SECOND), &Event::Ping);
            let closed = run_until_closed(&mut hub, key, SECOND) - SECOND;
            assert!((seconds * SECOND..=(seconds + 1) * SECOND).contains(&closed), "{seconds}: {closed:?}");
            assert_eq!(hub.remove(key), Some(4401));
        }
    }

    #[test]
    fn newer_identity_moves_the_end_in_both_directions() {
        for (first, second) in [(5, 30), (30, 5)] {
            let mut hub = hub();
            let identity = Rc::new(Identity::new("ann".parse().unwrap()));
            let key = hub.open(identity.clone(), Some(first * SECOND), &Event::Ping);
            hub.tick(SECOND);
            hub.replace_identity(key, identity, Some(second * SECOND));
            let closed = run_until_closed(&mut hub, key, SECOND);
            assert!(((1 + second) * SECOND..=(2 + second) * SECOND).contains(&closed), "{second}: {closed:?}");
        }
    }

    #[test]
    fn identities_that_ended_while_the_process_was_stopped_are_closed_at_once() {
        let mut hub = hub();
        let now = SystemTime::now();
        let user = Identity::new("ann".parse().unwrap());
        let until = |end| Rc::new(user.clone().until(end));
        let ended = hub.open(until(UNIX_EPOCH), Some(90 * SECOND), &Event::Ping);
        let kept = hub.open(until(now + 60 * SECOND), Some(150 * SECOND), &Event::Ping);
        let endless = hub.open(Rc::new(user.clone()), None, &Event::Ping);
        hub.end_expired(|identity| identity.has_ended(now));
        assert_eq!([ended, kept, endless].map(|key| is_open(&mut hub, key)), [false, true, true]);
    }
}
