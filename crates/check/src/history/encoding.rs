//! Lines as JSON, and their times.

use super::{HistoryLine, Micros};

impl<'a> HistoryLine<'a> {
    /// Parses one line.
    ///
    /// # Errors
    /// Returns the JSON error if `text` is not an object of this format.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Appends the line and a line break to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Writing to a `Vec` does not fail, and neither does serialising strings, numbers and lists of them.
        let _ = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
    }

    /// Time of the event. `Run` and `Client` lines describe the run as a whole and have none.
    #[must_use]
    pub fn time(&self) -> Option<Micros> {
        match self {
            Self::Run { .. } | Self::Client { .. } => None,
            Self::Fault(fault) => Some(fault.t),
            Self::Open { t, .. }
            | Self::Rejected { t, .. }
            | Self::Join { t, .. }
            | Self::Joined { t, .. }
            | Self::Leave { t, .. }
            | Self::Left { t, .. }
            | Self::Send { t, .. }
            | Self::Sent { t, .. }
            | Self::Error { t, .. }
            | Self::Message { t, .. }
            | Self::PageRequest { t, .. }
            | Self::Page { t, .. }
            | Self::Presence { t, .. }
            | Self::Refreshed { t, .. }
            | Self::Closing { t, .. }
            | Self::Close { t, .. }
            | Self::ClientClose { t, .. }
            | Self::InvalidFrame { t, .. }
            | Self::SessionEnded { t, .. }
            | Self::Phase { t, .. }
            | Self::Healed { t }
            | Self::PresenceCheck { t, .. }
            | Self::Settled { t }
            | Self::Disconnecting { t }
            | Self::ReferencePage { t, .. }
            | Self::Folded { t, .. }
            | Self::ProcessUsage { t, .. }
            | Self::End { t } => Some(*t),
        }
    }
}
