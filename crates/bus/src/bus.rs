//! The trait against which the gateway is written.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_domain::{Draft, Entry, Position, PresenceChange, Room, UserId};

use crate::BusError;

/// Room logs that several gateways share.
///
/// An implementation keeps one log per room, whose positions grow as [`Position`] describes, bounded by number and age of
/// the entries. The contract suite (feature `contract`) specifies the rest as tests.
///
/// ```
/// use trunkline_bus::{Bus, Delivery, LocalBus, LocalConfig, Range, Subscriptions};
/// use trunkline_domain::{Draft, Position, Room, follows};
///
/// # async fn example(bus: impl Bus) -> Result<(), Box<dyn std::error::Error>> {
/// let lobby: Room = "lobby".parse()?;
/// let (subscriptions, mut deliveries) = bus.open();
/// subscriptions.subscribe(&lobby);
/// let draft = Draft::text("m1".parse()?, "ann".parse()?, "hello".parse()?);
/// bus.publish(&lobby, draft).await?;
///
/// let mut head = Position::ORIGIN;
/// while head == Position::ORIGIN {
///     match deliveries.recv().await.ok_or("the bus ended")? {
///         // From here on entries are delivered; earlier ones are in the log.
///         Delivery::Subscribed(room) => head = bus.read(&room, Range::After(head, 100)).await?.head,
///         Delivery::Entry(_, entry) if follows(entry.prev, head) => head = entry.message.pos,
///         _ => {}
///     }
/// }
/// assert_eq!(Some(head), bus.heads(&[lobby]).await?[0]);
/// # Ok(())
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #     example(LocalBus::new(LocalConfig::default())).await
/// # }
/// ```
pub trait Bus: Clone + Send + Sync + 'static {
    /// The handle that [`open`](Self::open) returns.
    type Subscriptions: Subscriptions;

    /// Appends a message, or finds the one that this user sent under the same id within the last ten minutes. `Ok` means
    /// that the log contains it.
    ///
    /// An amendment is checked against the log in the same step, so two processes cannot disagree about it. After a
    /// deletion no read returns the deleted text, or an edit of it.
    ///
    /// Calls are executed in the order in which their futures are first polled. Later calls may wait for an earlier one,
    /// so a future that was polled must be polled to completion or dropped.
    ///
    /// # Errors
    /// - [`Unavailable`](crate::ErrorKind::Unavailable), [`Timeout`](crate::ErrorKind::Timeout): the message may or may not
    ///   have been appended. Retry with the same id.
    /// - [`Rejected`](crate::ErrorKind::Rejected): the message was not appended. A retry succeeds once the log accepts
    ///   writes again.
    /// - [`NotFound`](crate::ErrorKind::NotFound): the message to amend is not a retained text, or was deleted. Nothing was
    ///   appended.
    /// - [`Forbidden`](crate::ErrorKind::Forbidden): the message to amend has another author, and the draft does not say
    ///   that its author may moderate; only deletions of others' messages can be allowed. Nothing was appended.
    fn publish(&self, room: &Room, draft: Draft) -> impl Future<Output = Result<Receipt, BusError>> + Send;

    /// Reads part of a room's log.
    ///
    /// # Errors
    /// The log cannot be read now. Retry later.
    fn read(&self, room: &Room, range: Range) -> impl Future<Output = Result<Page, BusError>> + Send;

    /// The head of each room's log, in the order of `rooms`; [`Position::ORIGIN`] for an empty log, `None` for one that
    /// cannot be read now, while others can.
    ///
    /// # Errors
    /// None of the logs can be read now. Retry later.
    fn heads(&self, rooms: &[Room]) -> impl Future<Output = Result<Vec<Option<Position>>, BusError>> + Send;

    /// Compares the heads of logs with those that the caller knows. Returns the rooms whose log ends elsewhere, with its head,
    /// in the order of `known`. Rooms whose log cannot be read now are left out.
    ///
    /// # Errors
    /// None of the logs can be read now. Retry later.
    fn changed_heads(
        &self,
        known: &[(Room, Position)],
    ) -> impl Future<Output = Result<Vec<(Room, Position)>, BusError>> + Send {
        async move {
            let rooms: Vec<Room> = known.iter().map(|(room, _)| room.clone()).collect();
            let heads = self.heads(&rooms).await?;
            let changed = |((room, known), head): (&(Room, Position), Option<Position>)| {
                head.filter(|head| head != known).map(|head| (room.clone(), head))
            };
            Ok(known.iter().zip(heads).filter_map(changed).collect())
        }
    }

    /// Moves the read mark of `user` in `room` forward to `pos`, at most to the head of the log, and never back. Returns the
    /// mark. Marks are kept for as long as the room's log.
    ///
    /// # Errors
    /// The mark may have been moved. Marking again is harmless.
    fn mark_seen(
        &self,
        room: &Room,
        user: &UserId,
        pos: Position,
    ) -> impl Future<Output = Result<Position, BusError>> + Send;

    /// The read mark of `user` in `room`; `None` if there is none.
    ///
    /// # Errors
    /// The mark cannot be read now.
    fn seen(&self, room: &Room, user: &UserId) -> impl Future<Output = Result<Option<Position>, BusError>> + Send;

    /// Delivers `bytes` to every process subscribed to `room`, as [`Delivery::Ephemeral`]. They are not logged and may be
    /// lost (typing and the like).
    ///
    /// # Errors
    /// The event may or may not have been delivered. Dropping it is right.
    fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Postpones the expiry of the logs of `rooms` to the full retention time from now, because the rooms are in use.
    ///
    /// # Errors
    /// Some expiries were not postponed. Call it again before the retention time has passed.
    fn refresh_expiry(&self, rooms: &[Room]) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Starts the deliveries to this process. A process calls it once.
    ///
    /// It never fails and does not wait for the log to be reachable: while the log is unreachable nothing is delivered,
    /// [`health`](Self::health) says so, and the bus keeps trying. The channel is bounded, and loss is reported in it: each
    /// [`Delivery::Subscribed`] means "everything from now on is delivered; read what came before". A slow consumer slows
    /// the bus down or causes further `Subscribed`, and never loses deliveries silently.
    fn open(&self) -> (Self::Subscriptions, mpsc::Receiver<Delivery>);

    /// The checks on which readiness depends, with their states.
    fn health(&self) -> Vec<Health>;
}

