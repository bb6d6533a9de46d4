//! Property tests: every history of a correct deployment passes, and fails after any one of several mutations.
//!
//! A failing test prints the seed of its run. `PROPTEST_RNG_SEED=<seed> cargo test -p trunkline-check mutations` repeats it.

use proptest::{prelude::*, test_runner::RngSeed};
use trunkline_domain::{Body, Content, Message, Position};

use super::{
    deployment::{ROOM, SimulatedDeployment, edit, react},
    judge,
};
use crate::history::HistoryLine;

#[derive(Clone, Debug)]
enum Operation {
    Send(u32),
    /// The message is appended, but its acknowledgement is lost. The client sends it again at the end.
    LoseAck(u32),
    Crash(u32),
    Reconnect(u32),
    Leave(u32),
    /// The client edits, reacts to or deletes the text at this place of the log.
    Amend(u32, prop::sample::Index, u8),
    /// The client reads a page of older messages.
    ReadPage(u32, usize),
    /// Redis loses the last entries of the log.
    Lose(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = 0..4u32;
    prop_oneof![
        4 => client.clone().prop_map(Operation::Send),
        1 => client.clone().prop_map(Operation::LoseAck),
        1 => client.clone().prop_map(Operation::Crash),
        2 => client.clone().prop_map(Operation::Reconnect),
        2 => (client.clone(), any::<prop::sample::Index>(), 0..5u8)
            .prop_map(|(client, place, kind)| Operation::Amend(client, place, kind)),
        1 => (client.clone(), 1..6usize).prop_map(|(client, limit)| Operation::ReadPage(client, limit)),
        1 => client.prop_map(Operation::Leave),
    ]
}

/// Includes data loss that is reported to the clients.
fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![12 => operation(), 1 => (0..4usize).prop_map(Operation::Lose)]
}

fn deployment(operations: Vec<Operation>) -> SimulatedDeployment {
    let mut deployment = SimulatedDeployment::new(4);
    deployment.send(0, "first");
    deployment.fault("gateways killed", false);
    let mut unacknowledged = Vec::new();
    for (number, operation) in operations.into_iter().enumerate() {
        let id = format!("m{number}");
        match operation {
            Operation::Send(c) => deployment.send(c, &id),
            Operation::LoseAck(c) => {
                deployment.attempt(c, &id);
                let pos = deployment.append(c, &id);
                unacknowledged.push((c, id, pos));
            }
            Operation::Crash(c) if deployment.clients[c as usize].joined => deployment.crash(c),
            Operation::Reconnect(c) if !deployment.clients[c as usize].joined => {
                deployment.open(c);
                deployment.join(c, 3);
            }
            Operation::Leave(c) if deployment.clients[c as usize].joined => {
                deployment.leave(c);
                deployment.clients[c as usize].last = None;
            }
            Operation::Amend(c, place, kind) => {
                let deleted: Vec<_> = deployment.log.iter().filter_map(Message::deletes).collect();
                let texts = deployment.log.iter().filter(|entry| {
                    matches!(entry.body, Body::Content(Content::Text { .. })) && !deleted.contains(&entry.pos)
                });
                let texts: Vec<_> = texts.map(|entry| entry.pos).collect();
                if !texts.is_empty() {
                    let of = *place.get(&texts);
                    let content = match kind {
                        0 => Content::Delete { of },
                        1 | 2 => edit(of, &id),
                        _ => react(of, kind == 3),
                    };
                    deployment.send_content(c, &id, content);
                }
            }
            Operation::ReadPage(c, limit) if deployment.clients[c as usize].joined => deployment.read_page(c, limit),
            Operation::Lose(count) => {
                // The loss may include entries without an acknowledgement, so the clients do not retry those.
                unacknowledged.clear();
                deployment.lose_entries(count);
            }
            Operation::Crash(_) | Operation::Reconnect(_) | Operation::Leave(_) | Operation::ReadPage(..) => {}
        }
    }
    for (c, id, pos) in unacknowledged {
        deployment.attempt(c, &id);
        deployment.ack(c, &id, pos);
    }
    deployment.send(1, "last");
    deployment.finish()
}

/// A configuration with a seed that a failing test prints: the value of `PROPTEST_RNG_SEED`, or a random one.
fn printed_seed() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => rand::random(),
    };
    // The test harness shows this output only if the test fails.
    eprintln!("PROPTEST_RNG_SEED={seed}");
    config.rng_seed = RngSeed::Fixed(seed);
    config
}

proptest! {
    #![proptest_config(printed_seed())]

    #[test]
    fn correct_deployments_pass(operations in prop::collection::vec(any_operation(), 0..60)) {
        let verdict = judge(&deployment(operations).lines);
        prop_assert!(verdict.passed, "{:#?}", verdict.invariants);
    }

    #[test]
    fn each_mutation_is_detected(
        operations in prop::collection::vec(operation(), 5..60),
        place: prop::sample::Index,
        kind in 0..6u8,
    ) {
        let mut deployment = deployment(operations);
        let line = *place.get(&deployment.entitled);
        let HistoryLine::Message { pos, id, .. } = &mut deployment.lines[line] else { unreachable!() };
        match kind {
            0 => *pos = Position::new(pos.epoch, pos.offset + 1),
            1 => *pos = Position::new(pos.epoch + 1, pos.offset),
            2 => *id = "never-sent".into(),
            3 => drop(deployment.lines.remove(line)),
            4 => {
                let duplicate = deployment.lines[line].clone();
                deployment.lines.insert(line + 1, duplicate);
            }
            _ => {
                // The message is delivered to a client that has just left.
                let HistoryLine::Message { t, c, .. } = deployment.lines[line] else { unreachable!() };
                deployment.lines.insert(line, HistoryLine::Left { t, c, room: ROOM.into() });
            }
        }
        prop_assert!(!judge(&deployment.lines).passed, "mutation {kind} at line {line} was not detected");
    }
}
