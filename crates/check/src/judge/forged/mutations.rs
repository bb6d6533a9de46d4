//! Any history of a perfect deployment passes; changed in one place, it does not.

use proptest::prelude::*;
use trunkline_domain::Position;

use super::{
    judge,
    world::{ROOM, World},
};
use crate::history::Line;

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    /// Written, but the acknowledgement is lost; later it is sent again and acknowledged.
    LoseAck(u32),
    Crash(u32),
    Back(u32),
    Leave(u32),
    /// Redis loses that many messages.
    Lose(usize),
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

/// With losses that are told, too.
fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![12 => op(), 1 => (0..4usize).prop_map(Op::Lose)]
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
            Op::Lose(count) => {
                // What stood and was never acknowledged may be gone with it.
                unsure.clear();
                world.lose(count);
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
    fn perfect_deployments_pass(ops in prop::collection::vec(any_op(), 0..60)) {
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
