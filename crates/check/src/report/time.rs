//! Times for people.

use crate::history::Micros;

/// Formats a time in milliseconds, with one decimal below 10 ms.
pub(crate) fn format_millis(time: Micros) -> String {
    if time < 10_000 { format!("{}.{} ms", time / 1000, time % 1000 / 100) } else { format!("{} ms", time / 1000) }
}
