//! How often a client may do something, and how many sockets it may have.

pub(crate) mod condition;
pub(crate) mod descriptors;
pub(crate) mod login;
pub(crate) mod rate;
