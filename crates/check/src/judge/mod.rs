//! The judge: reads a history and returns a verdict. It does no I/O of its own and reads no clock.
//!
//! The judge processes one event at a time and keeps no history. Its memory grows with the number of messages, clients and
//! reported gaps, plus four bytes per delivery (the message number), which the comparison of orders needs.
//!
//! Each invariant of `docs/GUARANTEES.md` is one file of `invariants`. An invariant sees each event together with the
//! `state` that follows from all events before it.

mod engine;
mod event;
mod file;
mod interner;
mod invariant;
mod invariants;
mod known_presence;
mod measurements;
mod phases;
mod quantiles;
mod room_view;
mod silence;
#[cfg(test)]
mod simulation;
mod state;
mod verdict;

pub use engine::Judge;
pub use file::judge_file;
pub(crate) use invariants::FD_GROWTH_MAX;
pub use quantiles::Quantiles;
pub use verdict::{FaultReport, InvariantResult, PhaseReport, RunCounts, TimelineSecond, UnknownUser, Verdict};
