//! Terminal output of the development commands. Answers go to standard output, logs and progress to standard error.

mod panel;

use std::{
    env,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use self::panel::Panel;
use crate::{Progress, StopSignal};

/// ANSI colours of instances, by number: readable on dark and light backgrounds.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
const BOLD: u8 = 1;
const FAINT: u8 = 2;
const RED: u8 = 31;

/// Writes whole lines, from any thread. Clones share the terminal.
#[derive(Debug, Clone)]
pub struct Console {
    colour_out: bool,
    colour_err: bool,
    bottom: Arc<Mutex<BottomArea>>,
}

/// The text that the terminal shows below all lines at the moment.
#[derive(Debug, Default)]
enum BottomArea {
    #[default]
    Nothing,
    Spinner(ProgressBar),
    Panel(Panel),
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Uses colours on terminals, unless `NO_COLOR` is set (<https://no-color.org>).
    pub fn new() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour_out: !plain && io::stdout().is_terminal(),
            colour_err: !plain && io::stderr().is_terminal(),
            bottom: Arc::default(),
        }
    }

    /// Whether standard input and output are a terminal that can show [`Console::show`].
    pub fn can_show_panel() -> bool {
        let dumb = env::var_os("TERM").is_none_or(|name| name == "dumb");
        !dumb && io::stdin().is_terminal() && size().is_some()
    }

    /// Whether child programs should colour what they print.
    pub fn has_colour(&self) -> bool {
        self.colour_err
    }

    /// Prints an answer or an event to standard output.
    pub fn say(&self, text: &str) {
        self.write(text, &mut io::stdout(), io::stdout().is_terminal());
    }

    /// Prints a bold line to standard output.
    pub fn headline(&self, text: &str) {
        self.say(&paint(self.colour_out, BOLD, text));
    }

    /// Prints a line of a child program to standard error, unchanged.
    pub fn raw(&self, text: &str) {
        self.write(text, &mut io::stderr(), io::stderr().is_terminal());
    }

    /// Prints a log line of instance `number` to standard error, after the instance's name in its colour. If the line
    /// itself begins with the name, the name is printed once.
    pub fn log(&self, number: usize, name: &str, text: &str) {
        let text = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(text);
        self.raw(&format!("{} {text}", paint(self.colour_err, colour_of(number), &format!("{name:>5} │"))));
    }

    /// `text` in the colour of instance `number`.
    pub fn tinted(&self, number: usize, text: &str) -> String {
        paint(self.colour_out, colour_of(number), text)
    }

    /// `text` in a faint colour.
    pub fn faint(&self, text: &str) -> String {
        paint(self.colour_out, FAINT, text)
    }

    /// Prints an error to standard error.
    pub fn error(&self, text: &str) {
        self.raw(&format!("{} {text}", paint(self.colour_err, RED, "error:")));
    }

    /// Shows the progress of long work until the returned value is dropped: a spinner on a terminal, otherwise one
    /// line per step.
    pub fn progress<'a>(&'a self, stop: &'a StopSignal) -> ConsoleProgress<'a> {
        if io::stderr().is_terminal() {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            *self.bottom() = BottomArea::Spinner(spinner);
        }
        ConsoleProgress { console: self, stop }
    }

    /// Shows lines at the bottom of the terminal, above an input line, until [`Console::clear_bottom`]. `draw` gets the
    /// width in columns; its lines must not be wider.
    pub fn show(&self, draw: impl FnOnce(usize) -> Vec<String>) {
        let Some((height, width)) = size() else { return };
        let lines = draw(width);
        let mut bottom = self.bottom();
        let text = match &mut *bottom {
            BottomArea::Panel(panel) => panel.show(height, lines),
            _ => {
                let (panel, text) = Panel::open(height, lines);
                *bottom = BottomArea::Panel(panel);
                text
            }
        };
        emit(&text);
    }

    /// Moves a line that was typed below the panel into the scrolling part, and clears the input line.
    pub fn typed(&self, line: &str) {
        if let BottomArea::Panel(panel) = &*self.bottom() {
            emit(&panel.typed(line));
        }
    }

    /// Removes the spinner or the panel from the bottom of the terminal.
    pub fn clear_bottom(&self) {
        match std::mem::take(&mut *self.bottom()) {
            BottomArea::Nothing => {}
            BottomArea::Spinner(spinner) => spinner.finish_and_clear(),
            BottomArea::Panel(panel) => emit(&panel.close()),
        }
    }

    fn write(&self, text: &str, to: &mut impl Write, terminal: bool) {
        // The lock is held while writing, so lines of several threads do not mix.
        match &*self.bottom() {
            BottomArea::Spinner(spinner) => spinner.suspend(|| _ = writeln!(to, "{text}")),
            BottomArea::Panel(panel) if terminal => emit(&panel.print(text)),
            _ => _ = writeln!(to, "{text}"),
        }
    }

    fn bottom(&self) -> MutexGuard<'_, BottomArea> {
        self.bottom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows and columns of the terminal at standard output.
fn size() -> Option<(usize, usize)> {
    ::console::Term::stdout().size_checked().map(|(rows, columns)| (rows.into(), columns.into()))
}

/// Writes the text with one call, so that the terminal's echo of typed characters cannot interrupt an escape sequence.
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

/// [`Progress`] on a console; see [`Console::progress`]. Ends the spinner on drop.
pub struct ConsoleProgress<'a> {
    console: &'a Console,
    stop: &'a StopSignal,
}

impl ConsoleProgress<'_> {
    /// Updates the spinner's text. Without a spinner, prints nothing.
    pub fn detail(&self, text: &str) {
        if let BottomArea::Spinner(spinner) = &*self.console.bottom() {
            spinner.set_message(text.to_owned());
        }
    }
}

impl Progress for ConsoleProgress<'_> {
    fn step(&self, text: &str) {
        let spinning = matches!(*self.console.bottom(), BottomArea::Spinner(_));
        if spinning {
            self.detail(text);
        } else {
            self.console.raw(&format!("- {text}"));
        }
    }

    fn cancelled(&self) -> bool {
        self.stop.is_requested()
    }
}

impl Drop for ConsoleProgress<'_> {
    fn drop(&mut self) {
        self.console.clear_bottom();
    }
}
