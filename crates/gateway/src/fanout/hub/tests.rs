//! Identities of connections: sessions that end, and times at which identities end.

use std::{
    task::Waker,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use trunkline_session::Sid;

use super::*;

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
    hub.end_expired(now);
    assert_eq!([ended, kept, endless].map(|key| is_open(&mut hub, key)), [false, true, true]);
}
