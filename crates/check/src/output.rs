//! Output for programs: one JSON object per line on standard output.

use std::io::Write as _;

use serde_json::Value;

/// Prints a line and flushes it. A reader that has closed the pipe is ignored, because the run itself goes on.
pub fn print_json(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
