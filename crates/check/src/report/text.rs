//! The verdict for people at a terminal.

use std::fmt::{self, Display, Formatter};

use crate::{
    history::Micros,
    judge::{Quantiles, Verdict},
};

/// A verdict as text.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Verdict);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(verdict) = self;
        for ruling in &verdict.invariants {
            let mark = match ruling.holds {
                Some(true) => "holds     ",
                Some(false) => "BROKEN    ",
                None => "not judged",
            };
            writeln!(f, "{mark} {:>2}. {}", ruling.number, ruling.title)?;
            if let Some(note) = &ruling.note {
                writeln!(f, "               {note}")?;
            }
            for example in &ruling.examples {
                writeln!(f, "               {example}")?;
            }
            let more = ruling.broken.saturating_sub(ruling.examples.len() as u64);
            if ruling.holds == Some(false) && more > 0 {
                writeln!(f, "               ({} in all)", ruling.broken)?;
            }
        }
        let counts = &verdict.counts;
        writeln!(f)?;
        writeln!(
            f,
            "sent {}, acknowledged {}, indeterminate {}, refused {}; delivered {}, lost {}, duplicated {}, reordered {}, skipped {}",
            counts.sent,
            counts.acknowledged,
            counts.indeterminate,
            counts.refused,
            counts.delivered,
            counts.lost,
            counts.duplicated,
            counts.reordered,
            counts.skipped
        )?;
        writeln!(
            f,
            "sockets closed {}, attempts refused {}, resumed {}, gaps told {}, users told gone while there {}",
            counts.closed, counts.rejected, counts.resumed, counts.gaps_told, counts.flickers
        )?;
        writeln!(f, "delivery         {}", times(&verdict.delivery))?;
        writeln!(f, "acknowledgement  {}", times(&verdict.acknowledgement))?;
        writeln!(f, "recovery         {}", times(&verdict.recovery))?;
        writeln!(f, "longest silence  {}", times(&verdict.silence))?;
        for fault in &verdict.faults {
            writeln!(
                f,
                "fault {:?} at {} s: {} closed, {} attempts failed, {} unavailable, {} never back; recovery {}",
                fault.name,
                fault.t / 1_000_000,
                fault.closed,
                fault.rejected,
                fault.unavailable,
                fault.never_back,
                times(&fault.recovery)
            )?;
        }
        writeln!(f)?;
        writeln!(f, "verdict: {}", if verdict.passed { "every invariant holds" } else { "FAILED" })
    }
}

fn times(times: &Quantiles) -> String {
    let Quantiles { count, p50, p99, p999, max } = *times;
    if count == 0 {
        return "none measured".to_owned();
    }
    format!("p50 {}, p99 {}, p99.9 {}, longest {} ({count})", millis(p50), millis(p99), millis(p999), millis(max))
}

/// A time to read: milliseconds, with a digit behind the point below ten.
pub(crate) fn millis(time: Micros) -> String {
    if time < 10_000 { format!("{}.{} ms", time / 1000, time % 1000 / 100) } else { format!("{} ms", time / 1000) }
}
