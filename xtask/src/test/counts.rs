//! Numbers of tests, read from the summary lines of test runners.

use std::{
    fmt,
    ops::{Add, AddAssign},
};

/// The test runner whose summary lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputFormat {
    /// `Summary [   1.2s] 15 tests run: 13 passed (1 slow), 2 failed, 1 skipped`
    Nextest,
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`, one per binary
    CargoTest,
    /// `ℹ pass 3`, or `# pass 3`
    Node,
    /// `29 scenarios passed, 0 failed; …`, or `4 of 5 mutants noticed`
    Chaos,
    /// No summary line.
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl TestCounts {
    /// One failure of something that is not a test.
    pub(crate) const FAILURE: Self = Self { passed: 0, failed: 1, skipped: 0 };

    /// One step that was left out.
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Adds the numbers of one output line. Lines other than summary lines are ignored.
    pub(crate) fn read(&mut self, format: OutputFormat, line: &str) {
        let line = without_colours(line);
        let line = line.trim();
        let counts = match format {
            OutputFormat::Nextest => line.strip_prefix("Summary [").and_then(|rest| rest.split_once(" run: ")),
            OutputFormat::CargoTest => line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")),
            OutputFormat::Node => {
                if let Some((word, count)) = line.strip_prefix(['#', 'ℹ']).and_then(|rest| rest.trim().split_once(' '))
                {
                    self.count(word, count.parse().unwrap_or(0));
                }
                None
            }
            OutputFormat::Chaos => {
                self.read_chaos(line);
                None
            }
            OutputFormat::None => None,
        };
        let Some((_, counts)) = counts else { return };
        for part in without_remarks(counts).split([',', ';']) {
            if let Some((count, word)) = part.trim().split_once(' ') {
                self.count(word, count.parse().unwrap_or(0));
            }
        }
    }

    fn read_chaos(&mut self, line: &str) {
        let words: Vec<&str> = line.split([' ', ';']).collect();
        let number = |word: &str| word.parse::<u64>().unwrap_or(0);
        match words[..] {
            [passed, "scenarios", "passed,", failed, "failed", ..] => {
                self.passed += number(passed);
                self.failed += number(failed);
            }
            [noticed, "of", all, "mutants", "noticed"] => {
                self.passed += number(noticed);
                self.failed += number(all).saturating_sub(number(noticed));
            }
            _ => {}
        }
    }

    fn count(&mut self, word: &str, count: u64) {
        match word {
            "passed" | "pass" => self.passed += count,
            "skipped" | "ignored" | "todo" => self.skipped += count,
            "failed" | "fail" | "cancelled" | "timed out" | "exec failed" => self.failed += count,
            _ => {}
        }
    }

    /// The numbers for the list of steps. Empty for a step without tests.
    pub(crate) fn detail(&self) -> String {
        if self.passed + self.skipped == 0 { String::new() } else { self.to_string() }
    }
}

impl fmt::Display for TestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

impl Add for TestCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Removes ANSI escape sequences of the form `ESC [ … letter`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        text + &part[end..]
    })
}

/// Removes text in parentheses, as in `13 passed (1 slow, 1 flaky), 2 failed`.
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

    fn counts(format: OutputFormat, text: &str) -> (u64, u64, u64) {
        let mut counts = TestCounts::default();
        text.lines().for_each(|line| counts.read(format, line));
        (counts.passed, counts.failed, counts.skipped)
    }

    #[test]
    fn nextest_summary_is_counted() {
        let read = |line| counts(OutputFormat::Nextest, line);
        assert_eq!(read("     Summary [   7.128s] 15 tests run: 14 passed, 1 failed, 0 skipped"), (14, 1, 0));
        assert_eq!(read("     Summary [   0.082s] 1 test run: 1 passed, 9 skipped"), (1, 0, 9));
        let colours = "\x1b[31;1m     Summary\x1b[0m [   6.2s] \x1b[1m8\x1b[0m/20 tests run: \x1b[1m5\x1b[0m \x1b[32mpassed\x1b[0m \
                       (1 slow, 1 flaky), 1 failed, 1 timed out, 1 exec failed, 2 skipped";
        assert_eq!(read(colours), (5, 3, 2));
        assert_eq!(read("        PASS [   0.009s] xtask::bin/xtask 3 passed, 1 failed"), (0, 0, 0));
    }

    #[test]
    fn cargo_test_summaries_are_added() {
        let text = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counts(OutputFormat::CargoTest, text), (4, 2, 1));
    }

    #[test]
    fn node_summary_is_counted() {
        assert_eq!(counts(OutputFormat::Node, "ℹ tests 5\nℹ pass 3\nℹ fail 1\nℹ cancelled 0\nℹ skipped 1"), (3, 1, 1));
        assert_eq!(counts(OutputFormat::Node, "# tests 2\n# pass 2\n# fail 0"), (2, 0, 0));
    }

    #[test]
    fn chaos_summary_is_counted() {
        let read = |line| counts(OutputFormat::Chaos, line);
        assert_eq!(read("27 scenarios passed, 2 failed; 31000 deliveries checked in 90 s, seed 1"), (27, 2, 0));
        assert_eq!(read("\x1b[1m4 of 5 mutants noticed\x1b[0m"), (4, 1, 0));
        assert_eq!(read("ok       12 s  gateway-killed"), (0, 0, 0));
    }

    #[test]
    fn total_is_shown_in_words() {
        assert_eq!(TestCounts { passed: 12, failed: 0, skipped: 0 }.to_string(), "12 passed, 0 failed");
        assert_eq!(TestCounts { passed: 1, failed: 2, skipped: 3 }.to_string(), "1 passed, 2 failed, 3 skipped");
    }
}
