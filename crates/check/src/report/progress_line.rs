//! Progress of a run on standard error.

use std::{
    fmt::Write as _,
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::time::format_millis;
use crate::load::{RunProgress, RunState};

/// Time between two lines if standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of a run: as a spinner on a terminal, otherwise as a line every five seconds.
#[derive(Debug)]
pub struct ProgressLine {
    spinner: Option<ProgressBar>,
    /// Time since the start of the run at which the next line is due.
    next_line: Duration,
    state: Option<RunState>,
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}

impl ProgressLine {
    /// Creates a line that shows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::new_spinner().with_style(style)
        });
        Self { spinner, next_line: Duration::ZERO, state: None }
    }

    /// Shows `progress`.
    pub fn show(&mut self, progress: &RunProgress) {
        let changed = self.state.replace(progress.state) != Some(progress.state);
        if let Some(spinner) = &self.spinner {
            spinner.set_message(describe(progress));
            spinner.tick();
        } else if changed || progress.elapsed >= self.next_line {
            eprintln!("{}", describe(progress));
            self.next_line = progress.elapsed + LINE_INTERVAL;
        }
    }

    /// Removes the spinner.
    pub fn finish(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn describe(progress: &RunProgress) -> String {
    let state = match progress.state {
        RunState::LoggingIn => "logging in",
        RunState::Joining => "joining",
        RunState::Writing => "writing",
        RunState::Settling => "settling",
        RunState::Disconnecting => "disconnecting",
    };
    let counts = progress.metrics.counts;
    let mut line = format!(
        "{:>4} s {state}: {}/{} clients caught up, sent {}, acknowledged {}, delivered {}, p99 {}",
        progress.elapsed.as_secs(),
        progress.caught_up,
        progress.clients,
        counts.sent,
        counts.acknowledged,
        counts.delivered,
        format_millis(progress.metrics.delivery.p99),
    );
    let findings = [
        ("duplicated", counts.duplicated),
        ("reordered", counts.reordered),
        ("skipped", counts.skipped),
        ("reported gaps", counts.gaps_reported),
        ("sockets lost", counts.closed),
    ];
    for (name, count) in findings.into_iter().filter(|(_, count)| *count > 0) {
        let _ = write!(line, ", {name} {count}");
    }
    line
}
