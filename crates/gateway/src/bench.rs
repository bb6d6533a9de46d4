//! What the benchmarks measure, and nothing else: no part of the interface.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use trunkline_domain::{Entry, Event, JoinFrom, Message, Position, Room, UserName};
use trunkline_session::Sid;

use crate::{
    fanout::{Frame, Hub, Mail, Newcomer, Outlet, Tail},
    socket::Inbound,
};

/// A hub with one room, whose members take all bytes at once.
pub struct FanOut {
    hub: Hub,
    room: Room,
    head: Position,
    wire: Rc<Wire>,
}

/// Counts what was written.
#[derive(Default)]
struct Wire(Cell<usize>);

impl Outlet for Wire {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }
}

impl FanOut {
    /// A room with so many members, each on a socket of its own.
    #[must_use]
    pub fn new(members: usize) -> Self {
        let room: Room = valid("lobby");
        let mut hub = Hub::new(Duration::from_secs(25));
        let wire = Rc::new(Wire::default());
        let head = Position::new(1, 0);
        let keys: Vec<_> = (0..members)
            .map(|member| {
                let user: UserName = valid(&format!("u{member}"));
                let key = hub.open(Newcomer { sid: Sid::new(&user), user }, &Event::Ping);
                hub.attach(key, wire.clone());
                hub.join(key, &room, JoinFrom { after: None, recent: 0 });
                key
            })
            .collect();
        hub.receive(Mail::Tail(room.clone(), Tail::at(head, true)));
        for key in keys {
            while hub.poll_take(key, &Context::from_waker(Waker::noop())).is_ready() {}
        }
        Self { hub, room, head, wire }
    }

    /// Encodes the next message of the room.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.frame().bytes
    }

    /// Hands `count` messages, which came together, to every member. Answers how many bytes were written in all.
    pub fn deliver(&mut self, count: usize) -> usize {
        let frames: Vec<Frame> = (0..count)
            .map(|_| {
                let frame = self.frame();
                self.head = frame.pos;
                frame
            })
            .collect();
        self.hub.receive(Mail::Frames(self.room.clone(), frames.into()));
        self.hub.flush();
        self.wire.0.take()
    }

    fn frame(&self) -> Frame {
        let pos = self.head.next_in_epoch();
        let text = valid("a message of a usual length, such as people write when they talk");
        let message = Message { pos, id: valid("5f0c9b1e-77aa-4c1e"), user: valid("ann"), text, at: 1_732_270_000_500 };
        Frame::of(&self.room, Entry { prev: self.head, message })
    }
}

/// Reads one masked text frame of a client: judged by its header, unmasked, checked to be UTF-8. Answers its length.
#[must_use]
pub fn receive(frame: &Bytes) -> usize {
    let mut inbound = Inbound::new();
    inbound.receive(frame.clone());
    match inbound.next() {
        Ok(Some(crate::socket::Input::Text(text))) => text.len(),
        _ => 0,
    }
}

fn valid<T: std::str::FromStr>(text: &str) -> T {
    match text.parse() {
        Ok(value) => value,
        Err(_) => unreachable!("{text} is valid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_allocates_nothing() {
        let allocations = |members| {
            let mut fan_out = FanOut::new(members);
            fan_out.deliver(1);
            allocation_counter::measure(|| {
                fan_out.deliver(1);
            })
            .count_total
        };
        assert_eq!(allocations(10), allocations(1000), "what a message costs may not grow with its readers");
    }

    #[test]
    fn every_member_gets_every_message() {
        let mut fan_out = FanOut::new(7);
        let one = fan_out.encode().len();
        assert_eq!(fan_out.deliver(3), 3 * 7 * one);
    }
}
