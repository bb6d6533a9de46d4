//! How many sockets clients may have, and how often they may do something.

mod connections;
pub(crate) mod login;
mod rate;

pub(crate) use connections::{ConnectionLimits, Permit, UserPermit};
pub(crate) use rate::{Rate, RateState, RateTable};
