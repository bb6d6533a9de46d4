//! How many connections and commands clients may have.

mod connections;
mod rate;

pub(crate) use connections::{ConnectionLimits, Permit, UserPermit};
pub(crate) use rate::{Rate, RateTable, RateUsage};
