//! The fault matrix: a row is a fault, how it is made, and what is required beyond the promise.

mod failover;
mod gateways;
mod hostile;
mod network;
mod redis;
mod sessions;

use super::{scene::Scene, site::Store};
use crate::error::Result;

/// One row.
pub(crate) struct Row {
    /// What `--only` takes.
    pub(crate) name: &'static str,
    /// What breaks.
    pub(crate) fault: &'static str,
    /// What must hold beyond the promise.
    pub(crate) required: &'static str,
    pub(crate) store: Store,
    /// Arguments of every gateway.
    pub(crate) arguments: &'static [&'static str],
    /// Begins, breaks, heals and waits; the judgement comes after it, unless it asks for it itself.
    pub(crate) act: fn(&mut Scene<'_>) -> Result<()>,
}

impl Row {
    /// Every row there is, in the order of the matrix in docs/GUARANTEES.md.
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        [gateways::ROWS, redis::ROWS, failover::ROWS, network::ROWS, hostile::ROWS, sessions::ROWS]
            .into_iter()
            .flatten()
    }
}

/// Rows of the matrix that cannot be run yet, and why.
pub(crate) const NOT_RUN: &[(&str, &str, &str)] =
    &[("presence", "presence through every fault", "the checker does not judge presence yet")];
