//! 11: the run was not vacuous.

use super::{
    Invariant,
    facts::Facts,
    record::{Record, What},
    verdict::{Breaches, Ruling},
};

/// Something was acknowledged and delivered, the run came to rest, and each fault that clients must notice was noticed.
#[derive(Debug, Default)]
pub(super) struct Vacuous {
    delivered: u64,
    /// Signs of each fault.
    signs: Vec<u64>,
    breaches: Breaches,
}

impl Invariant for Vacuous {
    fn see(&mut self, record: &Record, facts: &Facts) {
        match record.what {
            What::Message { .. } => self.delivered += 1,
            What::Fault(_) => self.signs.push(0),
            What::Close { .. } | What::Rejected { .. } | What::Closing | What::GaveUp { .. } | What::Refused { .. }
                if !facts.over =>
            {
                for (window, signs) in facts.faults.iter().zip(&mut self.signs) {
                    *signs += u64::from(window.covers(record.t));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, facts: &Facts) -> Ruling {
        if facts.acked.values().all(Vec::is_empty) {
            self.breaches.add(|| "nothing was acknowledged".to_owned());
        }
        if self.delivered == 0 {
            self.breaches.add(|| "nothing was delivered".to_owned());
        }
        if !facts.quiet {
            self.breaches.add(|| "the run did not come to rest: messages may still have been under way".to_owned());
        }
        for (window, signs) in facts.faults.iter().zip(&self.signs) {
            if window.fault.visible && *signs == 0 {
                self.breaches.add(|| format!("the fault {:?} did not fire: no client noticed it", window.fault.name));
            }
        }
        self.breaches.ruling(11, "the run was not vacuous")
    }
}
