//! Histories of a perfect deployment, and forged ones that break one invariant each.

use proptest::prelude::*;
use trunkline_domain::Position;

use super::{Judge, Verdict};
use crate::history::{ClientNumber, Fault, Line, Micros, TailEntry};

const ROOM: &str = "r1";

/// A deployment without flaws, and what its clients write down.
struct World {
    t: Micros,
    epoch: u64,
    log: Vec<(Position, String, ClientNumber)>,
    clients: Vec<Sim>,
    lines: Vec<Line<'static>>,
    /// The lines that tell of deliveries to which their clients were entitled.
    owed: Vec<usize>,
}

#[derive(Default)]
struct Sim {
    socket: u64,
    joined: bool,
    last: Option<Position>,
}

impl World {
    /// With `clients` clients in one room.
    fn new(clients: u32) -> Self {
        let run = Line::Run { version: 1, started: 0, url: "http://127.0.0.1".into(), seed: 0 };
        let mut world =
            Self { t: 0, epoch: 7, log: Vec::new(), clients: Vec::new(), lines: vec![run], owed: Vec::new() };
        for c in 0..clients {
            world.clients.push(Sim::default());
            world.lines.push(Line::Client { c, user: user(c).into() });
            world.open(c);
            world.join(c, 0);
        }
        world
    }

    fn now(&mut self) -> Micros {
        self.t += 1000;
        self.t
    }

    fn head(&self) -> Position {
        self.log.last().map_or(Position::ORIGIN, |(pos, ..)| *pos)
    }

    fn open(&mut self, c: ClientNumber) {
        let t = self.now();
        let client = &mut self.clients[c as usize];
        client.socket += 1;
        self.lines.push(Line::Open { t, c, s: client.socket, instance: "gw-1".into() });
    }

    fn join(&mut self, c: ClientNumber, recent: usize) {
        let (t, head) = (self.now(), self.head());
        let after = self.clients[c as usize].last;
        self.lines.push(Line::Join { t, c, room: ROOM.into(), after, recent });
        self.lines.push(Line::Joined { t, c, room: ROOM.into(), resumed: after.is_some(), head });
        let client = &mut self.clients[c as usize];
        client.joined = true;
        match after {
            Some(after) => self.catch_up(c, after),
            None => {
                let tail = self.log.len().saturating_sub(recent);
                for entry in self.log.split_off(tail) {
                    self.show(c, &entry);
                    self.log.push(entry);
                }
                self.clients[c as usize].last = Some(head);
            }
        }
    }

    fn catch_up(&mut self, c: ClientNumber, after: Position) {
        for entry in self.log.iter().filter(|(pos, ..)| *pos > after).cloned().collect::<Vec<_>>() {
            self.owed.push(self.lines.len());
            self.show(c, &entry);
        }
    }

    fn show(&mut self, c: ClientNumber, (pos, id, author): &(Position, String, ClientNumber)) {
        let t = self.now();
        self.clients[c as usize].last = Some(*pos);
        self.lines.push(message(t, c, *pos, id, *author));
    }

    fn attempt(&mut self, c: ClientNumber, id: &str) {
        let t = self.now();
        self.lines.push(Line::Send { t, c, room: ROOM.into(), id: id.to_owned().into(), due: t });
    }

    /// Into the log and to all who are there.
    fn append(&mut self, c: ClientNumber, id: &str) -> Position {
        let pos = match self.log.last() {
            Some((pos, ..)) if pos.epoch == self.epoch => pos.next_in_epoch(),
            _ => Position::new(self.epoch, 1),
        };
        self.log.push((pos, id.to_owned(), c));
        for reader in 0..self.clients.len() as ClientNumber {
            if self.clients[reader as usize].joined {
                self.owed.push(self.lines.len());
                self.show(reader, &(pos, id.to_owned(), c));
            }
        }
        pos
    }

    fn ack(&mut self, c: ClientNumber, id: &str, pos: Position) {
        let t = self.now();
        self.lines.push(Line::Sent { t, c, room: ROOM.into(), id: id.to_owned().into(), pos });
    }

    fn send(&mut self, c: ClientNumber, id: &str) {
        self.attempt(c, id);
        let pos = self.append(c, id);
        self.ack(c, id, pos);
    }

    fn fault(&mut self, name: &'static str, redis: bool) {
        let t = self.now();
        self.lines.push(Line::Fault(Fault { t, name: name.into(), redis, visible: false, closes: None }));
    }

