//! Delivery checker and load generator for Trunkline deployments.
//!
//! Clients write and read through the public protocol and record every frame. A judge decides from this history alone
//! whether the deployment kept the guarantees of `docs/GUARANTEES.md`. `trunkline-check run` does both at once;
//! `trunkline-check judge FILE` judges a recorded history.
//!
//! ```no_run
//! use clap::Parser;
//! use trunkline_check::{load, report};
//!
//! #[derive(Parser)]
//! struct Flags {
//!     #[command(flatten)]
//!     settings: load::LoadSettings,
//! }
//!
//! # async fn check() -> Result<(), trunkline_check::CheckError> {
//! let Flags { settings } = Flags::parse_from(["check", "--url", "http://127.0.0.1:8080", "--for", "10s"]);
//! let verdict = load::run(&settings, |_| {}).await?;
//! println!("{}", report::TextReport(&verdict));
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//! - [`history`]: format of a history.
//! - [`judge`]: the invariants, one file each, and the verdict.
//! - [`load`]: the clients of a run.
//! - [`attack`]: hostile and broken clients.
//! - [`proxy`]: a TCP proxy that impairs connections on command.
//! - [`report`]: verdicts as text and HTML, and the page, table and plot that other reports of the workspace share.

pub mod attack;
mod error;
pub mod history;
pub mod judge;
pub mod load;
pub mod output;
pub mod proxy;
pub mod report;

pub use error::CheckError;
