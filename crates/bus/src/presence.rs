//! Who is where: users in rooms, and what the whole cluster consists of.

use std::{future::Future, time::Duration};

use trunkline_domain::{Holder, Room, Snapshot, UserName};

use crate::BusError;

/// The longest that a killed process stays in anybody's picture, unless configured.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// Presence that several gateways share, beside the logs of a [`Bus`](crate::Bus).
///
/// Each gateway process is a [`Holder`], with a lease in every room where it has users. Changes are told on the room's
/// deliveries as [`Delivery::Presence`](crate::Delivery::Presence), numbered; they may be lost, and the
/// [snapshot](Self::present) is the truth. A lease that ran out ends with the next call of anybody in that room, which is
/// told as a change like any other: so once. Time is the keeper's. Nobody ends another's lease within one lease of
/// having (re)gained the keeper: after an outage everybody gets the time to renew.
///
/// Calls are carried out in the order in which their futures are first polled. A failed one may have been carried out;
/// [`enter`](Self::enter) puts it right, whatever happened.
pub trait Presence: Clone + Send + Sync + 'static {
    /// How long a killed process stays in anybody's picture at most. Its leases may be ended after two thirds of that, by
    /// the next call of anybody in the room: so each is to be renewed at least every quarter of it.
    fn lease(&self) -> Duration;

    /// Says who of `room` is at `holder`, in place of what was said before, and takes the lease. Nobody: gives it up.
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn enter(
        &self,
        room: &Room,
        holder: Holder,
        users: &[UserName],
    ) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Says who came to `holder` in `room` and who went, and renews the lease; without users left, gives it up. Changes
    /// nothing where the lease is [lost](Lease::Lost).
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn shift(
        &self,
        room: &Room,
        holder: Holder,
        came: &[UserName],
        went: &[UserName],
    ) -> impl Future<Output = Result<Lease, BusError>> + Send;

    /// Renews the leases of `holder` in `rooms`. Answers for each, in the same order, its last turn: one that was never
    /// heard of was lost on the way.
    ///
    /// # Errors
    /// Where they were perhaps not renewed.
    fn beat(&self, holder: Holder, rooms: &[Room]) -> impl Future<Output = Result<Vec<Beat>, BusError>> + Send;

    /// Who is in `room`, at which holder.
    ///
    /// # Errors
    /// Where that cannot be read now.
    fn present(&self, room: &Room) -> impl Future<Output = Result<Snapshot, BusError>> + Send;

    /// Says how many users are in each of these rooms: what [`rooms`](Self::rooms) answers, for one lease. 0 takes a room
    /// out.
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn list(&self, rooms: &[(Room, usize)]) -> impl Future<Output = Result<(), BusError>> + Send;

    /// The rooms where somebody is, with how many users are in each; in any order.
    ///
    /// # Errors
    /// Where that cannot be read now.
    fn rooms(&self) -> impl Future<Output = Result<Vec<(Room, usize)>, BusError>> + Send;

    /// Says how the process `holder` does, in words of its own: what [`reports`](Self::reports) answers, for one lease.
    /// Nothing takes it out.
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn report(&self, holder: Holder, about: &str) -> impl Future<Output = Result<(), BusError>> + Send;

    /// How every process does; in any order.
    ///
    /// # Errors
    /// Where that cannot be read now.
    fn reports(&self) -> impl Future<Output = Result<Vec<Report>, BusError>> + Send;
}

/// Whether a holder still has its lease in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Yes.
    Held,
    /// No: it ran out, or the keeper forgot. [Enter](Presence::enter) again.
    Lost,
}

/// What a beat found in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The lease is renewed; this was the room's last turn.
    Renewed(u64),
    /// There is no lease: [enter](Presence::enter) again.
    Lost,
}

/// What a process said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which process.
    pub holder: Holder,
    /// What it said.
    pub about: String,
    /// How long ago.
    pub age: Duration,
}
