//! Inputs and effects of a [`PresenceTracker`](super::PresenceTracker).

use bytes::Bytes;
use trunkline_bus::{Lease, LeaseStatus};
use trunkline_domain::{InstanceId, Member, PresenceChange, PresenceSnapshot, Room};

use super::PresenceState;
use crate::ids::WorkerId;

/// An event that the tracker handles.
#[derive(Debug)]
pub(crate) enum PresenceInput {
    /// The worker has members in the room, or lost events about it: it needs the current state.
    Follow(WorkerId, Room),
    /// The worker has no members in the room any more.
    Unfollow(WorkerId, Room),
    /// A connection of the user joined the room.
    Joined(WorkerId, Room, Member),
    /// A connection of the user left the room or closed.
    Left(WorkerId, Room, Member),
    /// The worker ended, with all its connections.
    WorkerEnded(WorkerId),
    /// The subscription of the room was established. Earlier changes may have been missed.
    Subscribed(Room),
    /// The room is not subscribed any more, because no worker follows it.
    Unsubscribed(Room),
    /// A change was received.
    Changed(Room, PresenceChange),
    /// A command was answered.
    Answered(PresenceReply),
    /// The process ends: write the leaves so far without waiting for the users' return.
    WriteLeaves,
    /// Time passed.
    Tick,
}

/// An action that the caller of the tracker carries out.
#[derive(Debug)]
pub(crate) enum PresenceEffect {
    /// Execute this on the store.
    Command(PresenceCommand),
    /// Send the room's presence to a worker.
    Show {
        /// The worker.
        worker: WorkerId,
        /// The room.
        room: Room,
        /// The whole state.
        state: PresenceState,
        /// The frame that leads from the state before to this one; `None` if only the whole state will do.
        diff: Option<Bytes>,
    },
}

/// A call of the presence store or of the instance registry. Each but `Expire` and `SetRoomCounts` may be repeated; every
/// command is answered with the [`PresenceReply`] that its comment names.
#[derive(Debug)]
pub(crate) enum PresenceCommand {
    /// Set the users of this instance in the room: `Written`.
    Replace(Room, Vec<Member>),
    /// Add and remove users of this instance: `Written`.
    Update {
        /// The room.
        room: Room,
        /// Users to add.
        joined: Vec<Member>,
        /// Users to remove.
        left: Vec<Member>,
    },
    /// Report that this instance lives: `Heartbeat`.
    Heartbeat,
    /// Check the leases of this instance: `Checked`.
    Check(Vec<Room>),
    /// End the leases of a dead instance: `Expired`.
    Expire(InstanceId, Vec<Room>),
    /// Read the users of all instances: `Snapshot`.
    ReadSnapshot(Room),
    /// Write numbers of users to the list of rooms: `RoomCountsSet`.
    SetRoomCounts(Vec<(Room, usize)>),
}

/// The answer to a [`PresenceCommand`]; `None` in it means that the call failed and may have been applied.
#[derive(Debug)]
pub(crate) enum PresenceReply {
    /// The users of this instance were written.
    Written(Room, Option<Lease>),
    /// The instances that are alive.
    Heartbeat(Option<Vec<InstanceId>>),
    /// The status of each lease, in the order of the rooms; `None` for those that could not be checked, or for all.
    Checked(Vec<Room>, Option<Vec<Option<LeaseStatus>>>),
    /// The leases were ended. If that failed, a later tick ends them again.
    Expired,
    /// The users of all instances.
    Snapshot(Room, Option<PresenceSnapshot>),
    /// The numbers were written, or not; later ones replace them.
    RoomCountsSet,
}