/// The rooms of which a process receives deliveries. Cheap to clone; the methods never block. Dropping the last clone ends
/// the subscription.
pub trait Subscriptions: Clone + Send + Sync + 'static {
    /// Subscribes to the room. [`Delivery::Subscribed`] follows once, and again whenever deliveries may have been lost. A
    /// second call for the same room changes nothing.
    fn subscribe(&self, room: &Room);

    /// Unsubscribes from the room. A few of its deliveries may still arrive.
    fn unsubscribe(&self, room: &Room);
}

/// What a subscribed process receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Everything appended to the room from now on is delivered; read what came before from the log.
    Subscribed(Room),
    /// An entry was appended.
    Entry(Room, Entry),
    /// An ephemeral event was published.
    Ephemeral(Room, Bytes),
    /// The presence of the room changed; see [`PresenceStore`](crate::PresenceStore).
    Presence(Room, PresenceChange),
}

impl Delivery {
    /// The room that it is about.
    #[must_use]
    pub fn room(&self) -> &Room {
        match self {
            Self::Subscribed(room) | Self::Entry(room, _) | Self::Ephemeral(room, _) | Self::Presence(room, _) => room,
        }
    }
}

/// The result of a successful publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Position of the message in the log.
    pub pos: Position,
    /// Whether an earlier call had already appended it.
    pub repeated: bool,
}

/// A part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// The first `limit` entries after this position.
    After(Position, usize),
    /// The last `limit` entries before this position. No entry needs to exist at the position; order decides.
    Before(Position, usize),
    /// The last `limit` entries.
    Latest(usize),
}

/// A part of a log as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, oldest first. Fewer than `limit` only if `more` is false.
    pub entries: Vec<Entry>,
    /// For [`Range::After`]: whether it is proven that no entry is missing between the position and the entries (or,
    /// without entries, that the position is the head). If not, `entries` is empty. True for the other ranges.
    pub follows: bool,
    /// Whether the log contains more in the direction of reading: newer entries for `After`, older ones otherwise.
    pub more: bool,
    /// Head of the log when it was read; never before the last entry of the page.
    pub head: Position,
}

/// A check on which readiness depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its name in the response of `/readyz`.
    pub check: &'static str,
    /// `Ok`, or what is wrong, without secrets.
    pub state: Result<(), String>,
    /// What is wrong although the check passes, without secrets: `shard 10.0.0.1:7001: no answer` while other shards work.
    pub degraded: Vec<String>,
}

impl Health {
    /// A check of which nothing is degraded.
    #[must_use]
    pub fn new(check: &'static str, state: Result<(), String>) -> Self {
        Self { check, state, degraded: Vec::new() }
    }
}
