//! Which processes live.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use trunkline_domain::InstanceId;

use super::jittered;

/// Our own signs of life, and what those of the others say.
///
/// A living process beats every twelfth of a lease, and each beat counts for half of one. So whoever is missing for an
/// eighth is dead: in two answers at least, with time for a beat between them. That holds as long as all reach the keeper.
/// Whoever was cut off themselves cannot know about the others, and gives them a lease to be heard.
#[derive(Debug)]
pub(super) struct Pulse {
    lease: Duration,
    /// When we say next that we live.
    next: Duration,
    /// Whether that is under way.
    beating: bool,
    /// When we could first tell who is dead.
    sure: Duration,
    /// Who lives, and when that was answered.
    alive: (HashSet<InstanceId>, Duration),
    missing: HashMap<InstanceId, Missing>,
}

/// Somebody who has users in our rooms and does not beat.
#[derive(Debug)]
struct Missing {
    since: Duration,
    /// When last somebody asked.
    asked: Duration,
}

impl Pulse {
    /// Nothing said and nothing heard.
    pub(super) fn new(lease: Duration) -> Self {
        let alive = (HashSet::new(), Duration::ZERO);
        Self { lease, next: Duration::ZERO, beating: false, sure: lease, alive, missing: HashMap::new() }
    }

    /// Whether it is time for a beat; it is then under way.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = !self.beating && now >= self.next;
        self.beating |= due;
        due
    }

    /// A beat was answered with those who live, or failed.
    pub(super) fn answered(&mut self, now: Duration, alive: Option<Vec<InstanceId>>) {
        self.beating = false;
        self.next = now + jittered(self.lease / 12);
        match alive {
            None => self.sure = now + self.lease,
            Some(alive) => {
                let before = std::mem::replace(&mut self.alive, (alive.into_iter().collect(), now)).0;
                for instance in before {
                    self.missing.entry(instance).or_insert(Missing { since: now, asked: now });
                }
                let asked_for = |missing: &Missing| now.saturating_sub(missing.asked) < self.lease;
                self.missing.retain(|instance, missing| !self.alive.0.contains(instance) && asked_for(missing));
            }
        }
    }

    /// Whether somebody who has users in our rooms is dead.
    pub(super) fn misses(&mut self, instance: InstanceId, now: Duration) -> bool {
        let (alive, answered) = &self.alive;
        if alive.contains(&instance) {
            return false;
        }
        let missing = self.missing.entry(instance).or_insert(Missing { since: now, asked: now });
        missing.asked = now;
        *answered >= self.sure && answered.saturating_sub(missing.since) >= self.lease / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(12);
    const US: InstanceId = InstanceId(1);
    const THEM: InstanceId = InstanceId(2);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Whether the other is dead, after such an answer.
    fn is_dead(pulse: &mut Pulse, now: u64, alive: Option<&[InstanceId]>) -> bool {
        pulse.answered(at(now), alive.map(<[InstanceId]>::to_vec));
        assert!(!pulse.misses(US, at(now)) || alive.is_none());
        pulse.misses(THEM, at(now))
    }

    #[test]
    fn whoever_is_missing_for_two_beats_is_dead() {
        let mut pulse = Pulse::new(LEASE);
        for _ in 0..2 {
            assert!(!is_dead(&mut pulse, 20, Some(&[US])));
            assert!(!is_dead(&mut pulse, 21, Some(&[US])));
            assert!(is_dead(&mut pulse, 22, Some(&[US])));
            assert!(is_dead(&mut pulse, 23, Some(&[US])), "as long as somebody asks");
            assert!(!is_dead(&mut pulse, 24, Some(&[US, THEM])), "alive after all");
            pulse.answered(at(20), Some(vec![US]));
        }
    }

    #[test]
    fn nobody_is_missing_before_they_came() {
        let mut pulse = Pulse::new(LEASE);
        pulse.answered(at(20), Some(vec![US]));
        assert!(!pulse.misses(THEM, at(25)), "beaten since, for all we know");
        assert!(!is_dead(&mut pulse, 26, Some(&[US])));
        assert!(is_dead(&mut pulse, 27, Some(&[US])));
    }

    #[test]
    fn nobody_is_remembered_whom_nobody_asks_for() {
        let mut pulse = Pulse::new(LEASE);
        assert!(!is_dead(&mut pulse, 20, Some(&[US])));
        pulse.answered(at(40), Some(vec![US]));
        assert!(pulse.missing.is_empty());
    }

    #[test]
    fn whoever_was_cut_off_gives_the_others_a_lease() {
        let mut pulse = Pulse::new(LEASE);
        for now in 0..12 {
            assert!(!is_dead(&mut pulse, now, Some(&[US])), "just started");
        }
        assert!(is_dead(&mut pulse, 12, Some(&[US])));
        assert!(!is_dead(&mut pulse, 13, None));
        for now in 14..25 {
            assert!(!is_dead(&mut pulse, now, Some(&[US])), "just back");
        }
        assert!(is_dead(&mut pulse, 25, Some(&[US])));
    }

    #[test]
    fn one_beat_at_a_time() {
        let mut pulse = Pulse::new(LEASE);
        assert!(pulse.is_due(at(0)));
        assert!(!pulse.is_due(at(5)), "one is under way");
        pulse.answered(at(5), None);
        assert!(!pulse.is_due(at(5)));
        assert!(pulse.is_due(at(6)));
    }
}
