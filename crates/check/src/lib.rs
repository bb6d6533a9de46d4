//! Delivery checker and load generator for Trunkline deployments.
//!
//! Clients write and read through the public protocol and write down what they see; a judge decides from that history
//! alone whether the promise was kept. `trunkline-check run` does both at once, `trunkline-check judge FILE` the second,
//! whenever and wherever one likes.
//!
//! ```no_run
//! use clap::Parser;
//! use trunkline_check::{load, report};
//!
//! #[derive(Parser)]
//! struct Flags {
//!     #[command(flatten)]
//!     settings: load::Settings,
//! }
//!
//! # async fn check() -> Result<(), trunkline_check::Error> {
//! let Flags { settings } = Flags::parse_from(["check", "--url", "http://127.0.0.1:8080", "--for", "10s"]);
//! let verdict = load::run(&settings, |_| {}).await?;
//! println!("{}", report::Text(&verdict));
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//! [`history`] is the format of a history, [`judge`] a file an invariant, [`load`] the clients, [`report`] what people
//! read; [`proxy`] is a TCP proxy that breaks connections on demand, [`attack`] what a hostile client does.

pub mod attack;
mod error;
pub mod history;
pub mod judge;
pub mod load;
pub mod proxy;
pub mod report;

pub use error::Error;

/// Judges a recorded history.
///
/// # Errors
/// [`Error::File`] where it cannot be read, [`Error::History`] where it is none.
pub fn judge_file(path: &std::path::Path) -> Result<judge::Verdict, Error> {
    use std::io::{BufRead, BufReader};

    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut judge, mut line, mut count) = (judge::Judge::new(), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line).map_err(Error::file(path))? > 0 {
        count = load::take_lines(&mut judge, &line, count)?;
        line.clear();
    }
    if count == 0 {
        return Err(Error::Usage(format!("{} is empty", path.display())));
    }
    Ok(judge.verdict())
}
