//! A roster and a debouncer in a simulated cluster that loses changes, crashes and recovers.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use trunkline_domain::{ChangeKind, InstanceId, Member, PresenceChange, PresenceDiff, PresenceSnapshot, Roster};

use super::{PresenceDebouncer, PresenceUpdate};

fn user(number: u8) -> Member {
    format!("user{number}").parse().unwrap()
}

type Users = BTreeSet<Member>;

/// The presence store, one instance that receives its changes, and one client of that instance.
#[derive(Default)]
struct World {
    version: u64,
    instances: BTreeMap<InstanceId, Users>,
    /// Changes that were published and not yet received.
    published: VecDeque<PresenceChange>,
    /// A snapshot that was read and not yet received.
    reading: Option<PresenceSnapshot>,
    roster: Roster,
    /// The roster's set, derived from its diffs alone.
    balance: Users,
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
    Update {
        instance: u8,
        joined: Vec<u8>,
        left: Vec<u8>,
    },
    Replace {
        instance: u8,
        users: Vec<u8>,
    },
    Expire {
        instance: u8,
    },
    /// The next changes are received, or lost.
    Receive {
        count: usize,
        lost: bool,
    },
    ReadSnapshot,
    ReceiveSnapshot,
    Resubscribe,
    /// The store loses all data.
    Wipe,
    Advance {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let users = || vec(0..6_u8, 0..4);
    prop_oneof![
        6 => (0..3_u8, users(), users()).prop_map(|(instance, joined, left)| Step::Update { instance, joined, left }),
        2 => (0..3_u8, users()).prop_map(|(instance, users)| Step::Replace { instance, users }),
        1 => (0..3_u8).prop_map(|instance| Step::Expire { instance }),
        8 => (1..4_usize, prop::bool::weighted(0.1)).prop_map(|(count, lost)| Step::Receive { count, lost }),
        4 => Just(Step::ReadSnapshot),
        4 => Just(Step::ReceiveSnapshot),
        1 => Just(Step::Resubscribe),
        1 => Just(Step::Wipe),
        4 => (1..3000_u64).prop_map(|millis| Step::Advance { millis }),
    ]
}

impl World {
    fn present(&self) -> Users {
        self.instances.values().flatten().cloned().collect()
    }

    fn publish(&mut self, instance: InstanceId, kind: ChangeKind) {
        self.version += 1;
        self.published.push_back(PresenceChange { version: self.version, instance, kind });
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Update { instance, joined, left } => {
                let instance = InstanceId(instance.into());
                let joined: Users = joined.into_iter().map(user).collect();
                let left: Users = left.into_iter().map(user).filter(|user| !joined.contains(user)).collect();
                let users = self.instances.entry(instance).or_default();
                users.extend(joined.iter().cloned());
                users.retain(|user| !left.contains(user));
                let none_left = users.is_empty();
                let (joined, left) = (joined.into_iter().collect(), left.into_iter().collect());
                let kind = if none_left { ChangeKind::Left } else { ChangeKind::Updated { joined, left } };
                self.publish(instance, kind);
            }
            Step::Replace { instance, users } => {
                let instance = InstanceId(instance.into());
                self.instances.insert(instance, users.iter().copied().map(user).collect());
                self.publish(instance, ChangeKind::Replaced(users.into_iter().map(user).collect()));
            }
            Step::Expire { instance } => {
                let instance = InstanceId(instance.into());
                if self.instances.remove(&instance).is_some() {
                    self.publish(instance, ChangeKind::Expired);
                }
            }
            Step::Receive { count, lost } => {
                for change in self.published.drain(..count.min(self.published.len())).collect::<Vec<_>>() {
                    if !lost {
                        let diff = self.roster.apply(change);
                        self.apply(diff);
                    }
                }
            }
            Step::ReadSnapshot => {
                let instances =
                    self.instances.iter().map(|(instance, users)| (*instance, users.iter().cloned().collect()));
                self.reading = Some(PresenceSnapshot { version: self.version, instances: instances.collect() });
            }
            Step::ReceiveSnapshot => {
                if let Some(snapshot) = self.reading.take()
                    && self.roster.needs_snapshot()
                {
                    let diff = self.roster.replace(snapshot);
                    self.apply(diff);
                }
            }
            Step::Resubscribe => self.roster.mark_stale(),
            Step::Wipe => {
                self.instances.clear();
                self.published.clear();
                self.reading = None;
                // After a loss versions restart at the store's clock, above all earlier ones.
                self.version += 1000;
                self.roster.mark_stale();
            }
            Step::Advance { millis } => {
                self.now += Duration::from_millis(millis);
                self.update_client();
            }
        }
    }

    /// Applies the roster's diff, which must contain real changes only.
    fn apply(&mut self, diff: PresenceDiff) {
        for user in &diff.joined {
            assert!(self.balance.insert(user.clone()), "{user} joined twice");
            self.absent_since.remove(user);
        }
        for user in &diff.left {
            assert!(self.balance.remove(user), "{user} left twice");
            self.absent_since.insert(user.clone(), self.now);
        }
        assert_eq!(self.balance, self.roster.users().cloned().collect());
        assert_eq!(self.balance.len(), self.roster.count());
        self.debouncer.apply(diff, self.now);
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
            (_, seen) => *seen = Some(self.debouncer.visible_users(self.roster.users())),
        }
        self.count = self.debouncer.count();
        assert_eq!(self.seen, Some(self.debouncer.visible_users(self.roster.users())));
        assert_eq!(self.seen.as_ref().map(BTreeSet::len), Some(self.count));
    }

    /// Receives everything and lets time pass.
    fn settle(&mut self) {
        self.run(Step::Receive { count: usize::MAX, lost: false });
        for _ in 0..3 {
            if self.roster.needs_snapshot() {
                self.run(Step::ReadSnapshot);
                self.run(Step::ReceiveSnapshot);
            }
        }
        for _ in 0..8 {
            self.run(Step::Advance { millis: 1000 });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    /// Joins and leaves add up to the actual set, in the roster and at the client, after any losses and crashes. The loss
    /// of the very last changes cannot be seen in version numbers; resubscriptions and lease checks repair it.
    #[test]
    fn joins_and_leaves_balance_to_the_actual_users(steps in vec(step(), 1..80)) {
        let mut world = World::default();
        for step in steps {
            world.run(step);
        }
        world.run(Step::Resubscribe);
        world.reading = None;
        world.settle();
        prop_assert_eq!(world.present(), world.roster.users().cloned().collect::<Users>());
        prop_assert_eq!(world.present(), world.debouncer.visible_users(world.roster.users()));
        prop_assert_eq!(world.count, world.present().len());
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
