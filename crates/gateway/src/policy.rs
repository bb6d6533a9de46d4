//! Who may do what.

use std::future::{Future, ready};

use trunkline_domain::{Room, UserName};

/// Decides who may join, read, send and list. Every command of a socket goes through it, in order: while it decides, the
/// socket's later commands wait. An embedder replaces it with [`Gateway::with_policy`](crate::Gateway::with_policy).
pub trait Policy: Clone + Send + Sync + 'static {
    /// Whether `user` may do this.
    fn decide(&self, user: &UserName, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send;
}

/// What a user wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Hear what is said in a room from now on, and what was said last.
    Join(&'a Room),
    /// Read older messages of a room.
    Read(&'a Room),
    /// Say something in a room.
    Send(&'a Room),
    /// See which rooms are active.
    List,
}

/// The policy says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(
    /// Why, for the person who asked.
    pub String,
);

/// Everybody who is logged in may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedIn;

impl Policy for LoggedIn {
    fn decide(&self, _: &UserName, _: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        ready(Ok(()))
    }
}
