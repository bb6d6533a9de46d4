//! Rosters and announcements against a cluster that loses what it says, crashes, and comes back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use trunkline_domain::{
    ChangeKind, InstanceId, PresenceChange, PresenceDebouncer, PresenceDiff, PresenceSnapshot, PresenceUpdate, Roster,
    UserName,
};

fn user(number: u8) -> UserName {
    format!("user{number}").parse().unwrap()
}

type Users = BTreeSet<UserName>;

/// The keeper of the leases, one who listens, and a client of theirs.
#[derive(Default)]
struct World {
    version: u64,
    instances: BTreeMap<InstanceId, Users>,
    /// Said and not yet heard.
    said: VecDeque<PresenceChange>,
    /// A snapshot on its way.
    reading: Option<PresenceSnapshot>,
    roster: Roster,
    /// The roster's set, kept from its diff alone.
    balance: Users,
    debouncer: PresenceDebouncer,
    now: Duration,
    told: Option<Users>,
    count: usize,
    last_frame: Option<Duration>,
    /// Since when each user is nowhere.
    away: BTreeMap<UserName, Duration>,
}

#[derive(Clone, Debug)]
enum Step {
    PresenceDiff {
        instance: u8,
        joined: Vec<u8>,
        left: Vec<u8>,
    },
    Whole {
        instance: u8,
        users: Vec<u8>,
    },
    Crash {
        instance: u8,
    },
    /// The next words are heard, or lost.
    Hear {
        count: usize,
        lost: bool,
    },
    Ask,
    Answer,
    Resubscribe,
    /// The keeper forgets everything.
    Wipe,
    Pass {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let users = || vec(0..6_u8, 0..4);
    prop_oneof![
        6 => (0..3_u8, users(), users()).prop_map(|(instance, joined, left)| Step::PresenceDiff { instance, joined, left }),
        2 => (0..3_u8, users()).prop_map(|(instance, users)| Step::Whole { instance, users }),
        1 => (0..3_u8).prop_map(|instance| Step::Crash { instance }),
        8 => (1..4_usize, prop::bool::weighted(0.1)).prop_map(|(count, lost)| Step::Hear { count, lost }),
        4 => Just(Step::Ask),
        4 => Just(Step::Answer),
        1 => Just(Step::Resubscribe),
        1 => Just(Step::Wipe),
        4 => (1..3000_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

impl World {
    fn truth(&self) -> Users {
        self.instances.values().flatten().cloned().collect()
    }

    fn say(&mut self, instance: InstanceId, kind: ChangeKind) {
        self.version += 1;
        self.said.push_back(PresenceChange { version: self.version, instance, kind });
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::PresenceDiff { instance, joined, left } => {
                let instance = InstanceId(instance.into());
                let joined: Users = joined.into_iter().map(user).collect();
                let left: Users = left.into_iter().map(user).filter(|user| !joined.contains(user)).collect();
                let held = self.instances.entry(instance).or_default();
                held.extend(joined.iter().cloned());
                held.retain(|user| !left.contains(user));
                let all_went = held.is_empty();
                let (joined, left) = (joined.into_iter().collect(), left.into_iter().collect());
                self.say(instance, if all_went { ChangeKind::Left } else { ChangeKind::Updated { joined, left } });
            }
            Step::Whole { instance, users } => {
                let instance = InstanceId(instance.into());
                self.instances.insert(instance, users.iter().copied().map(user).collect());
                self.say(instance, ChangeKind::Replaced(users.into_iter().map(user).collect()));
            }
            Step::Crash { instance } => {
                let instance = InstanceId(instance.into());
                if self.instances.remove(&instance).is_some() {
                    self.say(instance, ChangeKind::Expired);
                }
            }
            Step::Hear { count, lost } => {
                for change in self.said.drain(..count.min(self.said.len())).collect::<Vec<_>>() {
                    if !lost {
                        let diff = self.roster.hear(change);
                        self.moved(diff);
                    }
                }
            }
            Step::Ask => {
                let instances =
                    self.instances.iter().map(|(instance, users)| (*instance, users.iter().cloned().collect()));
                self.reading = Some(PresenceSnapshot { version: self.version, instances: instances.collect() });
            }
            Step::Answer => {
                if let Some(snapshot) = self.reading.take()
                    && self.roster.must_read()
                {
                    let diff = self.roster.replace(snapshot);
                    self.moved(diff);
                }
            }
            Step::Resubscribe => self.roster.doubt(),
            Step::Wipe => {
                self.instances.clear();
                self.said.clear();
                self.reading = None;
                // Numbers begin at the keeper's clock.
                self.version += 1000;
                self.roster.doubt();
            }
            Step::Pass { millis } => {
                self.now += Duration::from_millis(millis);
                self.frame();
            }
        }
    }

    /// The roster's diff, which must be diff.
    fn moved(&mut self, diff: PresenceDiff) {
        for user in &diff.joined {
            assert!(self.balance.insert(user.clone()), "{user} joined twice");
            self.away.remove(user);
        }
        for user in &diff.left {
            assert!(self.balance.remove(user), "{user} left twice");
            self.away.insert(user.clone(), self.now);
        }
        assert_eq!(self.balance, self.roster.users().cloned().collect());
        assert_eq!(self.balance.len(), self.roster.count());
        self.debouncer.moved(diff, self.now);
        self.frame();
    }

    /// What a client makes of the next frame.
    fn frame(&mut self) {
        let Some(announcement) = self.debouncer.due(self.now) else { return };
        assert!(self.last_frame.is_none_or(|last| self.now >= last + PresenceDebouncer::PACE), "too early");
        self.last_frame = Some(self.now);
        match (announcement, &mut self.told) {
            (PresenceUpdate::Diff(PresenceDiff { joined, left }), Some(told)) => {
                assert!(!joined.is_empty() || !left.is_empty());
                for user in joined {
                    assert!(told.insert(user.clone()), "{user} was there already");
                }
                for user in left {
                    assert!(told.remove(&user), "{user} was not there");
                    assert!(self.now >= self.away[&user] + PresenceDebouncer::GRACE, "{user} may come back");
                }
            }
            (_, told) => *told = Some(self.debouncer.shown(self.roster.users())),
        }
        self.count = self.debouncer.count();
        assert_eq!(self.told, Some(self.debouncer.shown(self.roster.users())));
        assert_eq!(self.told.as_ref().map(BTreeSet::len), Some(self.count));
    }

    /// Nothing is lost any more, and time passes.
    fn rest(&mut self) {
        self.run(Step::Hear { count: usize::MAX, lost: false });
        for _ in 0..3 {
            if self.roster.must_read() {
                self.run(Step::Ask);
                self.run(Step::Answer);
            }
        }
        for _ in 0..8 {
            self.run(Step::Pass { millis: 1000 });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    /// Whatever is lost, whoever crashes: joined and left balance to the true set, in the roster and in what is told. The
    /// one loss that numbers cannot show, that of the last changes, is what a resubscription and the beat are for.
    #[test]
    fn came_and_went_balance_to_the_true_set(steps in vec(step(), 1..80)) {
        let mut world = World::default();
        for step in steps {
            world.run(step);
        }
        world.run(Step::Resubscribe);
        world.reading = None;
        world.rest();
        prop_assert_eq!(world.truth(), world.roster.users().cloned().collect::<Users>());
        prop_assert_eq!(world.truth(), world.debouncer.shown(world.roster.users()));
        prop_assert_eq!(world.count, world.truth().len());
    }
}

fn joined(users: impl IntoIterator<Item = UserName>) -> PresenceDiff {
    PresenceDiff { joined: users.into_iter().collect(), left: vec![] }
}

fn left(users: impl IntoIterator<Item = UserName>) -> PresenceDiff {
    PresenceDiff { joined: vec![], left: users.into_iter().collect() }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_reconnect_makes_no_frame() {
    let mut debouncer = PresenceDebouncer::default();
    debouncer.moved(joined([user(1), user(2)]), at(0));
    assert_eq!(debouncer.due(at(0)), Some(PresenceUpdate::Diff(joined([user(1), user(2)]))));
    debouncer.moved(left([user(1)]), at(2000));
    debouncer.moved(joined([user(1)]), at(6900));
    assert_eq!(debouncer.due(at(60_000)), None);
    debouncer.moved(left([user(1)]), at(70_000));
    assert_eq!(debouncer.due(at(74_999)), None);
    assert_eq!(debouncer.due(at(75_000)), Some(PresenceUpdate::Diff(left([user(1)]))));
    // Somebody who was never told to be here is never told to have gone.
    debouncer.moved(joined([user(3)]), at(75_100));
    debouncer.moved(left([user(3)]), at(75_200));
    assert_eq!(debouncer.due(at(90_000)), None);
}

#[test]
fn a_crowd_is_a_count() {
    let crowd = |range: std::ops::Range<usize>| range.map(|n| format!("user{n}").parse::<UserName>().unwrap());
    let mut debouncer = PresenceDebouncer::default();
    debouncer.moved(joined(crowd(0..500)), at(0));
    assert!(matches!(debouncer.due(at(0)), Some(PresenceUpdate::Diff(diff)) if diff.joined.len() == 500));
    debouncer.moved(joined(crowd(500..501)), at(1));
    assert_eq!(debouncer.due(at(999)), None, "one frame a second");
    assert_eq!(debouncer.due(at(1000)), Some(PresenceUpdate::State));
    assert!(!debouncer.is_named());
    debouncer.moved(left(crowd(0..1)), at(2000));
    assert_eq!(debouncer.due(at(7000)), Some(PresenceUpdate::State), "names again");
    assert!(debouncer.is_named());
}

#[test]
fn a_user_is_here_while_any_holder_has_them() {
    let (one, other) = (InstanceId(1), InstanceId(2));
    let mut roster = Roster::default();
    let instances = vec![(one, vec![user(1)]), (other, vec![user(1), user(2)])];
    assert_eq!(roster.replace(PresenceSnapshot { version: 7, instances }), joined([user(1), user(2)]));
    assert_eq!(
        roster.hear(PresenceChange { version: 8, instance: one, kind: ChangeKind::Left }),
        PresenceDiff::default()
    );
    assert_eq!(
        roster.hear(PresenceChange { version: 8, instance: other, kind: ChangeKind::Left }),
        PresenceDiff::default(),
        "known"
    );
    assert_eq!(
        roster.hear(PresenceChange { version: 10, instance: other, kind: ChangeKind::Left }),
        PresenceDiff::default(),
        "a gap"
    );
    assert!(roster.must_read());
    assert_eq!(
        roster.replace(PresenceSnapshot { version: 9, instances: vec![(other, vec![user(1)])] }),
        left([user(1), user(2)])
    );
    assert!(!roster.must_read());
    assert_eq!((roster.count(), roster.version()), (0, 10));
}

#[test]
fn holders_have_one_form() {
    let instance = InstanceId(0xab);
    assert_eq!(instance.to_string().parse(), Ok(instance));
    for text in ["", "ab", "+0000000000000000000000000000000", "0000000000000000000000000000000g"] {
        assert!(text.parse::<InstanceId>().is_err());
    }
}
