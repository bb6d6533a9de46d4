//! Everything that people see. Answers go to standard output, logs and progress to standard error.

mod panel;

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use trunkline_testbed::Progress;

use self::panel::Panel;
use crate::stop::Stop;

/// Colours of instances, in turn: readable on dark and light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
const BOLD: u8 = 1;
const FAINT: u8 = 2;
const RED: u8 = 31;

/// Writes whole lines, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    colour_out: bool,
    colour_err: bool,
    below: Arc<Mutex<Below>>,
}

/// What is shown now below all lines, until it is dropped.
#[derive(Debug, Default)]
enum Below {
    #[default]
    Nothing,
    Spinner(ProgressBar),
    Panel(Panel),
}

impl Console {
    pub(crate) fn new() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour_out: !plain && io::stdout().is_terminal(),
            colour_err: !plain && io::stderr().is_terminal(),
            below: Arc::default(),
        }
    }

    /// Whether a picture that moves can be shown at the bottom of the terminal.
    pub(crate) fn can_move() -> bool {
        let dumb = env::var_os("TERM").is_none_or(|name| name == "dumb");
        !dumb && io::stdin().is_terminal() && size().is_some()
    }

    /// Whether programs that we run should colour what they print.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour_err
    }

    /// An answer, or news.
    pub(crate) fn say(&self, text: &str) {
        self.write(text, &mut io::stdout(), io::stdout().is_terminal());
    }

    /// A line that stands out.
    pub(crate) fn headline(&self, text: &str) {
        self.say(&paint(self.colour_out, BOLD, text));
    }

    /// A line of a program that we run, as it is.
    pub(crate) fn raw(&self, text: &str) {
        self.write(text, &mut io::stderr(), io::stderr().is_terminal());
    }

    /// A line of instance `number`. The name with which its log lines begin is not said twice.
    pub(crate) fn log(&self, number: usize, name: &str, text: &str) {
        let text = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(text);
        self.raw(&format!("{} {text}", paint(self.colour_err, colour_of(number), &format!("{name:>5} │"))));
    }

    /// `text`, which is about instance `number`, in its colour.
    pub(crate) fn tinted(&self, number: usize, text: &str) -> String {
        paint(self.colour_out, colour_of(number), text)
    }

    /// `text`, less prominent.
    pub(crate) fn faint(&self, text: &str) -> String {
        paint(self.colour_out, FAINT, text)
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
            *self.below() = Below::Spinner(spinner);
        }
        Steps { console: self, stop }
    }

    /// Shows these lines at the bottom of the terminal until [`Console::put_away`], with a line to type in below them.
    /// `draw` gets the width; what it gives must fit.
    pub(crate) fn show(&self, draw: impl FnOnce(usize) -> Vec<String>) {
        let Some((height, width)) = size() else { return };
        let lines = draw(width);
        let mut below = self.below();
        let text = match &mut *below {
            Below::Panel(panel) => panel.show(height, lines),
            _ => {
                let (panel, text) = Panel::open(height, lines);
                *below = Below::Panel(panel);
                text
            }
        };
        emit(&text);
    }

    /// Somebody typed `line` below what is shown.
    pub(crate) fn typed(&self, line: &str) {
        if let Below::Panel(panel) = &*self.below() {
            emit(&panel.typed(line));
        }
    }

    /// Ends what is shown at the bottom.
    pub(crate) fn put_away(&self) {
        match std::mem::take(&mut *self.below()) {
            Below::Nothing => {}
            Below::Spinner(spinner) => spinner.finish_and_clear(),
            Below::Panel(panel) => emit(&panel.close()),
        }
    }

    fn write(&self, text: &str, to: &mut impl Write, terminal: bool) {
        // Held while writing, so that lines stay whole.
        match &*self.below() {
            Below::Spinner(spinner) => spinner.suspend(|| _ = writeln!(to, "{text}")),
            Below::Panel(panel) if terminal => emit(&panel.print(text)),
            _ => _ = writeln!(to, "{text}"),
        }
    }

    fn below(&self) -> MutexGuard<'_, Below> {
        self.below.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows and columns of the terminal that standard output is.
fn size() -> Option<(usize, usize)> {
    ::console::Term::stdout().size_checked().map(|(rows, columns)| (rows.into(), columns.into()))
}

/// Writes in one piece, so that the terminal's echo cannot come in between.
fn emit(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn colour_of(number: usize) -> u8 {
    COLOURS[number.wrapping_sub(1) % COLOURS.len()]
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
        if let Below::Spinner(spinner) = &*self.console.below() {
            spinner.set_message(text.to_owned());
        }
    }
}

impl Progress for Steps<'_> {
    fn step(&self, text: &str) {
        let spinning = matches!(*self.console.below(), Below::Spinner(_));
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
        self.console.put_away();
    }
}
