//! Operations that the benchmarks measure. Not part of the public interface.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use trunkline_domain::{Body, Content, Entry, Event, JoinFrom, Message, Position, Room};

use crate::{
    connection::{ClientMessage, MessageDecoder},
    fanout::{Hub, HubEvent, Tail, Transport},
    frame::Frame,
    identity::Identity,
    random::Random,
};

/// A hub with one room, whose members take all bytes at once.
pub struct FanOut {
    hub: Hub,
    room: Room,
    head: Position,
    counter: Rc<ByteCounter>,
    now: Duration,
}

/// Counts the bytes that were written.
#[derive(Default)]
struct ByteCounter(Cell<usize>);

impl Transport for ByteCounter {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }
}

impl FanOut {
    /// Creates a room with so many members, each on its own connection.
    #[must_use]
    pub fn new(members: usize) -> Self {
        let room: Room = valid("lobby");
        let mut hub = Hub::new(Duration::from_secs(25), Random::new(1));
        let counter = Rc::new(ByteCounter::default());
        let head = Position::new(1, 0);
        let keys: Vec<_> = (0..members)
            .map(|member| {
                let key = hub.open(Rc::new(Identity::new(valid(&format!("u{member}")))), None, &Event::Ping);
                hub.attach(key, counter.clone());
                hub.join(key, &room, JoinFrom { after: None, recent: 0 }, None);
                key
            })
            .collect();
        hub.receive(HubEvent::Tail(room.clone(), Tail::empty(head, true)));
        for key in keys {
            while hub.poll_outgoing(key, &Context::from_waker(Waker::noop())).is_ready() {}
        }
        Self { hub, room, head, counter, now: Duration::ZERO }
    }

    /// Encodes the next message of the room.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        self.frame().bytes
    }

    /// Delivers `count` messages, which arrived together, to every member. Returns the number of bytes that were written.
    pub fn deliver(&mut self, count: usize) -> usize {
        let frames: Vec<Frame> = (0..count)
            .map(|_| {
                let frame = self.frame();
                self.head = frame.pos;
                frame
            })
            .collect();
        self.hub.receive(HubEvent::Frames(self.room.clone(), frames.into()));
        // Later each time, so that no fan-out waits for its pause.
        self.now += Duration::from_secs(1);
        while self.hub.flush(self.now).is_partial {}
        self.counter.0.take()
    }

    fn frame(&self) -> Frame {
        let pos = self.head.next_in_epoch();
        let text = valid("a message of a usual length, such as people write when they talk");
        let message = Message {
            pos,
            id: valid("5f0c9b1e-77aa-4c1e"),
            user: valid("ann"),
            name: None,
            body: Body::Content(Content::Text { text, reply_to: None }),
            at: 1_732_270_000_500,
        };
        Frame::encode(&self.room, Entry { prev: self.head, message })
    }
}

/// Decodes one masked text frame of a client: checks its header, unmasks it, checks that it is UTF-8. Returns its length.
#[must_use]
pub fn receive(frame: &Bytes) -> usize {
    let mut decoder = MessageDecoder::new();
    decoder.receive(frame.clone());
    match decoder.next() {
        Ok(Some(ClientMessage::Text(text))) => text.len(),
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
    fn a_delivery_does_not_allocate_per_member() {
        let allocations = |members| {
            let mut fan_out = FanOut::new(members);
            fan_out.deliver(1);
            allocation_counter::measure(|| {
                fan_out.deliver(1);
            })
            .count_total
        };
        assert_eq!(allocations(10), allocations(1000), "the cost of a message must not grow with its readers");
    }

    #[test]
    fn every_member_receives_every_message() {
        let mut fan_out = FanOut::new(7);
        let one = fan_out.encode().len();
        assert_eq!(fan_out.deliver(3), 3 * 7 * one);
    }
}
