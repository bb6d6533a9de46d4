//! The verdict as text.

use std::fmt::{self, Display, Formatter};

use super::time::format_millis;
use crate::judge::{Quantiles, Verdict};

/// Indentation of the lines that belong to an invariant.
const INDENT: &str = "               ";

/// Displays a verdict as text for a terminal.
#[derive(Debug)]
pub struct TextReport<'a>(pub &'a Verdict);

impl Display for TextReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(verdict) = self;
        for result in &verdict.invariants {
            let outcome = match result.holds {
                Some(true) => "holds     ",
                Some(false) => "BROKEN    ",
                None => "not judged",
            };
            writeln!(f, "{outcome} {:>2}. {}", result.number, result.title)?;
            if let Some(note) = &result.note {
                writeln!(f, "{INDENT}{note}")?;
            }
            for example in &result.examples {
                writeln!(f, "{INDENT}{example}")?;
            }
            if result.broken > result.examples.len() as u64 {
                writeln!(f, "{INDENT}({} violations in total)", result.broken)?;
            }
        }
        let counts = &verdict.counts;
        writeln!(f)?;
        writeln!(
            f,
            "messages: sent {}, acknowledged {}, without definite answer {}, refused {}",
            counts.sent, counts.acknowledged, counts.indeterminate, counts.refused
        )?;
        writeln!(
            f,
            "deliveries: {}, missing {}, duplicated {}, out of order {}, skipping positions {}",
            counts.delivered, counts.lost, counts.duplicated, counts.reordered, counts.skipped
        )?;
        writeln!(
            f,
            "sockets lost {}, failed connection attempts {}, resumed joins {}, reported gaps {}, users reported as gone while connected {}",
            counts.closed, counts.rejected, counts.resumed, counts.gaps_reported, counts.flickers
        )?;
        writeln!(
            f,
            "edits, deletions and reactions {}, messages received without their deleted text {}, tokens refreshed {}",
            counts.amended, counts.redacted, counts.refreshed
        )?;
        writeln!(f, "delivery latency         {}", quantiles(&verdict.delivery))?;
        writeln!(f, "acknowledgement latency  {}", quantiles(&verdict.acknowledgement))?;
        writeln!(f, "recovery                 {}", quantiles(&verdict.recovery))?;
        writeln!(f, "longest silence          {}", quantiles(&verdict.silence))?;
        for fault in &verdict.faults {
            writeln!(
                f,
                "fault {:?} at {} s: sockets lost {}, failed attempts {}, unavailable {}, never back {}; recovery {}",
                fault.name,
                fault.t / 1_000_000,
                fault.closed,
                fault.rejected,
                fault.unavailable,
                fault.never_back,
                quantiles(&fault.recovery)
            )?;
        }
        writeln!(f)?;
        writeln!(f, "verdict: {}", if verdict.passed { "every invariant holds" } else { "FAILED" })
    }
}

fn quantiles(times: &Quantiles) -> String {
    let Quantiles { count, p50, p99, p999, max } = *times;
    if count == 0 {
        return "not measured".to_owned();
    }
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(format_millis);
    format!("p50 {p50}, p99 {p99}, p99.9 {p999}, longest {max} (count {count})")
}
