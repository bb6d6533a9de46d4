//! Presence: which users are in which room, and which instances are alive.

use std::{future::Future, time::Duration};

#[cfg(doc)]
use trunkline_domain::ChangeKind;
use trunkline_domain::{InstanceId, Member, PresenceSnapshot, Room};

use crate::BusError;

/// How long the presence of a killed instance remains visible, unless configured otherwise.
pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// Number of leases for which the list of rooms contains a count whose instance sends heartbeats. A larger value saves writes.
/// After Redis was emptied without a restart, the list lacks quiet rooms until their leases are checked, at most 4 min.
pub const ROOM_COUNT_LEASES: u32 = 16;

/// Which users are in a room, and at which instance; shared by all instances.
///
/// In each room an instance holds a lease on the users that it reported. The lease ends when the instance gives it up, or
/// when another instance that misses its [heartbeats](InstanceRegistry::heartbeat) [expires](Self::expire) it. Changes are
/// numbered per room and arrive with the room's deliveries as [`Delivery::Presence`](crate::Delivery::Presence). They may be
/// lost; the [snapshot](Self::snapshot) is the truth.
///
/// Calls are executed in the order in which their futures are first polled. A failed call may have been executed;
/// [`replace`](Self::replace) restores a known state in every case.
///
/// ```
/// use trunkline_bus::{Lease, LocalBus, LocalConfig, PresenceStore};
/// use trunkline_domain::{InstanceId, Room};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = LocalBus::new(LocalConfig::default());
/// let (lobby, instance): (Room, _) = ("lobby".parse()?, InstanceId(1));
/// store.replace(&lobby, instance, &["ann".parse()?]).await?;
/// assert_eq!(store.update(&lobby, instance, &["bob".parse()?], &[]).await?, Lease::Held);
/// // Another instance found this one dead.
/// store.expire(instance, &[lobby.clone()]).await?;
/// assert_eq!(store.update(&lobby, instance, &["cai".parse()?], &[]).await?, Lease::Lost);
/// assert!(store.snapshot(&lobby).await?.instances.is_empty());
/// # Ok(())
/// # }
/// ```
pub trait PresenceStore: Clone + Send + Sync + 'static {
    /// Sets the users of `instance` in `room`, in place of the users set before, and takes the lease. An empty list gives
    /// the lease up.
    ///
    /// # Errors
    /// The change may have been applied.
    fn replace(
        &self,
        room: &Room,
        instance: InstanceId,
        users: &[Member],
    ) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Adds `joined` to the users of `instance` in `room` and removes `left`; when no user remains, gives the lease up.
    /// Changes nothing if the lease is [lost](Lease::Lost).
    ///
    /// # Errors
    /// The change may have been applied.
    fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        joined: &[Member],
        left: &[Member],
    ) -> impl Future<Output = Result<Lease, BusError>> + Send;

    /// Whether `instance` still holds its lease in each of `rooms`, in the same order; `None` where that cannot be read now,
    /// because the part of the store that has the room is away. A lease that is not checked for one hour may be forgotten.
    ///
    /// # Errors
    /// No lease can be read now.
    fn check(
        &self,
        instance: InstanceId,
        rooms: &[Room],
    ) -> impl Future<Output = Result<Vec<Option<LeaseStatus>>, BusError>> + Send;

    /// Ends the leases of a dead `instance` in `rooms`. Subscribers receive [`ChangeKind::Expired`] once, however many
    /// instances expire it. An instance that is alive after all receives it too, and replaces its users again.
    ///
    /// # Errors
    /// The change may have been applied.
    fn expire(&self, instance: InstanceId, rooms: &[Room]) -> impl Future<Output = Result<(), BusError>> + Send;

    /// The users of `room`, by instance.
    ///
    /// # Errors
    /// Presence cannot be read now.
    fn snapshot(&self, room: &Room) -> impl Future<Output = Result<PresenceSnapshot, BusError>> + Send;

    /// Sets the number of users in each of these rooms, which [`room_counts`](Self::room_counts) returns for at least one
    /// lease, and for [`ROOM_COUNT_LEASES`] while the instance sends heartbeats. A count of 0 removes the room from the list.
    /// Set every count again within a lease, because another instance may write an older one at the same time, and from
    /// then on within every [`ROOM_COUNT_LEASES`].
    ///
    /// # Errors
    /// The change may have been applied.
    fn set_room_counts(&self, counts: &[(Room, usize)]) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Every room that has users, with that number, in no particular order.
    ///
    /// # Errors
    /// The list cannot be read now.
    fn room_counts(&self) -> impl Future<Output = Result<Vec<(Room, usize)>, BusError>> + Send;
}

/// Which instances are alive, and what each reports of itself.
///
/// An instance sends a heartbeat for as long as it runs. The cost does not depend on the number of rooms in which it has
/// users.
pub trait InstanceRegistry: Clone + Send + Sync + 'static {
    /// How long a killed instance may remain visible. It counts as alive for half of this time after its last heartbeat;
    /// the other half is for the instances that look for missing heartbeats, and look twice.
    fn lease(&self) -> Duration;

    /// Records that `instance` is alive. Returns every instance, `instance` included, whose last heartbeat is less than
    /// half a lease ago, by the clock of the store.
    ///
    /// # Errors
    /// The heartbeat may have been recorded.
    fn heartbeat(&self, instance: InstanceId) -> impl Future<Output = Result<Vec<InstanceId>, BusError>> + Send;

    /// Publishes a report of `instance` about itself: what [`reports`](Self::reports) returns for the next lease. The text
    /// is the caller's; an empty string removes the entry.
    ///
    /// # Errors
    /// The report may have been stored.
    fn report(&self, instance: InstanceId, text: &str) -> impl Future<Output = Result<(), BusError>> + Send;

    /// The last report of every instance, in no particular order.
    ///
    /// # Errors
    /// The reports cannot be read now.
    fn reports(&self) -> impl Future<Output = Result<Vec<InstanceReport>, BusError>> + Send;
}

/// Whether a change was made under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// The change was applied.
    Held,
    /// The lease had been expired or forgotten, and nothing changed. Call [`PresenceStore::replace`].
    Lost,
}

/// The state of an instance's lease in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStatus {
    /// The instance holds a lease. Contains the version of the room's last change; a subscriber that has not received that
    /// version has lost a change.
    Held(u64),
    /// There is no lease. Call [`PresenceStore::replace`].
    Lost,
}

/// What an instance reported of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// The instance.
    pub instance: InstanceId,
    /// Its text.
    pub text: String,
    /// Time since the report.
    pub age: Duration,
}
