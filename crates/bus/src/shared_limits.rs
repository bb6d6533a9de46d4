//! Limits over all instances: how often a key was used, and which sockets a user has.

use std::{future::Future, time::Duration};

use trunkline_domain::{InstanceId, UserId};

use crate::BusError;

/// What instances must know of each other so that a limit holds for all of them together.
///
/// Rates follow the generic cell rate algorithm (ITU-T I.371, Annex A): the store keeps one theoretical arrival time per
/// key. Instances count locally, and report from time to time.
pub trait SharedLimits: Clone + Send + Sync + 'static {
    /// Whether several processes can share the store. If not, the limits of the process are those of the cluster, and the
    /// other methods need not be called.
    fn is_shared(&self) -> bool;

    /// Charges uses to their keys, and returns the state of each key, in the same order.
    ///
    /// # Errors
    /// Some charges may have been applied.
    fn charge(&self, charges: &[Charge]) -> impl Future<Output = Result<Vec<Charged>, BusError>> + Send;

    /// Reports sockets of `instance` that were opened and closed, and returns the sockets of `instance` to evict: of each
    /// user with more than `max` sockets in all, the oldest. The call also proves that the instance is alive. The sockets
    /// of an instance that does not call for one lease do not count.
    ///
    /// # Errors
    /// Some changes may have been applied, and sockets to evict may have been forgotten. Report all open sockets after the
    /// next success. Reporting a change again has no further effect.
    fn exchange_sockets(
        &self,
        instance: InstanceId,
        max: u32,
        changes: &[SocketChange],
    ) -> impl Future<Output = Result<SocketExchange, BusError>> + Send;
}

/// Uses of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The key, at most some hundred bytes. Instances that mean the same name it alike.
    pub key: String,
    /// Number of uses.
    pub count: u32,
    /// Time between two uses at the rate of the key.
    pub interval: Duration,
    /// `None`: the uses were admitted already and are charged in any case, as of [`REPORT_GRACE`] ago if the key was idle.
    /// Otherwise, they are charged if the backlog of the key is at most this long.
    pub max_backlog: Option<Duration>,
}

/// Maximum age of a use that is charged without distorting the rate. A use counts as if it happened up to this long ago:
/// uses that are reported late and out of order then never add up to more than the rate that the client kept. It allows a
/// user over the limit the uses of 1 s more.
pub const REPORT_GRACE: Duration = Duration::from_secs(1);

/// The state of a key after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charged {
    /// Whether the uses were charged.
    pub is_admitted: bool,
    /// How far the theoretical arrival time of the key is ahead of the time; zero if it is not.
    pub backlog: Duration,
}

/// A socket that was opened or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketChange {
    /// Its user.
    pub user: UserId,
    /// Its number, unique in the instance.
    pub number: u64,
    /// For an open socket, the time since it was opened; `None` if it was closed.
    pub age: Option<Duration>,
}

/// The answer to [`SharedLimits::exchange_sockets`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketExchange {
    /// Whether the store knew the instance before the call. If not, it may know none of its sockets: report all of them.
    pub was_known: bool,
    /// Sockets to evict, by user and number. The store has forgotten them.
    pub evict: Vec<(UserId, u64)>,
}
