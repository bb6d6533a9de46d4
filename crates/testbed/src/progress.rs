//! Progress reports of long operations, and their cancellation.

/// Receives the progress of a long operation, such as a download. Implemented for any `Fn(&str)`.
pub trait Progress {
    /// Called when a new step begins.
    fn step(&self, text: &str);

    /// Polled every few milliseconds. `true` ends the operation with [`TestbedError::Cancelled`](crate::TestbedError).
    fn cancelled(&self) -> bool {
        false
    }
}

impl<F: Fn(&str)> Progress for F {
    fn step(&self, text: &str) {
        self(text);
    }
}

/// Ignores all reports and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn step(&self, _: &str) {}
}
