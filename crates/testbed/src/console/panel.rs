//! Lines at the bottom of the terminal, above an input line, while all other output scrolls above them.
//!
//! The terminal separates them: scrolling output has margins (DECSTBM), and the cursor waits below the margins, where the
//! terminal echoes typed characters. A redraw therefore never changes a half-typed command. Progress bars that are drawn
//! at the cursor, such as indicatif's, would.
//!
//! All functions are pure. They return the bytes to write, which the caller must write with one call.

use std::fmt::Write;

/// Minimum number of lines that remain for scrolling output.
const MIN_SCROLLING_LINES: usize = 4;
const PROMPT: &str = "> ";
/// Saves and restores the cursor around output elsewhere, so that it returns to the input line.
const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
const CLEAR_LINE: &str = "\x1b[2K";
const CLEAR_BELOW: &str = "\x1b[J";

/// The lines that are shown.
#[derive(Debug)]
pub(crate) struct Panel {
    lines: Vec<String>,
    /// Height of the terminal in lines.
    height: usize,
}

impl Panel {
    /// Shows the first lines. Earlier output of the terminal moves up.
    pub(crate) fn open(height: usize, mut lines: Vec<String>) -> (Self, String) {
        lines.truncate(max_lines(height));
        let panel = Self { lines, height };
        let moved = "\n".repeat(panel.lines.len() + 1);
        let text = format!("{moved}{}{}", panel.margins(), panel.draw());
        (panel, text + &prompt(height))
    }

    /// Replaces the lines, or redraws them after the terminal's height has changed. Returns an empty string if nothing has
    /// changed.
    pub(crate) fn show(&mut self, height: usize, mut lines: Vec<String>) -> String {
        lines.truncate(max_lines(height));
        if (height, &lines) == (self.height, &self.lines) {
            return String::new();
        }
        let before = self.scrolled();
        let resized = height != self.height;
        let count = self.lines.len();
        *self = Self { lines, height };
        if resized {
            // A terminal that was resized may have moved its content by an unknown number of lines. The part that may contain
            // the panel is cleared, and the content above moves down to the margin.
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

    /// Prints scrolling output.
    pub(crate) fn print(&self, text: &str) -> String {
        // A terminal in cooked mode adds a carriage return to each line feed.
        format!("{SAVE}{}\n{text}{RESTORE}", at(self.scrolled()))
    }

    /// Moves a typed line to the scrolling output and clears the input line.
    pub(crate) fn typed(&self, line: &str) -> String {
        self.print(&format!("{PROMPT}{line}")) + &prompt(self.height)
    }

    /// Removes the panel and the margins.
    pub(crate) fn close(&self) -> String {
        format!("\x1b[r{}{CLEAR_BELOW}", at(self.scrolled() + 1))
    }

    /// Number of lines that scroll, counted from the top.
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

/// Maximum number of panel lines for a terminal of this height.
fn max_lines(height: usize) -> usize {
    height.saturating_sub(MIN_SCROLLING_LINES + 1)
}

/// Moves the cursor to the beginning of a row. The first row is 1.
fn at(row: usize) -> String {
    format!("\x1b[{row};1H")
}

/// An empty input line in the last row, with the cursor in it.
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
    fn redraw_keeps_the_cursor_on_the_input_line() {
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
    fn panel_is_shortened_on_a_low_terminal() {
        let (panel, _) = Panel::open(10, lines(30));
        assert_eq!((panel.lines.len(), panel.scrolled()), (5, 4));
        let (mut panel, _) = Panel::open(40, lines(30));
        assert!(panel.show(12, lines(30)).ends_with("\x1b[12;1H\x1b[2K> "));
        assert_eq!(panel.scrolled(), 4);
        let (panel, _) = Panel::open(1, lines(3));
        assert!(panel.lines.is_empty());
    }
}
