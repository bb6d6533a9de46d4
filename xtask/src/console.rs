//! Everything that people see. Answers go to standard output, logs and progress to standard error.

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use trunkline_testbed::Progress;

use crate::stop::Stop;

/// Colours of instances, in turn: readable on dark and light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
const BOLD: u8 = 1;
const RED: u8 = 31;

/// Writes whole lines, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    colour_out: bool,
    colour_err: bool,
    /// The progress that is shown now, if any: lines are written above it.
    spinner: Arc<Mutex<Option<ProgressBar>>>,
}

impl Console {
    pub(crate) fn new() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour_out: !plain && io::stdout().is_terminal(),
            colour_err: !plain && io::stderr().is_terminal(),
            spinner: Arc::default(),
        }
    }

    /// Whether programs that we run should colour what they print.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour_err
    }

    /// An answer, or news.
    pub(crate) fn say(&self, text: &str) {
        self.above_spinner(|| _ = writeln!(io::stdout(), "{text}"));
    }

    /// A line that stands out.
    pub(crate) fn headline(&self, text: &str) {
        self.say(&paint(self.colour_out, BOLD, text));
    }

    /// A line of a program that we run, as it is.
    pub(crate) fn raw(&self, text: &str) {
        self.above_spinner(|| _ = writeln!(io::stderr(), "{text}"));
    }

    /// A line of instance `number`.
    pub(crate) fn log(&self, number: usize, name: &str, text: &str) {
        let colour = COLOURS[number.wrapping_sub(1) % COLOURS.len()];
        self.raw(&format!("{} {text}", paint(self.colour_err, colour, &format!("{name:>5} │"))));
    }

    /// What went wrong.
    pub(crate) fn error(&self, text: &str) {
        self.raw(&format!("{} {text}", paint(self.colour_err, RED, "error:")));
    }

    /// Shows that long work goes on, until the value is dropped: a spinner on a terminal, else a line a step.
    pub(crate) fn steps<'a>(&'a self, stop: &'a Stop) -> Steps<'a> {
        if io::stderr().is_terminal() {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            *self.spinner.lock().unwrap_or_else(PoisonError::into_inner) = Some(spinner);
        }
        Steps { console: self, stop }
    }

    fn above_spinner(&self, write: impl FnOnce()) {
        // Held while writing, so that lines stay whole.
        match &*self.spinner.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(spinner) => spinner.suspend(write),
            None => write(),
        }
    }
}

fn paint(colour: bool, code: u8, text: &str) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Progress of long work; see [`Console::steps`].
pub(crate) struct Steps<'a> {
    console: &'a Console,
    stop: &'a Stop,
}

impl Steps<'_> {
    /// A step too small for a line of its own where there is no spinner.
    pub(crate) fn detail(&self, text: &str) {
        if let Some(spinner) = &*self.console.spinner.lock().unwrap_or_else(PoisonError::into_inner) {
            spinner.set_message(text.to_owned());
        }
    }
}

impl Progress for Steps<'_> {
    fn step(&self, text: &str) {
        let spinning = self.console.spinner.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if spinning {
            self.detail(text);
        } else {
            self.console.raw(&format!("- {text}"));
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.is_asked()
    }
}

impl Drop for Steps<'_> {
    fn drop(&mut self) {
        if let Some(spinner) = self.console.spinner.lock().unwrap_or_else(PoisonError::into_inner).take() {
            spinner.finish_and_clear();
        }
    }
}
