//! The read mark of a room, which all devices of the user share.

use trunkline_domain::{Command, Millis, Position, Room};

use super::{ClientCore, ClientEvent, room::ClientRoom};

/// Minimum time between two `seen` frames per room, in ms.
const MARK_INTERVAL_MS: Millis = 2_000;

/// The read mark of one room. Positions are compared by their order, so it only moves forward.
#[derive(Debug, Default)]
pub(super) struct ReadMark {
    /// The mark as far as this client knows it.
    pos: Option<Position>,
    /// The mark at the server.
    at_server: Option<Position>,
    /// When the next `seen` may be sent.
    send_at: Millis,
}

impl ReadMark {
    pub(super) fn connection_lost(&mut self) {
        self.send_at = 0;
    }
}

impl ClientRoom {
    /// When the next `seen` is due: `None` if the server has the mark.
    pub(super) fn next_mark(&self) -> Option<Millis> {
        (self.is_joined() && self.mark.pos > self.mark.at_server).then_some(self.mark.send_at)
    }
}

impl ClientCore {
    /// The user has read everything up to `pos`.
    pub(super) fn seen(&mut self, room: &Room, pos: Position) {
        let Some(index) = self.room_index(room) else { return };
        let mark = &mut self.rooms[index].mark;
        if Some(pos) > mark.pos {
            mark.pos = Some(pos);
            self.send_mark(index);
        }
    }

    /// Applies the mark in a `joined`, or its absence, and sends this client's if it is later.
    pub(super) fn restore_mark(&mut self, index: usize, seen: Option<Position>) {
        self.rooms[index].mark.at_server = None;
        if let Some(pos) = seen {
            self.marked(index, pos);
        }
        self.send_mark(index);
    }

    pub(super) fn marked_elsewhere(&mut self, room: &Room, pos: Position) {
        if let Some(index) = self.joined_room_index(room) {
            self.marked(index, pos);
        }
    }

    fn marked(&mut self, index: usize, pos: Position) {
        let mark = &mut self.rooms[index].mark;
        mark.at_server = mark.at_server.max(Some(pos));
        if Some(pos) > mark.pos {
            mark.pos = Some(pos);
            let room = self.rooms[index].name.clone();
            self.emit(ClientEvent::Seen { room, pos });
        }
    }

    /// The server did not take a `seen` for now: it is due again [`MARK_INTERVAL_MS`] after the last. Returns false if none was
    /// sent. A failure of `typing` or `signal` is not reported, so no other command can be meant.
    pub(super) fn mark_refused(&mut self, index: usize) -> bool {
        self.rooms[index].mark.at_server.take().is_some()
    }

    /// Sends the mark if the server's is behind, and the last `seen` is long enough ago.
    pub(super) fn send_mark(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        if room.next_mark().is_none_or(|at| at > self.now) {
            return;
        }
        room.mark.at_server = room.mark.pos;
        room.mark.send_at = self.now + MARK_INTERVAL_MS;
        if let Some(pos) = room.mark.pos {
            let room = room.name.clone();
            self.transmit(Command::Seen { room, pos });
        }
    }
}
