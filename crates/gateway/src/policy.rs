//! Policies: which actions a user may take.

use std::future::{Future, ready};

use trunkline_domain::{Permission, Room};

use crate::identity::Identity;

/// Decides which user may join, read, send and list rooms. Embedders pass their own to
/// [`Gateway::with_policy`](crate::Gateway::with_policy).
///
/// Every command of a connection passes the policy, in order. While it decides, later commands of the same connection wait.
///
/// # Examples
/// A room `news` in which only `editor` writes:
/// ```
/// use std::future::ready;
///
/// use trunkline_gateway::{Action, Denied, Identity, Policy};
///
/// #[derive(Clone)]
/// struct NewsDesk;
///
/// impl Policy for NewsDesk {
///     fn decide(&self, identity: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
///         let is_editor = identity.user().as_str() == "editor";
///         ready(match action {
///             Action::Send(room) if room.as_str() == "news" && !is_editor => {
///                 Err(Denied("Only the editor writes here.".to_owned()))
///             }
///             _ => Ok(()),
///         })
///     }
/// }
/// ```
pub trait Policy: Clone + Send + Sync + 'static {
    /// Decides whether `user` may do this.
    ///
    /// # Errors
    /// [`Denied`] with the reason, which the client is sent.
    fn decide(&self, identity: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send;
}

/// An action that a user requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Receive the messages of a room: the latest ones and those from now on.
    Join(&'a Room),
    /// Read older messages of a room.
    Read(&'a Room),
    /// Send messages and signals to a room, and amend one's own messages.
    Send(&'a Room),
    /// Delete the messages of others in a room.
    Moderate(&'a Room),
    /// See the list of active rooms.
    List,
}

/// The policy denies the action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(
    /// The reason, which is shown to the user.
    pub String,
);

/// The policy that allows every logged-in user every action except to moderate.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Policy for AllowAll {
    fn decide(&self, identity: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        ready(match action {
            // The grants of the identity were asked before.
            Action::Moderate(_) if !identity.has_grants() => Err(Denied("There are no moderators.".to_owned())),
            _ => Ok(()),
        })
    }
}

/// Asks the grants of the identity, and then the policy.
///
/// # Errors
/// [`Denied`] by either, with a reason for the client.
pub(crate) async fn decide(policy: &impl Policy, identity: &Identity, action: Action<'_>) -> Result<(), Denied> {
    let needed = match action {
        Action::Join(room) => Some((Permission::Join, room)),
        Action::Read(room) => Some((Permission::Read, room)),
        Action::Send(room) => Some((Permission::Send, room)),
        Action::Moderate(room) => Some((Permission::Moderate, room)),
        Action::List => None,
    };
    if needed.is_some_and(|(permission, room)| !identity.is_granted(permission, room)) {
        return Err(Denied("Your token does not allow this here.".to_owned()));
    }
    policy.decide(identity, action).await
}
