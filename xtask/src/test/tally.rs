//! Counts of tests, read from the last lines of the runners.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

/// Whose lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `Summary [   1.2s] 15 tests run: 13 passed (1 slow), 2 failed, 1 skipped`
    Nextest,
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`, one a binary
    CargoTest,
    /// `ℹ pass 3`, or `# pass 3`
    Node,
    /// Counts nothing.
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Something that is no test went wrong.
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// Something was left out.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Takes one line of a runner; most say nothing.
    pub(crate) fn read(&mut self, format: Format, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        let counted = match format {
            Format::Nextest => line.strip_prefix("Summary [").and_then(|rest| rest.split_once(" run: ")),
            Format::CargoTest => line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")),
            Format::Node => {
                if let Some((word, count)) = line.strip_prefix(['#', 'ℹ']).and_then(|rest| rest.trim().split_once(' '))
                {
                    self.count(word, count.parse().unwrap_or(0));
                }
                None
            }
            Format::None => None,
        };
        let Some((_, counts)) = counted else { return };
        for part in without_remarks(counts).split([',', ';']) {
            if let Some((count, what)) = part.trim().split_once(' ') {
                self.count(what, count.parse().unwrap_or(0));
            }
        }
    }

    fn count(&mut self, what: &str, count: u64) {
        match what {
            "passed" | "pass" => self.passed += count,
            "skipped" | "ignored" | "todo" => self.skipped += count,
            "failed" | "fail" | "cancelled" | "timed out" | "exec failed" => self.failed += count,
            _ => {}
        }
    }

    /// For the list of steps: empty for a step without tests.
    pub(crate) fn detail(&self) -> String {
        if self.passed + self.skipped == 0 { String::new() } else { self.to_string() }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Drops `ESC [ … letter`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        text + &part[end..]
    })
}

/// Drops what stands in parentheses: `13 passed (1 slow, 1 flaky), 2 failed`.
fn without_remarks(text: &str) -> String {
    let mut depth = 0_u32;
    text.chars()
        .filter(|c| {
            depth += u32::from(*c == '(');
            let keep = depth == 0;
            depth -= u32::from(*c == ')' && depth > 0);
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(format: Format, text: &str) -> (u64, u64, u64) {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.read(format, line));
        (tally.passed, tally.failed, tally.skipped)
    }

    #[test]
    fn nextest() {
        let read = |line| tally(Format::Nextest, line);
        assert_eq!(read("     Summary [   7.128s] 15 tests run: 14 passed, 1 failed, 0 skipped"), (14, 1, 0));
        assert_eq!(read("     Summary [   0.082s] 1 test run: 1 passed, 9 skipped"), (1, 0, 9));
        let colours = "\x1b[31;1m     Summary\x1b[0m [   6.2s] \x1b[1m8\x1b[0m/20 tests run: \x1b[1m5\x1b[0m \x1b[32mpassed\x1b[0m \
                       (1 slow, 1 flaky), 1 failed, 1 timed out, 1 exec failed, 2 skipped";
        assert_eq!(read(colours), (5, 3, 2));
        assert_eq!(read("        PASS [   0.009s] xtask::bin/xtask 3 passed, 1 failed"), (0, 0, 0));
    }

    #[test]
    fn cargo_test() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(tally(Format::CargoTest, text), (4, 2, 1));
    }

    #[test]
    fn node() {
        assert_eq!(tally(Format::Node, "ℹ tests 5\nℹ pass 3\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1"), (3, 1, 1));
        assert_eq!(tally(Format::Node, "# tests 2\n# pass 2\n# fail 0"), (2, 0, 0));
    }

    #[test]
    fn the_last_line_is_plain() {
        assert_eq!(Tally { passed: 12, failed: 0, skipped: 0 }.to_string(), "12 passed, 0 failed");
        assert_eq!(Tally { passed: 1, failed: 2, skipped: 3 }.to_string(), "1 passed, 2 failed, 3 skipped");
    }
}
