//! Lines that stay at the bottom of the terminal, above a line to type in, while everything else scrolls above them.
//!
//! The terminal itself keeps them apart: what scrolls has margins (DECSTBM), and the cursor waits below them, where the
//! terminal echoes what is typed. So a redraw never touches a half-typed command, which bars that are drawn at the
//! cursor, such as indicatif's, would.
//!
//! All is pure: each function gives what is to be written, which must be done in one piece.

use std::fmt::Write;

/// Fewest lines left for what scrolls.
const LEAST_SCROLLED: usize = 4;
const PROMPT: &str = "> ";
/// Around what is written elsewhere: the cursor comes back to where somebody types.
const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
const CLEAR_LINE: &str = "\x1b[2K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What is shown now.
#[derive(Debug)]
pub(crate) struct Panel {
    lines: Vec<String>,
    /// Height of the terminal.
    height: usize,
}

impl Panel {
    /// Begins with these lines, moving up what the terminal shows.
    pub(crate) fn open(height: usize, mut lines: Vec<String>) -> (Self, String) {
        lines.truncate(most(height));
        let panel = Self { lines, height };
        let moved = "\n".repeat(panel.lines.len() + 1);
        let text = format!("{moved}{}{}", panel.margins(), panel.draw());
        (panel, text + &prompt(height))
    }

    /// Shows other lines, or the same on a terminal that got another height. Nothing is written if nothing changed.
    pub(crate) fn show(&mut self, height: usize, mut lines: Vec<String>) -> String {
        lines.truncate(most(height));
        if (height, &lines) == (self.height, &self.lines) {
            return String::new();
        }
        let before = self.scrolled();
        let resized = height != self.height;
        let count = self.lines.len();
        *self = Self { lines, height };
        if resized {
            // The terminal may have moved what it showed, and nobody knows how far: what may be ours is cleared, and
            // the rest goes down to where new lines come.
            let gap = self.scrolled().saturating_sub(before);
            let first = self.scrolled() - gap + 1;
            let down = if gap > 0 { format!("\x1b[{gap}T") } else { String::new() };
            return format!(
                "\x1b[r{}{CLEAR_BELOW}{}{down}{}{}",
                at(first),
                self.margins(),
                self.draw(),
                prompt(height)
            );
        }
        let mut text = SAVE.to_owned();
        match self.lines.len() {
            now if now > count => {
                let _ = write!(text, "{}{}{}", at(before), "\n".repeat(now - count), self.margins());
            }
            now if now < count => {
                let _ = write!(text, "{}\x1b[{}T", self.margins(), count - now);
            }
            _ => {}
        }
        text + &self.draw() + RESTORE
    }

    /// A text that scrolls.
    pub(crate) fn print(&self, text: &str) -> String {
        // A terminal in cooked mode adds the return to each newline.
        format!("{SAVE}{}\n{text}{RESTORE}", at(self.scrolled()))
    }

    /// A line was typed: it scrolls with the answers, and the next one can be typed.
    pub(crate) fn typed(&self, line: &str) -> String {
        self.print(&format!("{PROMPT}{line}")) + &prompt(self.height)
    }

    /// Leaves the terminal as one finds it.
    pub(crate) fn close(&self) -> String {
        format!("\x1b[r{}{CLEAR_BELOW}", at(self.scrolled() + 1))
    }

    /// How many lines scroll: the first ones.
    fn scrolled(&self) -> usize {
        self.height.saturating_sub(self.lines.len() + 1).max(1)
    }

    fn margins(&self) -> String {
        format!("\x1b[1;{}r", self.scrolled())
    }

    fn draw(&self) -> String {
        let mut text = String::new();
        for (line, row) in self.lines.iter().zip(self.scrolled() + 1..) {
            let _ = write!(text, "{}{CLEAR_LINE}{line}", at(row));
        }
        text
    }
}

/// Most lines that a terminal of this height has room for.
fn most(height: usize) -> usize {
    height.saturating_sub(LEAST_SCROLLED + 1)
}

/// To the beginning of a row; the first is 1.
fn at(row: usize) -> String {
    format!("\x1b[{row};1H")
}

/// The last row, empty, with the cursor in it.
fn prompt(height: usize) -> String {
    format!("{}{CLEAR_LINE}{PROMPT}", at(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("line {number}")).collect()
    }

    #[test]
    fn the_cursor_stays_where_one_types() {
        let (mut panel, opened) = Panel::open(24, lines(3));
        assert!(opened.contains("\x1b[1;20r\x1b[21;1H\x1b[2Kline 0"), "{opened:?}");
        assert!(opened.ends_with("\x1b[24;1H\x1b[2K> "), "{opened:?}");
        assert_eq!(panel.print("a log line"), "\x1b7\x1b[20;1H\na log line\x1b8");
        for count in [5, 2] {
            let shown = panel.show(24, lines(count));
            assert!(shown.starts_with(SAVE) && shown.ends_with(RESTORE) && !shown.contains("\x1b[24;"), "{shown:?}");
        }
        assert_eq!(panel.show(24, lines(2)), "");
    }

    #[test]
    fn a_low_terminal_shows_fewer_lines() {
        let (panel, _) = Panel::open(10, lines(30));
        assert_eq!((panel.lines.len(), panel.scrolled()), (5, 4));
        let (mut panel, _) = Panel::open(40, lines(30));
        assert!(panel.show(12, lines(30)).ends_with("\x1b[12;1H\x1b[2K> "));
        assert_eq!(panel.scrolled(), 4);
        let (panel, _) = Panel::open(1, lines(3));
        assert!(panel.lines.is_empty());
    }
}
