//! Every message between the reader's task and the tasks of the workers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use trunkline_bus::Range;
use trunkline_domain::{Room, UserName};

use super::tail::{FramePage, Tail};
use crate::{
    frame::Frame,
    ids::{ConnectionKey, WorkerId},
    presence::PresenceState,
};

/// What a hub asks of the reader.
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
    Joined(Room, UserName),
    /// A connection of the user left the room or closed.
    Left(Room, UserName),
}

/// What the reader sends a hub.
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
    /// Who is in the room. It may be dropped, because later state replaces it.
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
}

/// What other tasks send the reader's task.
#[derive(Debug)]
pub(crate) enum ReaderCommand {
    /// A worker started.
    Attach(WorkerId, Mailbox),
    /// A worker's hub asks for something.
    Request(WorkerId, HubRequest),
    /// A worker ended.
    Detach(WorkerId),
    /// Reply as soon as the presence store has all joins and leaves of this instance.
    NotifyWhenPresenceSettled(oneshot::Sender<()>),
}

/// The reader's end of a worker's bounded mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    sender: mpsc::Sender<HubEvent>,
    overflowed: Arc<AtomicBool>,
}

/// The worker's end of its mailbox.
#[derive(Debug)]
pub(crate) struct MailboxReceiver {
    receiver: mpsc::Receiver<HubEvent>,
    overflowed: Arc<AtomicBool>,
}

/// Creates a mailbox for `capacity` events.
pub(crate) fn mailbox(capacity: usize) -> (Mailbox, MailboxReceiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    let overflowed = Arc::new(AtomicBool::new(false));
    (Mailbox { sender, overflowed: overflowed.clone() }, MailboxReceiver { receiver, overflowed })
}

impl Mailbox {
    /// Sends without waiting. Returns whether the event was taken; if not, the worker reads all its rooms again.
    pub(crate) fn send(&self, event: HubEvent) -> bool {
        let is_sent = self.sender.try_send(event).is_ok();
        if !is_sent {
            self.overflowed.store(true, Ordering::Release);
        }
        is_sent
    }

    /// Returns a sender that does not keep the mailbox open.
    pub(crate) fn downgrade(&self) -> mpsc::WeakSender<HubEvent> {
        self.sender.downgrade()
    }
}

impl MailboxReceiver {
    /// Waits for events and appends at most `limit` of them. Returns how many; 0 once the mailbox is closed.
    pub(crate) async fn receive(&mut self, events: &mut Vec<HubEvent>, limit: usize) -> usize {
        self.receiver.recv_many(events, limit).await
    }

    /// Returns whether events were lost since the last call. Always `false` while events wait: these come first.
    pub(crate) fn take_overflow(&mut self) -> bool {
        self.receiver.is_empty() && self.overflowed.swap(false, Ordering::Acquire)
    }
}
