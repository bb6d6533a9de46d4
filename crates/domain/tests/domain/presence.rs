//! Rosters and announcements against a cluster that loses what it says, crashes, and comes back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use trunkline_domain::{Announcement, Announcer, Holder, Moves, Roster, Shift, Snapshot, Turn, UserName};

fn user(number: u8) -> UserName {
    format!("user{number}").parse().unwrap()
}

type Users = BTreeSet<UserName>;

/// The keeper of the leases, one who listens, and a client of theirs.
#[derive(Default)]
struct World {
    number: u64,
    holders: BTreeMap<Holder, Users>,
    /// Said and not yet heard.
    said: VecDeque<Turn>,
    /// A snapshot on its way.
    reading: Option<Snapshot>,
    roster: Roster,
    /// The roster's set, kept from its moves alone.
    balance: Users,
    announcer: Announcer,
    now: Duration,
    told: Option<Users>,
    count: usize,
    last_frame: Option<Duration>,
    /// Since when each user is nowhere.
    away: BTreeMap<UserName, Duration>,
}

#[derive(Clone, Debug)]
enum Step {
    Moves {
        holder: u8,
        came: Vec<u8>,
        went: Vec<u8>,
    },
    Whole {
        holder: u8,
        users: Vec<u8>,
    },
    Crash {
        holder: u8,
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
        6 => (0..3_u8, users(), users()).prop_map(|(holder, came, went)| Step::Moves { holder, came, went }),
        2 => (0..3_u8, users()).prop_map(|(holder, users)| Step::Whole { holder, users }),
        1 => (0..3_u8).prop_map(|holder| Step::Crash { holder }),
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
        self.holders.values().flatten().cloned().collect()
    }

    fn say(&mut self, holder: Holder, shift: Shift) {
        self.number += 1;
        self.said.push_back(Turn { number: self.number, holder, shift });
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Moves { holder, came, went } => {
                let holder = Holder(holder.into());
                let came: Users = came.into_iter().map(user).collect();
                let went: Users = went.into_iter().map(user).filter(|user| !came.contains(user)).collect();
                let held = self.holders.entry(holder).or_default();
                held.extend(came.iter().cloned());
                held.retain(|user| !went.contains(user));
                let all_went = held.is_empty();
                let (came, went) = (came.into_iter().collect(), went.into_iter().collect());
                self.say(holder, if all_went { Shift::Gone } else { Shift::Moves { came, went } });
            }
            Step::Whole { holder, users } => {
                let holder = Holder(holder.into());
                self.holders.insert(holder, users.iter().copied().map(user).collect());
                self.say(holder, Shift::Whole(users.into_iter().map(user).collect()));
            }
            Step::Crash { holder } => {
                let holder = Holder(holder.into());
                if self.holders.remove(&holder).is_some() {
                    self.say(holder, Shift::Lapsed);
                }
            }
            Step::Hear { count, lost } => {
                for turn in self.said.drain(..count.min(self.said.len())).collect::<Vec<_>>() {
                    if !lost {
                        let moves = self.roster.hear(turn);
                        self.moved(moves);
                    }
                }
            }
            Step::Ask => {
                let holders = self.holders.iter().map(|(holder, users)| (*holder, users.iter().cloned().collect()));
                self.reading = Some(Snapshot { number: self.number, holders: holders.collect() });
            }
            Step::Answer => {
                if let Some(snapshot) = self.reading.take()
                    && self.roster.must_read()
                {
                    let moves = self.roster.replace(snapshot);
                    self.moved(moves);
                }
            }
            Step::Resubscribe => self.roster.doubt(),
            Step::Wipe => {
                self.holders.clear();
                self.said.clear();
                self.reading = None;
                // Numbers begin at the keeper's clock.
                self.number += 1000;
                self.roster.doubt();
            }
            Step::Pass { millis } => {
                self.now += Duration::from_millis(millis);
                self.frame();
            }
        }
    }

    /// The roster's moves, which must be moves.
    fn moved(&mut self, moves: Moves) {
        for user in &moves.came {
            assert!(self.balance.insert(user.clone()), "{user} came twice");
            self.away.remove(user);
        }
        for user in &moves.went {
            assert!(self.balance.remove(user), "{user} went twice");
            self.away.insert(user.clone(), self.now);
        }
        assert_eq!(self.balance, self.roster.users().cloned().collect());
        assert_eq!(self.balance.len(), self.roster.count());
        self.announcer.moved(moves, self.now);
        self.frame();
    }

    /// What a client makes of the next frame.
    fn frame(&mut self) {
        let Some(announcement) = self.announcer.due(self.now) else { return };
        assert!(self.last_frame.is_none_or(|last| self.now >= last + Announcer::PACE), "too early");
        self.last_frame = Some(self.now);
        match (announcement, &mut self.told) {
            (Announcement::Moves(Moves { came, went }), Some(told)) => {
                assert!(!came.is_empty() || !went.is_empty());
                for user in came {
                    assert!(told.insert(user.clone()), "{user} was there already");
                }
                for user in went {
                    assert!(told.remove(&user), "{user} was not there");
                    assert!(self.now >= self.away[&user] + Announcer::GRACE, "{user} may come back");
                }
            }
            (_, told) => *told = Some(self.announcer.shown(self.roster.users())),
        }
        self.count = self.announcer.count();
        assert_eq!(self.told, Some(self.announcer.shown(self.roster.users())));
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

    /// Whatever is lost, whoever crashes: came and went balance to the true set, in the roster and in what is told. The
    /// one loss that numbers cannot show, that of the last turns, is what a resubscription and the beat are for.
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
        prop_assert_eq!(world.truth(), world.announcer.shown(world.roster.users()));
        prop_assert_eq!(world.count, world.truth().len());
    }
}

