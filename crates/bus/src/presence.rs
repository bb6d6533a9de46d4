//! Who is where: users in rooms, and what the whole cluster consists of.

use std::{future::Future, time::Duration};

#[cfg(doc)]
use trunkline_domain::Shift;
use trunkline_domain::{Holder, Room, Snapshot, UserName};

use crate::BusError;

/// The longest that a killed process stays in anybody's picture, unless configured.
pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// Presence that several gateways share, beside the logs of a [`Bus`](crate::Bus).
///
/// Each gateway process is a [`Holder`], which [beats](Self::beat) as long as it lives: that costs the same in however
/// many rooms it has users. In each of these it holds a lease, until it gives it up, or until somebody who misses its
/// beats [ends](Self::end) it. Changes are told on the room's deliveries as
/// [`Delivery::Presence`](crate::Delivery::Presence), numbered; they may be lost, and the [snapshot](Self::present) is
/// the truth.
///
/// Calls are carried out in the order in which their futures are first polled. A failed one may have been carried out;
/// [`enter`](Self::enter) puts it right, whatever happened.
pub trait Presence: Clone + Send + Sync + 'static {
    /// How long a killed process may stay in anybody's picture. It counts as alive for half of that after its last beat;
    /// the other half is for those who look, and for looking twice.
    fn lease(&self) -> Duration;

    /// Says that `holder` lives. Answers whose last beat is less than half a lease ago, `holder` too; time is the
    /// keeper's.
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn beat(&self, holder: Holder) -> impl Future<Output = Result<Vec<Holder>, BusError>> + Send;

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

    /// Says who came to `holder` in `room` and who went; without users left, gives the lease up. Changes nothing where it
    /// is [lost](Lease::Lost).
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

    /// Whether `holder` has its leases in `rooms` still. Answers for each, in the same order. What nobody checks for an
    /// hour may be forgotten.
    ///
    /// # Errors
    /// Where that cannot be told now.
    fn check(&self, holder: Holder, rooms: &[Room]) -> impl Future<Output = Result<Vec<Standing>, BusError>> + Send;

    /// Ends the leases of a `holder` that is dead in `rooms`, which is told as [`Shift::Lapsed`] once, whoever else ends
    /// them too. One that lives after all hears of it, and enters again.
    ///
    /// # Errors
    /// Where it was perhaps not done.
    fn end(&self, holder: Holder, rooms: &[Room]) -> impl Future<Output = Result<(), BusError>> + Send;

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

/// Whether a change was made under a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Yes.
    Held,
    /// No: somebody ended it, or the keeper forgot. [Enter](Presence::enter) again.
    Lost,
}

/// How a holder stands in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a lease. This was the room's last turn: one that was never heard of was lost on the way.
    Held(u64),
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
