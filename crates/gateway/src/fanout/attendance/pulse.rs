//! Which processes live.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use trunkline_domain::Holder;

use super::jittered;

/// Our own signs of life, and what those of the others say.
///
/// A living process beats every twelfth of a lease, and each beat counts for half of one. So whoever is missing for a
/// sixth is dead: in two answers at least, with time for a beat between them. That holds as long as all reach the keeper.
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
    /// Who has users in our rooms and did not beat, since when.
    missing: HashMap<Holder, Duration>,
}

impl Pulse {
    /// Nothing said and nothing heard.
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, next: Duration::ZERO, beating: false, sure: lease, missing: HashMap::new() }
    }

    /// Whether it is time for a beat; it is then under way.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let due = !self.beating && now >= self.next;
        self.beating |= due;
        due
    }

    /// A beat was answered with those who live, or failed. Answers who of the `known` is dead: each of them again after a
    /// while, if they are still known.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        alive: Option<&[Holder]>,
        known: impl Iterator<Item = Holder>,
    ) -> Vec<Holder> {
        self.beating = false;
        self.next = now + jittered(self.lease / 12);
        let Some(alive) = alive else {
            self.sure = now + self.lease;
            return Vec::new();
        };
        let alive: HashSet<&Holder> = alive.iter().collect();
        let missing: HashSet<Holder> = known.filter(|holder| !alive.contains(holder)).collect();
        self.missing.retain(|holder, _| missing.contains(holder));
        let mut dead = Vec::new();
        for holder in missing {
            let since = self.missing.entry(holder).or_insert(now);
            if now >= self.sure && now.saturating_sub(*since) >= self.lease / 6 {
                *since = now;
                dead.push(holder);
            }
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(12);
    const US: Holder = Holder(1);
    const THEM: Holder = Holder(2);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn answered(pulse: &mut Pulse, now: u64, alive: Option<&[Holder]>) -> Vec<Holder> {
        pulse.answered(at(now), alive, [US, THEM].into_iter())
    }

    #[test]
    fn whoever_is_missing_for_two_beats_is_dead() {
        let mut pulse = Pulse::new(LEASE);
        assert_eq!(answered(&mut pulse, 20, Some(&[US])), []);
        assert_eq!(answered(&mut pulse, 21, Some(&[US])), []);
        assert_eq!(answered(&mut pulse, 22, Some(&[US])), [THEM]);
        assert_eq!(answered(&mut pulse, 23, Some(&[US])), [], "they are being ended");
        assert_eq!(answered(&mut pulse, 24, Some(&[US])), [THEM], "that failed");
        assert_eq!(answered(&mut pulse, 25, Some(&[US, THEM])), [], "alive after all");
        assert_eq!(answered(&mut pulse, 26, Some(&[US])), []);
        assert_eq!(answered(&mut pulse, 27, Some(&[US])), []);
        assert_eq!(answered(&mut pulse, 28, Some(&[US])), [THEM]);
    }

    #[test]
    fn whoever_was_cut_off_gives_the_others_a_lease() {
        let mut pulse = Pulse::new(LEASE);
        for now in 0..12 {
            assert_eq!(answered(&mut pulse, now, Some(&[US])), [], "just started");
        }
        assert_eq!(answered(&mut pulse, 12, Some(&[US])), [THEM]);
        assert_eq!(answered(&mut pulse, 13, None), []);
        for now in 14..25 {
            assert_eq!(answered(&mut pulse, now, Some(&[US])), [], "just back");
        }
        assert_eq!(answered(&mut pulse, 25, Some(&[US])), [THEM]);
    }

    #[test]
    fn one_beat_at_a_time() {
        let mut pulse = Pulse::new(LEASE);
        assert!(pulse.is_due(at(0)));
        assert!(!pulse.is_due(at(5)), "one is under way");
        answered(&mut pulse, 5, None);
        assert!(!pulse.is_due(at(5)));
        assert!(pulse.is_due(at(6)));
    }
}