    fn crash(&mut self, c: ClientNumber) {
        let t = self.now();
        let client = &mut self.clients[c as usize];
        client.joined = false;
        self.lines.push(Line::Close { t, c, s: client.socket, code: 1006 });
    }

    fn leave(&mut self, c: ClientNumber) {
        // Whether the last message came before it left, nobody can know but the client.
        let to_it = |line: &usize| matches!(self.lines[*line], Line::Message { c: to, .. } if to == c);
        if let Some(last) = self.owed.iter().rposition(to_it) {
            self.owed.remove(last);
        }
        let t = self.now();
        self.clients[c as usize].joined = false;
        self.lines.push(Line::Leave { t, c, room: ROOM.into() });
        self.lines.push(Line::Left { t, c, room: ROOM.into() });
    }

    /// Everybody comes back, everything is read afresh.
    fn rest(mut self) -> Self {
        for c in 0..self.clients.len() as ClientNumber {
            if !self.clients[c as usize].joined {
                self.open(c);
                self.join(c, 0);
            }
        }
        let t = self.now();
        self.lines.push(Line::Quiet { t });
        let messages = self.log.iter().map(|(pos, id, author)| entry(*pos, id, *author)).collect();
        self.lines.push(Line::Tail { t, room: ROOM.into(), messages });
        self.lines.push(Line::End { t });
        self
    }

    fn without_tail(mut self) -> Self {
        self.lines.retain(|line| !matches!(line, Line::Tail { .. }));
        self
    }
}

fn user(c: ClientNumber) -> String {
    format!("user{c}")
}

fn message(t: Micros, c: ClientNumber, pos: Position, id: &str, author: ClientNumber) -> Line<'static> {
    let (id, user) = (id.to_owned().into(), user(author).into());
    Line::Message { t, c, room: ROOM.into(), pos, id, user, torn: false }
}

fn entry(pos: Position, id: &str, author: ClientNumber) -> TailEntry<'static> {
    TailEntry { pos, id: id.to_owned().into(), user: user(author).into() }
}

