//! How many sockets clients may have, and how often they may do something. The limits per user and the login limits hold
//! for all instances together.

pub(crate) mod condition;
mod connections;
pub(crate) mod descriptors;
mod exchange;
pub(crate) mod login;
mod rate;
mod send;

pub(crate) use connections::{ConnectionLimits, Permit, UserPermit};
pub(crate) use exchange::SendLimits;
pub(crate) use rate::{Rate, RateState};
