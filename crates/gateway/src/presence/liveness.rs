//! Decides which instances are dead, from the answers to this instance's heartbeats. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use trunkline_domain::InstanceId;

use crate::random::Random;

/// Heartbeats of this instance, and which other instances their answers listed.
///
/// A live instance sends a heartbeat every lease/12, and the store lists it for lease/2 after each. An instance that is not
/// listed for lease/8 is dead: it was missing from at least two answers, with time for a heartbeat of its own between them.
/// This holds only while the store can be reached. After this instance lost the store it cannot judge the others, so it
/// waits one lease before it declares any of them dead.
#[derive(Debug)]
pub(super) struct InstanceLiveness {
    lease: Duration,
    random: Random,
    next_heartbeat: Duration,
    heartbeat_in_flight: bool,
    /// Earliest answer from which an instance may be declared dead.
    judge_from: Duration,
    /// The instances that the last answer listed, and when it arrived.
    listed: (HashSet<InstanceId>, Duration),
    missing: HashMap<InstanceId, Missing>,
}

/// An instance that has users in a room of this instance and that the last answer did not list.
#[derive(Debug)]
struct Missing {
    since: Duration,
    /// When [`InstanceLiveness::is_dead`] was last asked about it. It is forgotten one lease later.
    asked_at: Duration,
}

impl InstanceLiveness {
    /// Creates the state before the first heartbeat.
    pub(super) fn new(lease: Duration, random: Random) -> Self {
        Self {
            lease,
            random,
            next_heartbeat: Duration::ZERO,
            heartbeat_in_flight: false,
            judge_from: lease,
            listed: (HashSet::new(), Duration::ZERO),
            missing: HashMap::new(),
        }
    }

    /// Returns whether a heartbeat is due, and counts it as sent.
    pub(super) fn poll_heartbeat(&mut self, now: Duration) -> bool {
        let is_due = !self.heartbeat_in_flight && now >= self.next_heartbeat;
        self.heartbeat_in_flight |= is_due;
        is_due
    }

    /// A heartbeat was answered with the live instances; `None` if it failed.
    pub(super) fn heartbeat_answered(&mut self, now: Duration, alive: Option<Vec<InstanceId>>) {
        self.heartbeat_in_flight = false;
        self.next_heartbeat = now + self.random.jitter(self.lease / 12, 0.8);
        match alive {
            None => self.judge_from = now + self.lease,
            Some(alive) => {
                let before = std::mem::replace(&mut self.listed, (alive.into_iter().collect(), now)).0;
                for instance in before {
                    self.missing.entry(instance).or_insert(Missing { since: now, asked_at: now });
                }
                let is_asked_for = |missing: &Missing| now.saturating_sub(missing.asked_at) < self.lease;
                self.missing.retain(|instance, missing| !self.listed.0.contains(instance) && is_asked_for(missing));
            }
        }
    }

    /// Returns whether an instance that has users in a room is missing, so that rooms must be searched for it.
    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Returns whether `instance`, which has users in a room, is dead.
    pub(super) fn is_dead(&mut self, instance: InstanceId, now: Duration) -> bool {
        let (listed, answered_at) = &self.listed;
        if listed.contains(&instance) {
            return false;
        }
        let missing = self.missing.entry(instance).or_insert(Missing { since: now, asked_at: now });
        missing.asked_at = now;
        *answered_at >= self.judge_from && answered_at.saturating_sub(missing.since) >= self.lease / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(12);
    const OWN: InstanceId = InstanceId(1);
    const OTHER: InstanceId = InstanceId(2);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn new() -> InstanceLiveness {
        InstanceLiveness::new(LEASE, Random::new(1))
    }

    /// Returns whether the other instance is dead after such an answer.
    fn is_dead(liveness: &mut InstanceLiveness, now: u64, alive: Option<&[InstanceId]>) -> bool {
        liveness.heartbeat_answered(at(now), alive.map(<[InstanceId]>::to_vec));
        assert!(!liveness.is_dead(OWN, at(now)) || alive.is_none());
        liveness.is_dead(OTHER, at(now))
    }

    #[test]
    fn an_instance_that_misses_two_heartbeats_is_dead() {
        let mut liveness = new();
        for _ in 0..2 {
            assert!(!is_dead(&mut liveness, 20, Some(&[OWN])));
            assert!(!is_dead(&mut liveness, 21, Some(&[OWN])));
            assert!(is_dead(&mut liveness, 22, Some(&[OWN])));
            assert!(is_dead(&mut liveness, 23, Some(&[OWN])), "remembered while it is asked for");
            assert!(!is_dead(&mut liveness, 24, Some(&[OWN, OTHER])), "listed again");
            liveness.heartbeat_answered(at(20), Some(vec![OWN]));
        }
    }

    #[test]
    fn an_instance_is_not_missing_before_its_users_were_seen() {
        let mut liveness = new();
        liveness.heartbeat_answered(at(20), Some(vec![OWN]));
        assert!(!liveness.is_dead(OTHER, at(25)), "it may have sent a heartbeat since");
        assert!(!is_dead(&mut liveness, 26, Some(&[OWN])));
        assert!(is_dead(&mut liveness, 27, Some(&[OWN])));
    }

    #[test]
    fn a_missing_instance_that_has_no_users_is_forgotten() {
        let mut liveness = new();
        assert!(!is_dead(&mut liveness, 20, Some(&[OWN])));
        liveness.heartbeat_answered(at(40), Some(vec![OWN]));
        assert!(liveness.missing.is_empty());
    }

    #[test]
    fn after_losing_the_store_other_instances_get_one_lease() {
        let mut liveness = new();
        for now in 0..12 {
            assert!(!is_dead(&mut liveness, now, Some(&[OWN])), "just started");
        }
        assert!(is_dead(&mut liveness, 12, Some(&[OWN])));
        assert!(!is_dead(&mut liveness, 13, None));
        for now in 14..25 {
            assert!(!is_dead(&mut liveness, now, Some(&[OWN])), "just reconnected");
        }
        assert!(is_dead(&mut liveness, 25, Some(&[OWN])));
    }

    #[test]
    fn only_one_heartbeat_is_in_flight() {
        let mut liveness = new();
        assert!(liveness.poll_heartbeat(at(0)));
        assert!(!liveness.poll_heartbeat(at(5)), "one is in flight");
        liveness.heartbeat_answered(at(5), None);
        assert!(!liveness.poll_heartbeat(at(5)));
        assert!(liveness.poll_heartbeat(at(6)));
    }
}
