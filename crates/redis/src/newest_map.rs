//! Asks the nodes of a cluster for the slot map until one answers with a new enough one.

use std::future::Future;

use crate::{slots::MapAnswer, url::NodeAddress};

/// Asks nodes in turn until one knows of everything that is known here, which is the epoch `known`, and returns its answer, or
/// else the newest one.
///
/// # Errors
/// No node answered; why the last one did not.
pub async fn newest_map<A: Future<Output = Result<MapAnswer, String>>>(
    nodes: Vec<Option<NodeAddress>>,
    known: u64,
    ask: impl Fn(Option<NodeAddress>) -> A,
) -> Result<MapAnswer, String> {
    let mut newest: Result<MapAnswer, String> = Err(String::new());
    for node in nodes {
        let answer = ask(node).await;
        let is_better = match (&answer, &newest) {
            (Ok(answer), Ok(newest)) => answer.epoch > newest.epoch,
            (Err(_), Ok(_)) => false,
            (_, Err(_)) => true,
        };
        if is_better {
            newest = answer;
        }
        if newest.as_ref().is_ok_and(|newest| newest.epoch >= known) {
            break;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future};

    use futures_util::FutureExt as _;

    use super::*;
    use crate::slots::SlotMap;

    fn answer(epoch: u64) -> MapAnswer {
        MapAnswer { map: SlotMap::default(), epoch, is_failing: false, further: Vec::new() }
    }

    /// The epoch of the answer that is chosen if nodes answer with these epochs or not at all, and the number of nodes asked.
    fn chosen(known: u64, epochs: &[Option<u64>]) -> (Result<u64, String>, usize) {
        let asked = Cell::new(0);
        let ask = |_| {
            let answer = epochs[asked.replace(asked.get() + 1)].map(answer).ok_or(format!("no answer {}", asked.get()));
            future::ready(answer)
        };
        let newest = newest_map(vec![None; epochs.len()], known, ask).now_or_never().unwrap();
        (newest.map(|newest| newest.epoch), asked.get())
    }

    #[test]
    fn first_answer_that_is_not_older_than_the_map_in_use_is_taken_or_else_the_newest() {
        assert_eq!(chosen(5, &[None, Some(4), Some(5), Some(6)]), (Ok(5), 3));
        assert_eq!(chosen(5, &[Some(2), Some(4), None, Some(3)]), (Ok(4), 4), "the cluster was created anew");
        assert_eq!(chosen(0, &[None, None]), (Err("no answer 2".to_owned()), 2));
        assert_eq!(chosen(0, &[]), (Err(String::new()), 0));
    }
}
