//! Commands of one socket that wait for the log.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, stream::FuturesUnordered};

/// Futures that run side by side. Without any it holds nothing: an idle socket, which most are, pays for none.
pub(super) struct UnderWay<F>(Option<Box<FuturesUnordered<F>>>);

impl<F> UnderWay<F> {
    pub(super) fn new() -> Self {
        Self(None)
    }

    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |futures| futures.len())
    }

    pub(super) fn push(&mut self, future: F) {
        self.0.get_or_insert_default().push(future);
    }
}

impl<F: Future> Stream for UnderWay<F> {
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
