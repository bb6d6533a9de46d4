//! Tests of acknowledgements and interrupted fan-outs.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use trunkline_domain::{Event, JoinFrom, Position, Room};

use super::{
    Hub,
    rooms::{Flushed, MEMBERS_PER_FLUSH},
};
use crate::{
    fanout::{HubEvent, Outgoing, Tail, Transport},
    frame::Frame,
    identity::Identity,
    ids::ConnectionKey,
    random::Random,
};

/// What was written, one element per write.
#[derive(Default)]
struct Wire(RefCell<Vec<Vec<u8>>>);

impl Transport for Wire {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().push(bytes.to_vec());
        Ok(bytes.len())
    }
}

const MESSAGE: &[u8] = b"message";
const FIRST: Position = Position::new(7, 2);

#[test]
fn fan_out_is_interrupted_and_continues_without_missing_members_or_messages() {
    let (mut hub, _, _, room) = lobby();
    let wires: Vec<_> = (0..3 * MEMBERS_PER_FLUSH).map(|_| join(&mut hub, &room)).collect();
    let served =
        |wires: &[(ConnectionKey, Rc<Wire>)]| wires.iter().filter(|(_, wire)| !wire.0.borrow().is_empty()).count();
    deliver(&mut hub, &room);
    assert!(hub.flush(Duration::ZERO).is_partial);
    // The member from the lobby is the first.
    assert_eq!(served(&wires), MEMBERS_PER_FLUSH - 1);
    hub.remove(wires[0].0);
    let second = Frame { prev: FIRST, pos: FIRST.next_in_epoch(), deletes: None, bytes: Bytes::from_static(MESSAGE) };
    hub.receive(HubEvent::Frames(room, [second].into()));
    while hub.flush(Duration::ZERO).is_partial {}
    assert_eq!(served(&wires), wires.len());
    while hub.flush(Duration::from_secs(1)).is_partial {}
    let bytes = |(_, wire): &(ConnectionKey, Rc<Wire>)| wire.0.borrow().concat().len();
    assert!(wires[1..].iter().all(|member| bytes(member) == 2 * MESSAGE.len()));
    assert_eq!(hub.flush(Duration::from_secs(2)), Flushed { has_woken: false, is_partial: false, next: None });
}

/// A hub with one member of the lobby, whose task has written everything, and the bytes that the hub writes.
fn lobby() -> (Hub, ConnectionKey, Rc<Wire>, Room) {
    let room: Room = "lobby".parse().unwrap();
    let mut hub = Hub::new(Duration::from_secs(25), Random::new(1));
    // The room exists from the first join on.
    let (key, wire) = join(&mut hub, &room);
    hub.receive(HubEvent::Tail(room.clone(), Tail::empty(Position::new(7, 1), true)));
    while poll(&mut hub, key).is_some() {}
    (hub, key, wire, room)
}

/// Adds a member, whose task has written everything.
fn join(hub: &mut Hub, room: &Room) -> (ConnectionKey, Rc<Wire>) {
    let key = hub.open(Rc::new(Identity::new("ann".parse().unwrap())), None, &Event::Ping);
    let wire = Rc::new(Wire::default());
    hub.attach(key, wire.clone());
    hub.join(key, room, JoinFrom { after: None, recent: 0 }, None);
    while poll(hub, key).is_some() {}
    (key, wire)
}

/// What the connection's task would write.
fn poll(hub: &mut Hub, key: ConnectionKey) -> Option<Bytes> {
    match hub.poll_outgoing(key, &Context::from_waker(Waker::noop())) {
        Poll::Ready(Outgoing::Bytes(bytes)) => Some(bytes),
        Poll::Ready(Outgoing::End) => panic!("the hub ended the connection"),
        Poll::Pending => None,
    }
}

fn deliver(hub: &mut Hub, room: &Room) {
    let frame = Frame { prev: Position::new(7, 1), pos: FIRST, deletes: None, bytes: Bytes::from_static(MESSAGE) };
    hub.receive(HubEvent::Frames(room.clone(), [frame].into()));
}

fn acknowledge(hub: &mut Hub, key: ConnectionKey, room: &Room) {
    hub.acknowledge(key, room, FIRST, &Event::Sent { room: room.clone(), id: "m1".parse().unwrap(), pos: FIRST });
}

#[test]
fn acknowledgement_and_message_share_a_write() {
    let (mut hub, key, wire, room) = lobby();
    acknowledge(&mut hub, key, &room);
    assert_eq!(poll(&mut hub, key), None, "the message is expected");
    deliver(&mut hub, &room);
    hub.flush(Duration::ZERO);
    let writes = wire.0.borrow();
    let [write] = &writes[..] else { panic!("one write, not {}", writes.len()) };
    assert!(write.starts_with(b"\x81") && write.ends_with(MESSAGE) && write.len() > 2 * MESSAGE.len());
    assert_eq!(poll(&mut hub, key), None);
}

#[test]
fn acknowledgement_whose_message_is_lost_is_written_at_the_next_tick() {
    let (mut hub, key, wire, room) = lobby();
    acknowledge(&mut hub, key, &room);
    assert_eq!(poll(&mut hub, key), None);
    hub.tick(Duration::from_millis(250));
    assert!(poll(&mut hub, key).is_some());
    assert_eq!(poll(&mut hub, key), None);
    deliver(&mut hub, &room);
    hub.flush(Duration::ZERO);
    assert_eq!(*wire.0.borrow(), [MESSAGE]);
}

#[test]
fn acknowledgement_does_not_wait_behind_its_message_or_before_another_answer() {
    let (mut hub, key, _, room) = lobby();
    acknowledge(&mut hub, key, &room);
    hub.send(key, &Event::Ping);
    assert!(poll(&mut hub, key).is_some(), "the answer takes the acknowledgement along");
    assert_eq!(poll(&mut hub, key), None);
    deliver(&mut hub, &room);
    hub.flush(Duration::ZERO);
    acknowledge(&mut hub, key, &room);
    assert!(poll(&mut hub, key).is_some());
}

#[test]
fn task_that_writes_itself_takes_the_acknowledgement_with_the_message() {
    let (mut hub, key, _, room) = lobby();
    acknowledge(&mut hub, key, &room);
    deliver(&mut hub, &room);
    assert!(poll(&mut hub, key).is_some_and(|bytes| bytes.ends_with(MESSAGE) && bytes.len() > 2 * MESSAGE.len()));
    assert_eq!(poll(&mut hub, key), None);
}
