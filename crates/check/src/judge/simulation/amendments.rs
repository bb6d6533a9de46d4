//! Edits, deletions and reactions: what clients show, and texts that were deleted.

use trunkline_domain::{Content, Position};

use super::{
    broken_invariants, conversation,
    deployment::{SimulatedDeployment, edit, react},
    judge,
};
use crate::history::{FoldedEntry, HistoryLine};

/// The conversation, whose message `a` is edited twice, gets two reactions and loses one, and whose message `b` is deleted
/// while client 2 is away.
fn amended_conversation() -> SimulatedDeployment {
    let mut deployment = conversation();
    let [a, b] = [0, 1].map(|index| deployment.log[index].pos);
    deployment.send_content(0, "e1", edit(a, "e1"));
    deployment.send_content(1, "r1", react(a, true));
    deployment.send_content(2, "r2", react(a, true));
    deployment.fault("gateway killed", false);
    deployment.crash(2);
    deployment.send_content(0, "e2", edit(a, "e2"));
    deployment.send_content(2, "r3", react(a, false));
    deployment.send_content(1, "d1", Content::Delete { of: b });
    deployment.t += 2_000_000;
    deployment.open(2);
    deployment.join(2, 0);
    deployment
}

#[test]
fn amendments_are_counted_and_every_client_shows_them() {
    let mut deployment = amended_conversation();
    // A client that joins late receives the newest entries, and then older ones.
    deployment.leave(1);
    deployment.clients[1].last = None;
    deployment.join(1, 3);
    for _ in 0..4 {
        deployment.read_page(1, 2);
    }
    let verdict = judge(&deployment.finish().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    assert_eq!((verdict.counts.amended, verdict.counts.redacted), (6, 2), "in a page and in the reference read");
    assert!(verdict.invariants.iter().all(|result| result.holds == Some(true)));
    assert_eq!(verdict.invariants[12].note.as_deref(), Some("6 changed messages compared in 3 views"));
}

#[test]
fn deleted_text_in_a_page_or_after_a_join_breaks_invariant_12() {
    let undelete = |deployment: &mut SimulatedDeployment, from: usize| {
        for line in &mut deployment.lines[from..] {
            match line {
                HistoryLine::Message { deleted, .. } => *deleted = false,
                HistoryLine::Page { messages, .. } => messages.iter_mut().for_each(|message| message.deleted = false),
                _ => {}
            }
        }
    };
    let mut deployment = amended_conversation();
    deployment.leave(1);
    deployment.clients[1].last = None;
    let from = deployment.lines.len();
    deployment.join(1, 20);
    undelete(&mut deployment, from);
    assert_eq!(broken_invariants(&deployment.finish().lines), [12]);
    let mut deployment = amended_conversation();
    deployment.leave(1);
    deployment.clients[1].last = None;
    deployment.join(1, 1);
    let from = deployment.lines.len();
    deployment.read_page(1, 20);
    undelete(&mut deployment, from);
    assert_eq!(broken_invariants(&deployment.finish().lines), [12]);
    let mut deployment = conversation();
    let d = deployment.head();
    deployment.send_content(1, "d1", Content::Delete { of: d });
    let mut deployment = deployment.finish();
    for line in &mut deployment.lines {
        if let HistoryLine::ReferencePage { recent: true, messages, .. } = line {
            messages.iter_mut().for_each(|message| message.deleted = false);
        }
    }
    assert_eq!(broken_invariants(&deployment.lines), [12], "from the memory of a gateway");
}

#[test]
fn other_instances_withhold_a_deleted_text_within_one_second() {
    // The instance that acknowledges the deletion, the one that is asked, the time of the request in ms, and whether the
    // answer may contain the text.
    let table = [("gw-1", "gw-1", 0, false), ("gw-1", "gw-2", 900, true), ("gw-1", "gw-2", 1100, false)];
    for (acknowledging, asked, after, permitted) in table {
        let mut deployment = conversation();
        let instances = [acknowledging, asked, asked];
        for line in &mut deployment.lines {
            if let HistoryLine::Open { c, instance, .. } = line {
                *instance = instances[*c as usize].into();
            }
        }
        let b = deployment.log[1].pos;
        deployment.send_content(0, "d1", Content::Delete { of: b });
        deployment.leave(1);
        deployment.clients[1].last = None;
        deployment.t += after * 1000;
        let from = deployment.lines.len();
        deployment.join(1, 20);
        for line in &mut deployment.lines[from..] {
            if let HistoryLine::Message { deleted, .. } = line {
                *deleted = false;
            }
        }
        let broken = broken_invariants(&deployment.finish().lines);
        assert_eq!(broken.is_empty(), permitted, "{acknowledging}, {asked}, {after} ms: {broken:?}");
    }
}

#[test]
fn fold_that_ignores_the_order_of_amendments_breaks_invariant_13() {
    let change = |change: fn(&mut FoldedEntry<'static>)| {
        let mut deployment = amended_conversation().finish();
        let shown = deployment.lines.iter_mut().rev().find_map(|line| match line {
            HistoryLine::Folded { shown, .. } => Some(shown),
            _ => None,
        });
        change(&mut shown.unwrap().changed[0]);
        broken_invariants(&deployment.lines)
    };
    assert_eq!(change(|_| ()), [0_u8; 0]);
    assert_eq!(change(|entry| entry.text_of = Some("e1".into())), [13]);
    assert_eq!(change(|entry| entry.text_of = None), [13]);
    assert_eq!(change(|entry| entry.reactions.clear()), [13]);
    assert_eq!(change(|entry| entry.pos = Position::new(7, 3)), [13]);
}
