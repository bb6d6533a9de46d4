//! Which server is the master, from what Sentinels answer. Pure.

use std::collections::BTreeMap;

use crate::url::NodeAddress;

/// What a Sentinel says about the master.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Master {
    /// Counts failovers: each gets a larger number. First, so that the order of masters is that of failovers.
    pub(crate) config_epoch: u64,
    pub(crate) node: NodeAddress,
}

/// Decides who is master. `known` is the last decision, `answers` are those of the Sentinels that answered out of `sentinels`.
///
/// The largest epoch wins: the Sentinels learn of a failover one after another (within 1.2 s when measured), and those that
/// have not yet learned of it name the old master, which calls itself master for 11 s more. Of two masters with one epoch
/// the one with more answers wins. An epoch smaller than the known one is believed only if most Sentinels answer it: then
/// they were set up anew, and otherwise those that know more did not answer.
///
/// `None` if nothing is known.
pub(crate) fn decide(known: Option<&Master>, answers: &[Master], sentinels: usize) -> Option<Master> {
    let mut votes: BTreeMap<&Master, usize> = BTreeMap::new();
    for answer in answers {
        *votes.entry(answer).or_default() += 1;
    }
    let best = votes.into_iter().max_by_key(|(master, votes)| (master.config_epoch, *votes));
    match (known, best) {
        (known, None) => known.cloned(),
        (Some(known), Some((master, votes))) if master.config_epoch < known.config_epoch && 2 * votes <= sentinels => {
            Some(known.clone())
        }
        (_, Some((master, _))) => Some(master.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn master(config_epoch: u64, port: u16) -> Master {
        Master { config_epoch, node: NodeAddress::new("10.0.0.1", port) }
    }

    #[test]
    fn newest_failover_wins_over_more_sentinels_that_have_not_learned_of_it() {
        let answers = [master(1, 7000), master(2, 7001), master(1, 7000)];
        assert_eq!(decide(None, &answers, 3), Some(master(2, 7001)));
        assert_eq!(decide(Some(&master(1, 7000)), &answers, 3), Some(master(2, 7001)));
    }

    #[test]
    fn majority_decides_between_masters_of_one_epoch() {
        let answers = [master(1, 7001), master(1, 7000), master(1, 7000)];
        assert_eq!(decide(None, &answers, 3), Some(master(1, 7000)));
    }

    #[test]
    fn older_answer_does_not_undo_a_known_failover_unless_most_sentinels_give_it() {
        let known = master(2, 7001);
        assert_eq!(decide(Some(&known), &[master(1, 7000)], 3), Some(known.clone()));
        assert_eq!(decide(Some(&known), &[master(0, 7000), master(0, 7000)], 3), Some(master(0, 7000)));
    }

    #[test]
    fn known_master_stays_when_no_sentinel_answers() {
        assert_eq!(decide(Some(&master(2, 7001)), &[], 3), Some(master(2, 7001)));
        assert_eq!(decide(None, &[], 3), None);
    }

    proptest! {
        #[test]
        fn decision_is_one_of_the_answers_and_does_not_depend_on_their_order(
            answers in prop::collection::vec((0_u64..4, 7000_u16..7003), 0..6),
            known in prop::option::of((0_u64..4, 7000_u16..7003)),
            sentinels in 1_usize..6,
        ) {
            let mut answers: Vec<_> = answers.into_iter().map(|(epoch, port)| master(epoch, port)).collect();
            let known = known.map(|(epoch, port)| master(epoch, port));
            let decision = decide(known.as_ref(), &answers, sentinels);
            prop_assert_eq!(decision.is_none(), answers.is_empty() && known.is_none());
            prop_assert!(decision.iter().all(|master| answers.contains(master) || known.as_ref() == Some(master)));
            answers.reverse();
            prop_assert_eq!(decide(known.as_ref(), &answers, sentinels), decision);
        }
    }
}
