//! Every message between the reader's task and the tasks of the workers.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use trunkline_bus::Range;
use trunkline_domain::{Member, Position, Room, UserId};

use super::tail::{FramePage, Tail};
use crate::{
    frame::Frame,
    ids::{ConnectionKey, WorkerId},
    presence::PresenceState,
};

/// A request of a hub to the reader.
///
/// `Joined` and `Left` are sent once per subscription. Of the others at most one of each kind is in flight per room and
/// worker. So the channel, which is unbounded and loses nothing, contains at most a few entries per join.
#[derive(Debug)]
pub(crate) enum HubRequest {
    /// Send the room's tail, then everything that follows: the room has its first member here, or events were lost.
    Follow(Room),
    /// The room has no members here any more.
    Unfollow(Room),
    /// A cursor needs a part of the log that the tail does not contain.
    Page(Room, Range),
    /// A connection of the user joined the room. The reader counts connections per user.
    Joined(Room, Member),
    /// A connection of the user left the room or closed.
    Left(Room, Member),
}

/// An event that the reader sends a hub.
#[derive(Clone, Debug)]
pub(crate) enum HubEvent {
    /// The room's tail, in place of any earlier one.
    Tail(Room, Tail),
    /// Consecutive frames, which follow the ones that were sent before.
    Frames(Room, Arc<[Frame]>),
    /// The page that was requested.
    Page(Room, FramePage),
    /// A frame that is not logged and may be dropped.
    Ephemeral(Room, Bytes),
    /// A user's read mark moved: a frame for their connections, except the one that moved it. It may be dropped.
    Seen {
        /// The room.
        room: Room,
        /// The user.
        user: UserId,
        /// The connection that moved the mark, if it belongs to this worker.
        except: Option<ConnectionKey>,
        /// The frame.
        frame: Bytes,
    },
    /// The text at this position was deleted.
    Deleted(Room, Position, DeletionApplied),
    /// The users of the room. It may be dropped, because later state replaces it.
    Presence {
        /// The room.
        room: Room,
        /// The whole state.
        state: PresenceState,
        /// The frame that leads from the state before to this one; `None` if only the whole state will do.
        diff: Option<Bytes>,
    },
    /// Close this connection, because its user has too many.
    Evict(ConnectionKey),
    /// Close every connection of the user.
    Disconnect(UserId),
}

/// Every worker that has applied a deletion drops its clone. When the last one is dropped, the receiver of the channel is
/// notified.
#[derive(Clone, Debug)]
pub(crate) struct DeletionApplied(#[expect(dead_code, reason = "its end is the message")] Arc<oneshot::Sender<()>>);

impl DeletionApplied {
    /// Also returns the receiver, whose value is always an error.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(sender)), receiver)
    }
}

/// A command of another task to the reader's task.
#[derive(Debug)]
pub(crate) enum ReaderCommand {
    /// A worker started.
    Attach(WorkerId, Mailbox),
    /// A worker's hub asks for something.
    Request(WorkerId, HubRequest),
    /// A worker ended.
    Detach(WorkerId),
    /// The text at this position of the room was deleted: remove every copy of it in this process.
    Delete(Room, Position, DeletionApplied),
    /// Reply as soon as the presence store has all joins and leaves of this instance.
    NotifyWhenPresenceSettled(oneshot::Sender<()>),
}

/// The sending end of a worker's mailbox. The number of events in it is bounded; a batch of them is one message, so that it
/// wakes the worker once.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox(Arc<MailboxState>);

/// A reference to a mailbox that does not keep it open.
#[derive(Clone, Debug)]
pub(crate) struct WeakMailbox(Weak<MailboxState>);

/// The worker's end of its mailbox.
#[derive(Debug)]
pub(crate) struct MailboxReceiver {
    receiver: mpsc::UnboundedReceiver<Vec<HubEvent>>,
    fill: Arc<MailboxFill>,
}

#[derive(Debug)]
struct MailboxState {
    sender: mpsc::UnboundedSender<Vec<HubEvent>>,
    capacity: usize,
    fill: Arc<MailboxFill>,
}

