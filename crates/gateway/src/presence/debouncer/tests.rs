//! A debouncer of a room in which users come and go at random, and a client that applies its updates. The roster, from which
//! the diffs come, is tested in `domain`, both together in `presence/simulation.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{
    collection::{btree_set, vec},
    prelude::*,
};
use trunkline_domain::{Member, PresenceDiff};

use super::{PresenceDebouncer, PresenceUpdate};

fn user(number: u8) -> Member {
    format!("user{number}").parse().unwrap()
}

type Users = BTreeSet<Member>;

/// A room, and one client in it.
#[derive(Default)]
struct World {
    present: Users,
    debouncer: PresenceDebouncer,
    now: Duration,
    /// The users that the client sees.
    seen: Option<Users>,
    count: usize,
    last_update: Option<Duration>,
    /// When each absent user left.
    absent_since: BTreeMap<Member, Duration>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Those of these users that are present leave, and the others join.
    Change(BTreeSet<u8>),
    Advance {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => btree_set(0..6_u8, 0..=6).prop_map(Step::Change),
        1 => (1..3000_u64).prop_map(|millis| Step::Advance { millis }),
    ]
}

impl World {
    fn run(&mut self, step: Step) {
        match step {
            Step::Change(users) => {
                let (left, joined): (Vec<_>, Vec<_>) =
                    users.into_iter().map(user).partition(|user| self.present.contains(user));
                for user in &joined {
                    self.present.insert(user.clone());
                    self.absent_since.remove(user);
                }
                for user in &left {
                    self.present.remove(user);
                    self.absent_since.insert(user.clone(), self.now);
                }
                self.debouncer.apply(PresenceDiff { joined, left }, self.now);
            }
            Step::Advance { millis } => self.now += Duration::from_millis(millis),
        }
        self.update_client();
    }

    /// Applies the next update as a client does.
    fn update_client(&mut self) {
        let Some(update) = self.debouncer.poll_update(self.now) else { return };
        let interval = PresenceDebouncer::MIN_UPDATE_INTERVAL;
        assert!(self.last_update.is_none_or(|last| self.now >= last + interval), "too early");
        self.last_update = Some(self.now);
        match (update, &mut self.seen) {
            (PresenceUpdate::Diff(PresenceDiff { joined, left }), Some(seen)) => {
                assert!(!joined.is_empty() || !left.is_empty());
                for user in joined {
                    assert!(seen.insert(user.clone()), "{user} was visible already");
                }
                for user in left {
                    assert!(seen.remove(&user), "{user} was not visible");
                    let absent_since = self.absent_since[&user];
                    assert!(self.now >= absent_since + PresenceDebouncer::LEAVE_DELAY, "{user} may still return");
                }
            }
            (_, seen) => *seen = Some(self.debouncer.visible_users(&self.present)),
        }
        self.count = self.debouncer.count();
        assert_eq!(self.seen, Some(self.debouncer.visible_users(&self.present)));
        assert_eq!(self.seen.as_ref().map(BTreeSet::len), Some(self.count));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    /// After a pause the client sees the users that are present, whatever happened before.
    #[test]
    fn joins_and_leaves_balance_to_the_actual_users(steps in vec(step(), 1..80)) {
        let mut world = World::default();
        let pause = vec![Step::Advance { millis: 1000 }; 8];
        for step in steps.into_iter().chain(pause) {
            world.run(step);
        }
        prop_assert_eq!(&world.present, &world.debouncer.visible_users(&world.present));
        prop_assert_eq!(world.count, world.present.len());
        prop_assert!(!world.debouncer.is_pending());
    }
}

fn joined(users: impl IntoIterator<Item = Member>) -> PresenceDiff {
    PresenceDiff { joined: users.into_iter().collect(), left: vec![] }
}

fn left(users: impl IntoIterator<Item = Member>) -> PresenceDiff {
    PresenceDiff { joined: vec![], left: users.into_iter().collect() }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_reconnect_causes_no_update() {
    let mut debouncer = PresenceDebouncer::default();
    debouncer.apply(joined([user(1), user(2)]), at(0));
    assert_eq!(debouncer.poll_update(at(0)), Some(PresenceUpdate::Diff(joined([user(1), user(2)]))));
    debouncer.apply(left([user(1)]), at(2000));
    debouncer.apply(joined([user(1)]), at(6900));
    assert_eq!(debouncer.poll_update(at(60_000)), None);
    debouncer.apply(left([user(1)]), at(70_000));
    assert_eq!(debouncer.poll_update(at(74_999)), None);
    assert_eq!(debouncer.poll_update(at(75_000)), Some(PresenceUpdate::Diff(left([user(1)]))));
    // A user who was never visible is never reported as having left.
    debouncer.apply(joined([user(3)]), at(75_100));
    debouncer.apply(left([user(3)]), at(75_200));
    assert_eq!(debouncer.poll_update(at(90_000)), None);
}

#[test]
fn a_room_above_500_users_is_sent_as_a_count() {
    let users = |range: std::ops::Range<usize>| range.map(|n| format!("user{n}").parse::<Member>().unwrap());
    let mut debouncer = PresenceDebouncer::default();
    debouncer.apply(joined(users(0..500)), at(0));
    assert!(matches!(debouncer.poll_update(at(0)), Some(PresenceUpdate::Diff(diff)) if diff.joined.len() == 500));
    debouncer.apply(joined(users(500..501)), at(1));
    assert_eq!(debouncer.poll_update(at(999)), None, "one update per second");
    assert_eq!(debouncer.poll_update(at(1000)), Some(PresenceUpdate::State));
    assert!(!debouncer.shows_names());
    debouncer.apply(left(users(0..1)), at(2000));
    assert_eq!(debouncer.poll_update(at(7000)), Some(PresenceUpdate::State), "the state has names again");
    assert!(debouncer.shows_names());
}