fn came(users: impl IntoIterator<Item = UserName>) -> Moves {
    Moves { came: users.into_iter().collect(), went: vec![] }
}

fn went(users: impl IntoIterator<Item = UserName>) -> Moves {
    Moves { came: vec![], went: users.into_iter().collect() }
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_reconnect_makes_no_frame() {
    let mut announcer = Announcer::default();
    announcer.moved(came([user(1), user(2)]), at(0));
    assert_eq!(announcer.due(at(0)), Some(Announcement::Moves(came([user(1), user(2)]))));
    announcer.moved(went([user(1)]), at(2000));
    announcer.moved(came([user(1)]), at(6900));
    assert_eq!(announcer.due(at(60_000)), None);
    announcer.moved(went([user(1)]), at(70_000));
    assert_eq!(announcer.due(at(74_999)), None);
    assert_eq!(announcer.due(at(75_000)), Some(Announcement::Moves(went([user(1)]))));
    // Somebody who was never told to be here is never told to have gone.
    announcer.moved(came([user(3)]), at(75_100));
    announcer.moved(went([user(3)]), at(75_200));
    assert_eq!(announcer.due(at(90_000)), None);
}

#[test]
fn a_crowd_is_a_count() {
    let crowd = |range: std::ops::Range<usize>| range.map(|n| format!("user{n}").parse::<UserName>().unwrap());
    let mut announcer = Announcer::default();
    announcer.moved(came(crowd(0..500)), at(0));
    assert!(matches!(announcer.due(at(0)), Some(Announcement::Moves(moves)) if moves.came.len() == 500));
    announcer.moved(came(crowd(500..501)), at(1));
    assert_eq!(announcer.due(at(999)), None, "one frame a second");
    assert_eq!(announcer.due(at(1000)), Some(Announcement::State));
    assert!(!announcer.is_named());
    announcer.moved(went(crowd(0..1)), at(2000));
    assert_eq!(announcer.due(at(7000)), Some(Announcement::State), "names again");
    assert!(announcer.is_named());
}

#[test]
fn a_user_is_here_while_any_holder_has_them() {
    let (one, other) = (Holder(1), Holder(2));
    let mut roster = Roster::default();
    let holders = vec![(one, vec![user(1)]), (other, vec![user(1), user(2)])];
    assert_eq!(roster.replace(Snapshot { number: 7, holders }), came([user(1), user(2)]));
    assert_eq!(roster.hear(Turn { number: 8, holder: one, shift: Shift::Gone }), Moves::default());
    assert_eq!(roster.hear(Turn { number: 8, holder: other, shift: Shift::Gone }), Moves::default(), "known");
    assert_eq!(roster.hear(Turn { number: 10, holder: other, shift: Shift::Gone }), Moves::default(), "a gap");
    assert!(roster.must_read());
    assert_eq!(roster.replace(Snapshot { number: 9, holders: vec![(other, vec![user(1)])] }), went([user(1), user(2)]));
    assert!(!roster.must_read());
    assert_eq!((roster.count(), roster.number()), (0, 10));
}

#[test]
fn holders_have_one_form() {
    let holder = Holder(0xab);
    assert_eq!(holder.to_string().parse(), Ok(holder));
    for text in ["", "ab", "+0000000000000000000000000000000", "0000000000000000000000000000000g"] {
        assert!(text.parse::<Holder>().is_err());
    }
}
