//! How many sockets clients may have, and how often they may do something.

pub(crate) mod condition;
mod connections;
pub(crate) mod descriptors;
pub(crate) mod login;
mod rate;

pub(crate) use connections::{ConnectionLimits, Permit, UserPermit};
pub(crate) use rate::{Rate, RateState, RateTable};
