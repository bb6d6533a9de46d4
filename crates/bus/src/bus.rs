//! The trait that the gateway is written against.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_domain::{Draft, Entry, Position, PresenceChange, Room};

use crate::BusError;

/// Room logs that several gateways share.
///
/// An implementation keeps, for every room, a log of entries with positions that grow by the rules of
/// [`Position`], bounded by count and by age. The contract suite (feature `contract`) says the rest in tests.
pub trait Bus: Clone + Send + Sync + 'static {
    /// What [`open`](Self::open) gives to say which rooms are of interest.
    type Subscriptions: Subscriptions;

    /// Appends a message, or finds the one that this user already sent under this id within the last ten minutes.
    /// `Ok` means that the log holds it. Calls are carried out in the order in which their futures are first polled; so
    /// one that was polled is to be polled on or dropped, for others may wait behind it.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and [`Timeout`](crate::ErrorKind::Timeout) are indeterminate: the
    /// message may or may not stand, and a retry with the same id is safe.
    fn publish(&self, room: &Room, draft: Draft) -> impl Future<Output = Result<Receipt, BusError>> + Send;

    /// Reads part of a room's log.
    ///
    /// # Errors
    /// Where the log cannot be read now.
    fn read(&self, room: &Room, range: Range) -> impl Future<Output = Result<Page, BusError>> + Send;

    /// Where the logs of `rooms` end, in the same order; [`Position::ORIGIN`] for an empty one.
    ///
    /// # Errors
    /// Where the logs cannot be read now.
    fn heads(&self, rooms: &[Room]) -> impl Future<Output = Result<Vec<Position>, BusError>> + Send;

    /// Tells every gateway with interest in `room` something that is not logged and may be lost (typing and the like).
    ///
    /// # Errors
    /// Where it was certainly not told.
    fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Pushes the expiry of the logs of `rooms` back to the full retention: somebody is there.
    ///
    /// # Errors
    /// Where it was not done; the next time serves as well.
    fn refresh_expiry(&self, rooms: &[Room]) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Starts listening; called once per process. Never fails and never waits for the log to be there: while it cannot
    /// be reached, nothing comes, [`health`](Self::health) says so, and the listener goes on trying.
    ///
    /// The stream is bounded and loss is a value in it: each [`Delivery::Subscribed`] says "from here on you hear
    /// everything, read what came before". A consumer that does not keep up slows the bus down, never breaks it.
    fn open(&self) -> (Self::Subscriptions, mpsc::Receiver<Delivery>);

    /// What readiness depends on, each check with its state.
    fn health(&self) -> Vec<Health>;
}

/// Which rooms a process wants to hear of. Cheap to clone; never blocks. Dropping the last one stops the listener.
pub trait Subscriptions: Clone + Send + Sync + 'static {
    /// Asks for the room's deliveries; [`Delivery::Subscribed`] follows, once, and again whenever some may have been
    /// lost. Asking again for a room already asked for changes nothing.
    fn subscribe(&self, room: &Room);

    /// No more deliveries of the room; some may be under way still.
    fn unsubscribe(&self, room: &Room);
}

/// One thing heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// From now on everything appended to the room is heard; whatever came before must be read from the log.
    Subscribed(Room),
    /// An entry was appended.
    Entry(Room, Entry),
    /// Somebody whispered.
    Ephemeral(Room, Bytes),
    /// Somebody came or went, or a lease ran out; see [`Presence`](crate::Presence).
    Presence(Room, PresenceChange),
}

/// The answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where the message stands.
    pub pos: Position,
    /// Whether an earlier attempt had already put it there.
    pub repeated: bool,
}

/// Which part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// The entries that follow this position, oldest first, at most `limit`.
    After(Position, usize),
    /// The last `limit` entries before this position, which need not exist; order decides.
    Before(Position, usize),
    /// The last `limit` entries.
    Latest(usize),
}

/// Part of a log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries. Fewer than asked for only where `more` is false.
    pub entries: Vec<Entry>,
    /// For [`Range::After`]: whether it is proven that nothing is missing between the position and the entries (or, with
    /// no entries, that the position is the head). Where it is not, `entries` is empty. True for the other ranges.
    pub follows: bool,
    /// Whether the log holds more in the direction of reading: newer ones for `After`, older ones otherwise.
    pub more: bool,
    /// Where the log ended at the time of reading, never before the page's last entry.
    pub head: Position,
}

/// One thing that readiness depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its name in the answer of `/readyz`.
    pub check: &'static str,
    /// `Ok`, or what is wrong, without secrets.
    pub state: Result<(), String>,
}
