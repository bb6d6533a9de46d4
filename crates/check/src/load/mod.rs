//! Load: clients that write and read through the public protocol by a plan, and record what they send and receive.
//!
//! [`run()`] logs the clients in, lets them write, waits until every message is settled, makes a reference read of every
//! room, disconnects the clients and returns the verdict.

mod amendments;
mod control;
mod load_client;
mod login;
mod observer;
mod plan;
mod processes;
mod recorder;
mod reference_read;
mod room_folds;
mod run;
mod settings;
mod tokens;
mod traced_text;

pub use control::RunControl;
pub(crate) use login::{log_in, log_out};
#[cfg(test)]
pub(crate) use observer::logged;
pub(crate) use processes::ProcessUsage;
pub use recorder::LiveMetrics;
#[cfg(test)]
pub(crate) use room_folds::RoomFold;
pub use run::{RunProgress, RunState, run, run_with_control};
pub use settings::{ExpectedFault, LoadSettings};
#[cfg(test)]
pub(crate) use traced_text::TracedText;