fn judge(lines: &[Line<'static>]) -> Verdict {
    let mut judge = Judge::new();
    for line in lines {
        // Through text and back: what is judged is what a file would hold.
        let mut bytes = Vec::new();
        line.write(&mut bytes);
        judge.take(Line::parse(std::str::from_utf8(&bytes).unwrap()).unwrap());
    }
    judge.verdict()
}

fn broken(lines: &[Line<'static>]) -> Vec<u8> {
    let verdict = judge(lines);
    verdict.invariants.iter().filter(|ruling| ruling.holds == Some(false)).map(|ruling| ruling.number).collect()
}

/// Three clients; two messages, a crash in which one is missed, and another message.
fn talk() -> World {
    let mut world = World::new(3);
    world.send(0, "a");
    world.send(1, "b");
    world.fault("gateway killed", false);
    world.crash(2);
    world.send(0, "c");
    world.open(2);
    world.join(2, 0);
    world.send(1, "d");
    world
}

#[test]
fn a_perfect_deployment_passes() {
    let verdict = judge(&talk().rest().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    let counts = verdict.counts;
    assert_eq!((counts.sent, counts.acknowledged, counts.delivered, counts.resumed), (4, 4, 12, 1));
    assert_eq!((counts.lost, counts.indeterminate, counts.gaps_told, counts.closed), (0, 0, 0, 1));
    assert_eq!((verdict.recovery.count, verdict.faults[0].recovery.count, verdict.faults[0].never_back), (1, 1, 0));
}

#[test]
fn an_acknowledged_message_that_never_comes_breaks_1() {
    let mut world = talk().rest().without_tail();
    world.lines.remove(*world.owed.last().unwrap());
    assert_eq!(broken(&world.lines), [1]);
    assert_eq!(judge(&world.lines).counts.lost, 1);
}

#[test]
fn a_refused_message_that_comes_breaks_2() {
    let mut world = talk().rest();
    let sent = world.lines.iter_mut().find(|line| matches!(line, Line::Sent { .. })).unwrap();
    let Line::Sent { t, c, room, id, .. } = sent.clone() else { unreachable!() };
    *sent = Line::Error { t, c, room: Some(room), id: Some(id), code: "forbidden".into() };
    assert_eq!(broken(&world.lines), [2]);
}

#[test]
fn a_message_that_nobody_sent_breaks_2() {
    let mut world = talk();
    world.append(0, "ghost");
    assert_eq!(broken(&world.rest().lines), [2]);
    let mut world = talk().rest();
    let Line::Message { torn, .. } = &mut world.lines[*world.owed.last().unwrap()] else { unreachable!() };
    *torn = true;
    assert_eq!(broken(&world.lines), [2]);
}

#[test]
fn a_retry_that_gets_another_position_breaks_3() {
    let mut world = talk();
    world.attempt(0, "a");
    world.ack(0, "a", Position::new(7, 99));
    assert_eq!(broken(&world.rest().lines), [3]);
}

#[test]
fn a_message_shown_twice_breaks_4() {
    let mut world = talk().rest().without_tail();
    let last = *world.owed.last().unwrap();
    world.lines.insert(last, world.lines[last].clone());
    assert_eq!(broken(&world.lines), [4]);
    assert_eq!(judge(&world.lines).counts.duplicated, 1);
}

#[test]
fn an_epoch_that_changes_by_itself_breaks_4() {
    let mut world = talk();
    world.epoch = 9;
    world.send(0, "e");
    assert_eq!(broken(&world.rest().lines), [4]);
    let mut world = talk();
    world.fault("redis failed over", true);
    world.epoch = 9;
    world.send(0, "e");
    assert!(broken(&world.rest().lines).is_empty());
}

#[test]
fn a_resume_that_forgot_what_was_seen_breaks_4() {
    let mut world = talk().rest();
    let resumed = world.lines.iter_mut().find(|line| matches!(line, Line::Joined { resumed: true, .. })).unwrap();
    let Line::Joined { head, .. } = resumed else { unreachable!() };
    *head = Position::new(7, 1);
    assert_eq!(broken(&world.lines), [4]);
}

#[test]
fn clients_that_disagree_on_the_order_break_5() {
    let mut world = World::new(2);
    world.attempt(0, "a");
    world.attempt(1, "b");
    world.fault("redis restarted empty", true);
    let first = [(7, 1, "a", 0), (7, 2, "b", 1)];
    let second = [(9, 1, "b", 1), (9, 2, "a", 0)];
    for (reader, order) in [(0, first), (1, second)] {
        for (epoch, offset, id, author) in order {
            let t = world.now();
            world.lines.push(message(t, reader, Position::new(epoch, offset), id, author));
        }
    }
    let t = world.now();
    world.lines.push(Line::Quiet { t });
    // Without an acknowledgement the run would be vacuous.
    world.ack(1, "b", Position::new(7, 2));
    world.lines.retain(|line| !matches!(line, Line::Joined { c: 1, .. }));
    let at = world.lines.iter().position(|line| matches!(line, Line::Message { c: 1, .. })).unwrap();
    let head = Position::new(7, 2);
    world.lines.insert(at, Line::Joined { t, c: 1, room: ROOM.into(), resumed: false, head });
    assert_eq!(broken(&world.lines), [5]);
}

#[test]
fn a_later_message_that_stands_before_an_acknowledged_one_breaks_6() {
    let mut world = World::new(2);
    world.attempt(0, "a");
    world.ack(0, "a", Position::new(7, 2));
    world.attempt(1, "b");
    world.append(1, "b");
    world.append(0, "a");
    world.ack(1, "b", Position::new(7, 1));
    assert_eq!(broken(&world.rest().lines), [6]);
}

#[test]
fn a_message_after_left_breaks_7() {
    let mut world = talk();
    world.leave(2);
    let pos = world.head();
    let t = world.now();
    world.lines.push(message(t, 2, pos, "d", 1));
    // It stays away.
    world.clients[2].joined = true;
    assert_eq!(broken(&world.rest().lines), [7]);
}

#[test]
fn a_message_after_the_session_breaks_7() {
    let mut world = talk();
    let t = world.now();
    world.lines.push(Line::LoggedOut { t, c: 2, within: 1_000_000 });
    world.t += 2_000_000;
    let mut world = world.rest();
    let (t, end) = (world.now(), world.lines.len() - 1);
    world.lines.insert(end, Line::Joined { t, c: 2, room: ROOM.into(), resumed: true, head: Position::new(7, 4) });
    assert_eq!(broken(&world.lines), [7]);
}

#[test]
fn a_fresh_read_that_differs_breaks_8() {
    let mut world = talk().rest();
    let tail = world.lines.iter_mut().find(|line| matches!(line, Line::Tail { .. })).unwrap();
    let Line::Tail { messages, .. } = tail else { unreachable!() };
    messages.pop();
    assert_eq!(broken(&world.lines), [8]);
}

#[test]
fn a_close_that_nothing_explains_breaks_10() {
    let mut world = talk().rest();
    let (t, end) = (world.now(), world.lines.len() - 1);
    world.lines.insert(end, Line::Close { t, c: 1, s: 1, code: 1008 });
    assert_eq!(broken(&world.lines), [10]);
}

#[test]
fn a_gateway_that_keeps_its_files_open_breaks_10() {
    use crate::history::Stage;
    let gauge = |stage, fds| Line::Gauge { t: 0, pid: 1, stage, rss: 10 << 20, fds, threads: 5 };
    let mut world = talk().rest();
    world.lines.insert(1, gauge(Stage::Before, 20));
    world.lines.push(gauge(Stage::After, 25));
    assert!(broken(&world.lines).is_empty());
    world.lines.push(gauge(Stage::After, 2000));
    assert_eq!(broken(&world.lines), [10]);
}

#[test]
fn a_run_in_which_nothing_happened_breaks_11() {
    assert_eq!(broken(&World::new(2).rest().lines), [11]);
    let mut unrested = talk().rest().lines;
    unrested.retain(|line| !matches!(line, Line::Quiet { .. }));
    assert_eq!(broken(&unrested), [11]);
    let mut unnoticed = talk();
    unnoticed.fault("nothing", false);
    let Some(Line::Fault(fault)) = unnoticed.lines.last_mut() else { unreachable!() };
    fault.visible = true;
    assert_eq!(broken(&unnoticed.rest().lines), [11]);
}

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    /// Written, but the acknowledgement is lost; later it is sent again and acknowledged.
    LoseAck(u32),
    Crash(u32),
    Back(u32),
    Leave(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..4u32;
    prop_oneof![
        4 => client.clone().prop_map(Op::Send),
        1 => client.clone().prop_map(Op::LoseAck),
        1 => client.clone().prop_map(Op::Crash),
        2 => client.clone().prop_map(Op::Back),
        1 => client.prop_map(Op::Leave),
    ]
}

fn world(ops: Vec<Op>) -> World {
    let mut world = World::new(4);
    world.send(0, "first");
    world.fault("gateways killed", false);
    let mut unsure = Vec::new();
    for (number, op) in ops.into_iter().enumerate() {
        let id = format!("m{number}");
        match op {
            Op::Send(c) => world.send(c, &id),
            Op::LoseAck(c) => {
                world.attempt(c, &id);
                let pos = world.append(c, &id);
                unsure.push((c, id, pos));
            }
            Op::Crash(c) if world.clients[c as usize].joined => world.crash(c),
            Op::Back(c) if !world.clients[c as usize].joined => {
                world.open(c);
                world.join(c, 3);
            }
            Op::Leave(c) if world.clients[c as usize].joined => {
                world.leave(c);
                world.clients[c as usize].last = None;
            }
            Op::Crash(_) | Op::Back(_) | Op::Leave(_) => {}
        }
    }
    for (c, id, pos) in unsure {
        world.attempt(c, &id);
        world.ack(c, &id, pos);
    }
    world.send(1, "last");
    world.rest()
}

proptest! {
    #[test]
    fn perfect_deployments_pass(ops in prop::collection::vec(op(), 0..60)) {
        let verdict = judge(&world(ops).lines);
        prop_assert!(verdict.passed, "{:#?}", verdict.invariants);
    }

    #[test]
    fn each_kind_of_mutation_is_caught(
        ops in prop::collection::vec(op(), 5..60),
        place: prop::sample::Index,
        kind in 0..6u8,
    ) {
        let mut world = world(ops);
        let line = *place.get(&world.owed);
        let Line::Message { pos, id, .. } = &mut world.lines[line] else { unreachable!() };
        match kind {
            0 => *pos = Position::new(pos.epoch, pos.offset + 1),
            1 => *pos = Position::new(pos.epoch + 1, pos.offset),
            2 => *id = "never-sent".into(),
            3 => drop(world.lines.remove(line)),
            4 => {
                let twice = world.lines[line].clone();
                world.lines.insert(line + 1, twice);
            }
            _ => {
                // Given to a client that has just left.
                let Line::Message { t, c, .. } = world.lines[line] else { unreachable!() };
                world.lines.insert(line, Line::Left { t, c, room: ROOM.into() });
            }
        }
        prop_assert!(!judge(&world.lines).passed, "kind {kind} at line {line} passed");
    }
}
