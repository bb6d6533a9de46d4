//! How long work tells what it is doing, and learns that nobody waits for it any more.

/// Follows long work (downloading, unpacking). Any `Fn(&str)` will do.
pub trait Progress {
    /// A new step has begun.
    fn step(&self, text: &str);

    /// Asked often; `true` ends the work with [`TestbedError::Cancelled`](crate::TestbedError::Cancelled).
    fn cancelled(&self) -> bool {
        false
    }
}

impl<F: Fn(&str)> Progress for F {
    fn step(&self, text: &str) {
        self(text);
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn step(&self, _: &str) {}
}