#[derive(Debug, Default)]
struct MailboxFill {
    /// Number of events that wait.
    events: AtomicUsize,
    /// Whether events were dropped.
    has_overflowed: AtomicBool,
}

/// Creates a mailbox for `capacity` events.
pub(crate) fn mailbox(capacity: usize) -> (Mailbox, MailboxReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let fill = Arc::new(MailboxFill::default());
    (Mailbox(Arc::new(MailboxState { sender, capacity, fill: fill.clone() })), MailboxReceiver { receiver, fill })
}

impl Mailbox {
    /// Sends as many events of the batch as fit, without waiting. Returns how many were dropped; the worker then requests
    /// everything again that may have been among them.
    pub(crate) fn send(&self, mut batch: Vec<HubEvent>) -> usize {
        let space = self.0.capacity.saturating_sub(self.0.fill.events.load(Ordering::Acquire));
        let dropped = batch.len().saturating_sub(space);
        if dropped > 0 {
            batch.truncate(space);
            self.0.fill.has_overflowed.store(true, Ordering::Release);
        }
        if !batch.is_empty() {
            self.0.send(batch);
        }
        dropped
    }

    /// Returns a reference that does not keep the mailbox open.
    pub(crate) fn downgrade(&self) -> WeakMailbox {
        WeakMailbox(Arc::downgrade(&self.0))
    }
}

impl WeakMailbox {
    /// Sends an event even if the mailbox is full. If the worker has ended, the event is dropped.
    pub(crate) fn send(&self, event: HubEvent) {
        if let Some(state) = self.0.upgrade() {
            state.send(vec![event]);
        }
    }
}

impl MailboxState {
    fn send(&self, batch: Vec<HubEvent>) {
        self.fill.events.fetch_add(batch.len(), Ordering::AcqRel);
        // Fails only if the worker has ended.
        let _ = self.sender.send(batch);
    }
}

impl MailboxReceiver {
    /// Waits for the next batch; `None` once the mailbox is closed.
    pub(crate) async fn receive(&mut self) -> Option<Vec<HubEvent>> {
        let batch = self.receiver.recv().await;
        self.taken(batch)
    }

    /// Returns the next batch if one waits.
    pub(crate) fn try_receive(&mut self) -> Option<Vec<HubEvent>> {
        let batch = self.receiver.try_recv().ok();
        self.taken(batch)
    }

    /// Returns whether no batch waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Returns whether events were dropped since the last call. A batch of which every event was dropped wakes no receiver,
    /// so this must also be called while nothing arrives.
    pub(crate) fn take_overflow(&mut self) -> bool {
        self.fill.has_overflowed.swap(false, Ordering::AcqRel)
    }

    fn taken(&self, batch: Option<Vec<HubEvent>>) -> Option<Vec<HubEvent>> {
        if let Some(batch) = &batch {
            self.fill.events.fetch_sub(batch.len(), Ordering::AcqRel);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(length: usize) -> Vec<HubEvent> {
        vec![HubEvent::Evict(ConnectionKey { slot: 0, serial: 1 }); length]
    }

    #[test]
    fn events_that_do_not_fit_are_dropped_and_reported_while_others_wait() {
        let (mailbox, mut events) = mailbox(10);
        assert_eq!(mailbox.send(batch(7)), 0);
        assert!(!events.take_overflow());
        assert_eq!(mailbox.send(batch(4)), 1);
        assert!(!events.is_empty() && events.take_overflow(), "events wait");
        assert!(!events.take_overflow());
        assert_eq!(mailbox.send(batch(1)), 1, "nothing fits");
        assert!(events.take_overflow());
        assert_eq!(events.try_receive().unwrap().len() + events.try_receive().unwrap().len(), 10);
        assert!(events.is_empty() && !events.take_overflow());
        assert_eq!(mailbox.send(batch(10)), 0, "what was taken makes space");
        mailbox.downgrade().send(HubEvent::Evict(ConnectionKey { slot: 0, serial: 1 }));
        assert_eq!(events.try_receive().unwrap().len() + events.try_receive().unwrap().len(), 11);
    }
}
