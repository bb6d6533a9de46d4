//! The live line: a spinner on a terminal, else a line every five seconds.

use std::{
    fmt::Write as _,
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::text::millis;
use crate::load::{Progress, RunState};

/// Between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Shows how a run stands, on standard error.
#[derive(Debug)]
pub struct Live {
    spinner: Option<ProgressBar>,
    next: Duration,
    state: Option<RunState>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// Shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { spinner, next: Duration::ZERO, state: None }
    }

    /// Shows `progress`.
    pub fn show(&mut self, progress: &Progress) {
        let changed = self.state.replace(progress.state) != Some(progress.state);
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line(progress));
            spinner.tick();
        } else if changed || progress.elapsed >= self.next {
            eprintln!("{}", line(progress));
            self.next = progress.elapsed + EVERY;
        }
    }

    /// Takes the line away.
    pub fn end(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn line(progress: &Progress) -> String {
    let doing = match progress.state {
        RunState::LoggingIn => "logging in",
        RunState::Gathering => "gathering",
        RunState::Writing => "writing",
        RunState::Settling => "settling",
        RunState::Leaving => "leaving",
    };
    let counts = progress.glance.counts;
    let mut line = format!(
        "{:>4} s {doing}: {}/{} there, sent {}, acknowledged {}, delivered {}, p99 {}",
        progress.elapsed.as_secs(),
        progress.there,
        progress.members,
        counts.sent,
        counts.acknowledged,
        counts.delivered,
        millis(progress.glance.delivery.p99),
    );
    let faults = [
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("skipped", counts.skipped),
        ("gaps", counts.gaps_told),
        ("closed", counts.closed),
    ];
    for (name, count) in faults.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(line, ", {name} {count}");
    }
    line
}
