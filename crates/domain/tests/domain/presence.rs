//! A roster in a simulated cluster that loses changes, crashes and recovers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::{collection::vec, prelude::*};
use trunkline_domain::{ChangeKind, InstanceId, Member, PresenceChange, PresenceDiff, PresenceSnapshot, Roster};

fn user(number: u8) -> Member {
    format!("user{number}").parse().unwrap()
}

type Users = BTreeSet<Member>;

/// The presence store, the changes on their way, and a roster that receives them.
#[derive(Default)]
struct World {
    version: u64,
    instances: BTreeMap<InstanceId, Users>,
    /// Changes that were published and not received yet.
    published: VecDeque<PresenceChange>,
    /// A snapshot that was read and not applied yet.
    snapshot: Option<PresenceSnapshot>,
    roster: Roster,
    /// The users, maintained from the diffs of the roster alone.
    from_diffs: Users,
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
    Crash {
        instance: u8,
    },
    /// The next changes are received, or lost.
    Receive {
        count: usize,
        lost: bool,
    },
    ReadSnapshot,
    ApplySnapshot,
    Resubscribe,
    /// The store loses its data.
    LoseData,
}

fn step() -> impl Strategy<Value = Step> {
    let users = || vec(0..6_u8, 0..4);
    prop_oneof![
        6 => (0..3_u8, users(), users()).prop_map(|(instance, joined, left)| Step::Update { instance, joined, left }),
        2 => (0..3_u8, users()).prop_map(|(instance, users)| Step::Replace { instance, users }),
        1 => (0..3_u8).prop_map(|instance| Step::Crash { instance }),
        8 => (1..4_usize, prop::bool::weighted(0.1)).prop_map(|(count, lost)| Step::Receive { count, lost }),
        4 => Just(Step::ReadSnapshot),
        4 => Just(Step::ApplySnapshot),
        1 => Just(Step::Resubscribe),
        1 => Just(Step::LoseData),
    ]
}

impl World {
    fn truth(&self) -> Users {
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
                let held = self.instances.entry(instance).or_default();
                held.extend(joined.iter().cloned());
                held.retain(|user| !left.contains(user));
                let all_left = held.is_empty();
                let (joined, left) = (joined.into_iter().collect(), left.into_iter().collect());
                self.publish(instance, if all_left { ChangeKind::Left } else { ChangeKind::Updated { joined, left } });
            }
            Step::Replace { instance, users } => {
                let instance = InstanceId(instance.into());
                self.instances.insert(instance, users.iter().copied().map(user).collect());
                self.publish(instance, ChangeKind::Replaced(users.into_iter().map(user).collect()));
            }
            Step::Crash { instance } => {
                let instance = InstanceId(instance.into());
                if self.instances.remove(&instance).is_some() {
                    self.publish(instance, ChangeKind::Expired);
                }
            }
            Step::Receive { count, lost } => {
                for change in self.published.drain(..count.min(self.published.len())).collect::<Vec<_>>() {
                    if !lost {
                        let diff = self.roster.apply(change);
                        self.check_diff(&diff);
                    }
                }
            }
            Step::ReadSnapshot => {
                let instances =
                    self.instances.iter().map(|(instance, users)| (*instance, users.iter().cloned().collect()));
                self.snapshot = Some(PresenceSnapshot { version: self.version, instances: instances.collect() });
            }
            Step::ApplySnapshot => {
                if let Some(snapshot) = self.snapshot.take()
                    && self.roster.needs_snapshot()
                {
                    let diff = self.roster.replace(snapshot);
                    self.check_diff(&diff);
                }
            }
            Step::Resubscribe => self.roster.mark_stale(),
            Step::LoseData => {
                self.instances.clear();
                self.published.clear();
                self.snapshot = None;
                // The store starts again with larger versions.
                self.version += 1000;
                self.roster.mark_stale();
            }
        }
    }

    /// Checks the diff against the users before it.
    fn check_diff(&mut self, diff: &PresenceDiff) {
        for user in &diff.joined {
            assert!(self.from_diffs.insert(user.clone()), "{user} joined twice");
        }
        for user in &diff.left {
            assert!(self.from_diffs.remove(user), "{user} left twice");
        }
        assert_eq!(self.from_diffs, self.roster.users().cloned().collect());
        assert_eq!(self.from_diffs.len(), self.roster.count());
    }

    /// Everything is received from now on.
    fn settle(&mut self) {
        self.run(Step::Receive { count: usize::MAX, lost: false });
        for _ in 0..3 {
            if self.roster.needs_snapshot() {
                self.run(Step::ReadSnapshot);
                self.run(Step::ApplySnapshot);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    /// Whatever changes are lost and whichever instances crash: the diffs of the roster add up to the true users. Versions
    /// do not reveal the loss of the last changes; a resubscription or the lease check does.
    #[test]
    fn roster_and_its_diffs_equal_the_true_users(steps in vec(step(), 1..80)) {
        let mut world = World::default();
        for step in steps {
            world.run(step);
        }
        world.run(Step::Resubscribe);
        world.snapshot = None;
        world.settle();
        prop_assert_eq!(world.truth(), world.roster.users().cloned().collect::<Users>());
    }
}

fn joined(users: impl IntoIterator<Item = Member>) -> PresenceDiff {
    PresenceDiff { joined: users.into_iter().collect(), left: vec![] }
}

fn left(users: impl IntoIterator<Item = Member>) -> PresenceDiff {
    PresenceDiff { joined: vec![], left: users.into_iter().collect() }
}

#[test]
fn user_is_in_the_room_while_any_instance_has_them() {
    let (one, other) = (InstanceId(1), InstanceId(2));
    let mut roster = Roster::default();
    let instances = vec![(one, vec![user(1)]), (other, vec![user(1), user(2)])];
    assert_eq!(roster.replace(PresenceSnapshot { version: 7, instances }), joined([user(1), user(2)]));
    assert_eq!(
        roster.apply(PresenceChange { version: 8, instance: one, kind: ChangeKind::Left }),
        PresenceDiff::default()
    );
    assert_eq!(
        roster.apply(PresenceChange { version: 8, instance: other, kind: ChangeKind::Left }),
        PresenceDiff::default(),
        "an old change"
    );
    assert_eq!(
        roster.apply(PresenceChange { version: 10, instance: other, kind: ChangeKind::Left }),
        PresenceDiff::default(),
        "a gap"
    );
    assert!(roster.needs_snapshot());
    assert_eq!(
        roster.replace(PresenceSnapshot { version: 9, instances: vec![(other, vec![user(1)])] }),
        left([user(1), user(2)])
    );
    assert!(!roster.needs_snapshot());
    assert_eq!((roster.count(), roster.version()), (0, 10));
}

#[test]
fn instance_ids_have_one_canonical_form() {
    let instance = InstanceId(0xab);
    assert_eq!(instance.to_string().parse(), Ok(instance));
    for text in ["", "ab", "+0000000000000000000000000000000", "0000000000000000000000000000000g"] {
        assert!(text.parse::<InstanceId>().is_err());
    }
}
