//! The commands of one connection that wait for the bus.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream::FuturesUnordered};

/// Futures that run concurrently. While there are none it holds no memory, because most connections are idle.
pub(super) struct InFlight<F>(Option<Box<FuturesUnordered<F>>>);

impl<F> InFlight<F> {
    /// Creates an empty set.
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Returns the number of futures.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |futures| futures.len())
    }

    /// Adds a future.
    pub(super) fn push(&mut self, future: F) {
        self.0.get_or_insert_default().push(future);
    }
}

impl<F: Future> Stream for InFlight<F> {
    type Item = F::Output;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Some(futures) = &mut self.0 else { return Poll::Ready(None) };
        let next = Pin::new(futures).poll_next(cx);
        if matches!(next, Poll::Ready(None)) {
            self.0 = None;
        }
        next
    }
}
