//! A roster in a simulated cluster that loses changes, crashes and recovers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};
use trunkline_domain::{ChangeKind, InstanceId, PresenceChange, PresenceDiff, PresenceSnapshot, Roster, UserName};

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
        }
    }

    /// The roster's diff, which must be diff.
    fn moved(&mut self, diff: PresenceDiff) {
        for user in &diff.joined {
            assert!(self.balance.insert(user.clone()), "{user} joined twice");
        }
        for user in &diff.left {
            assert!(self.balance.remove(user), "{user} left twice");
        }
        assert_eq!(self.balance, self.roster.users().cloned().collect());
        assert_eq!(self.balance.len(), self.roster.count());
    }

    /// Everything is received from now on.
    fn rest(&mut self) {
        self.run(Step::Hear { count: usize::MAX, lost: false });
        for _ in 0..3 {
            if self.roster.must_read() {
                self.run(Step::Ask);
                self.run(Step::Answer);
            }
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
    }
}

fn joined(users: impl IntoIterator<Item = UserName>) -> PresenceDiff {
    PresenceDiff { joined: users.into_iter().collect(), left: vec![] }
}

fn left(users: impl IntoIterator<Item = UserName>) -> PresenceDiff {
    PresenceDiff { joined: vec![], left: users.into_iter().collect() }
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
