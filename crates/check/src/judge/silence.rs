//! The longest time that each client waited for a message of a room while one was due.

use std::collections::HashMap;

use super::{
    event::RoomNumber,
    quantiles::{Quantiles, TimeHistogram},
    state::MessageFate,
};
use crate::history::{ClientNumber, Micros};

/// Longest silence per client and room. A silence goes on while the client reconnects.
#[derive(Debug, Default)]
pub(crate) struct SilenceTracker(HashMap<(ClientNumber, RoomNumber), RoomSilence>);

#[derive(Debug, Default)]
struct RoomSilence {
    /// Time of the last delivery.
    last: Option<Micros>,
    longest: Micros,
}

impl SilenceTracker {
    /// Records a delivery and returns the length of the silence that it ends. A silence begins with the previous delivery
    /// or, if that is later, when this message was due: a room without traffic is not silent.
    pub(crate) fn delivered(&mut self, view: (ClientNumber, RoomNumber), t: Micros, fate: MessageFate) -> Micros {
        let silence = self.0.entry(view).or_default();
        let last = silence.last.replace(t).filter(|_| fate.attempts > 0);
        let ended = last.map_or(0, |last| t.saturating_sub(last.max(fate.due)));
        silence.longest = silence.longest.max(ended);
        ended
    }

    /// The client left the room: the time until it joins again is not a silence.
    pub(crate) fn left(&mut self, view: (ClientNumber, RoomNumber)) {
        if let Some(silence) = self.0.get_mut(&view) {
            silence.last = None;
        }
    }

    /// Returns the distribution of the longest silences.
    pub(crate) fn quantiles(&self) -> Quantiles {
        let mut times = TimeHistogram::new(3);
        self.0.values().for_each(|silence| times.record(silence.longest));
        times.quantiles()
    }
}
