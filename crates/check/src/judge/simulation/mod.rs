//! Tests of the judge with simulated histories: correct ones, and ones that break one invariant each.

mod amendments;
mod deployment;
mod mutations;

use trunkline_domain::Position;

use super::{
    engine::Judge,
    verdict::{UnknownUser, Verdict},
};
use crate::{
    history::{HistoryLine, MeasurementStage},
    load::ExpectedFault,
};
use deployment::{ROOM, SimulatedDeployment, member, message, presence};

fn judge(lines: &[HistoryLine<'static>]) -> Verdict {
    let mut judge = Judge::new();
    for line in lines {
        // Serialise and parse the line, as a recorded file would.
        let mut bytes = Vec::new();
        line.write(&mut bytes);
        judge.take(HistoryLine::parse(std::str::from_utf8(&bytes).unwrap()).unwrap());
    }
    judge.verdict()
}

fn broken_invariants(lines: &[HistoryLine<'static>]) -> Vec<u8> {
    let verdict = judge(lines);
    verdict.invariants.iter().filter(|result| result.holds == Some(false)).map(|result| result.number).collect()
}

/// Three clients; two messages, a crash during which one client misses a message, and one more message.
fn conversation() -> SimulatedDeployment {
    let mut deployment = SimulatedDeployment::new(3);
    deployment.send(0, "a");
    deployment.send(1, "b");
    deployment.fault("gateway killed", false);
    deployment.crash(2);
    deployment.send(0, "c");
    deployment.open(2);
    deployment.join(2, 0);
    deployment.send(1, "d");
    deployment
}

#[test]
fn correct_deployment_passes() {
    let verdict = judge(&conversation().finish().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    let counts = verdict.counts;
    assert_eq!((counts.sent, counts.acknowledged, counts.delivered, counts.resumed), (4, 4, 12, 1));
    assert_eq!((counts.lost, counts.indeterminate, counts.gaps_reported, counts.closed), (0, 0, 0, 1));
    assert_eq!((verdict.recovery.count, verdict.faults[0].recovery.count, verdict.faults[0].never_back), (1, 1, 0));
}

#[test]
fn client_that_joined_an_empty_room_resumes_from_the_beginning() {
    let mut deployment = SimulatedDeployment::new(2);
    deployment.fault("gateway killed", false);
    deployment.crash(1);
    deployment.send(0, "a");
    deployment.send(0, "b");
    deployment.open(1);
    deployment.join(1, 0);
    let verdict = judge(&deployment.finish().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    assert_eq!(verdict.recovery.count, 1);
}

#[test]
fn missing_acknowledged_message_breaks_invariant_1() {
    let mut deployment = conversation().finish().without_reference_read();
    deployment.lines.remove(*deployment.entitled.last().unwrap());
    assert_eq!(broken_invariants(&deployment.lines), [1]);
    assert_eq!(judge(&deployment.lines).counts.lost, 1);
}

#[test]
fn clients_are_entitled_to_messages_acknowledged_after_data_loss_but_not_to_lost_ones() {
    let mut deployment = conversation();
    deployment.crash(2);
    deployment.send(0, "e");
    deployment.lose_entries(1);
    let t = deployment.now();
    deployment.lines.push(HistoryLine::Healed { t });
    deployment.send(1, "f");
    let mut deployment = deployment.finish();
    let verdict = judge(&deployment.lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    deployment.lines.remove(*deployment.entitled.last().unwrap());
    assert_eq!(broken_invariants(&deployment.without_reference_read().lines), [1]);
}

#[test]
fn no_client_is_entitled_to_a_log_that_redis_lost_completely() {
    let mut deployment = SimulatedDeployment::new(2);
    deployment.fault("gateways killed", false);
    deployment.crash(0);
    deployment.crash(1);
    deployment.send(0, "a");
    deployment.lose_entries(1);
    deployment.send(0, "b");
    for c in 0..2 {
        deployment.open(c);
        deployment.join(c, 0);
    }
    deployment.send(0, "c");
    let verdict = judge(&deployment.finish().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
}

#[test]
fn delivery_of_refused_message_breaks_invariant_2() {
    let mut deployment = conversation().finish();
    let sent = deployment.lines.iter_mut().find(|line| matches!(line, HistoryLine::Sent { .. })).unwrap();
    let HistoryLine::Sent { t, c, room, id, .. } = sent.clone() else { unreachable!() };
    *sent = HistoryLine::Error { t, c, room: Some(room), id: Some(id), code: "forbidden".into() };
    assert_eq!(broken_invariants(&deployment.lines), [2]);
}

#[test]
fn delivery_of_message_that_was_not_sent_breaks_invariant_2() {
    let mut deployment = conversation();
    deployment.append(0, "ghost");
    assert_eq!(broken_invariants(&deployment.finish().lines), [2]);
    let mut deployment = conversation().finish();
    let HistoryLine::Message { altered, .. } = &mut deployment.lines[*deployment.entitled.last().unwrap()] else {
        unreachable!()
    };
    *altered = true;
    assert_eq!(broken_invariants(&deployment.lines), [2]);
}

#[test]
fn retry_with_another_position_breaks_invariant_3() {
    let mut deployment = conversation();
    deployment.attempt(0, "a");
    deployment.ack(0, "a", Position::new(7, 99));
    assert_eq!(broken_invariants(&deployment.finish().lines), [3]);
}

#[test]
fn duplicate_delivery_breaks_invariant_4() {
    let mut deployment = conversation().finish().without_reference_read();
    let last = *deployment.entitled.last().unwrap();
    deployment.lines.insert(last, deployment.lines[last].clone());
    assert_eq!(broken_invariants(&deployment.lines), [4]);
    assert_eq!(judge(&deployment.lines).counts.duplicated, 1);
}

#[test]
fn epoch_change_without_redis_fault_breaks_invariant_4() {
    let mut deployment = conversation();
    deployment.epoch = 9;
    deployment.send(0, "e");
    assert_eq!(broken_invariants(&deployment.finish().lines), [4]);
    let mut deployment = conversation();
    deployment.fault("redis failed over", true);
    deployment.epoch = 9;
    deployment.send(0, "e");
    assert!(broken_invariants(&deployment.finish().lines).is_empty());
    let mut deployment = conversation();
    let t = deployment.now();
    deployment.lines.push(HistoryLine::Fault(ExpectedFault::Redis.mark(t)));
    deployment.epoch = 9;
    deployment.send(0, "e");
    assert!(broken_invariants(&deployment.finish().lines).is_empty());
}

#[test]
fn resume_with_head_before_last_position_breaks_invariant_4() {
    let mut deployment = conversation().finish();
    let resumed =
        deployment.lines.iter_mut().find(|line| matches!(line, HistoryLine::Joined { resumed: true, .. })).unwrap();
    let HistoryLine::Joined { head, .. } = resumed else { unreachable!() };
    *head = Position::new(7, 1);
    assert_eq!(broken_invariants(&deployment.lines), [4]);
}

#[test]
fn different_orders_at_two_clients_break_invariant_5() {
    let mut deployment = SimulatedDeployment::new(2);
    deployment.attempt(0, "a");
    deployment.attempt(1, "b");
    deployment.fault("redis restarted empty", true);
    let first = [(7, 1, "a", 0), (7, 2, "b", 1)];
    let second = [(9, 1, "b", 1), (9, 2, "a", 0)];
    for (reader, order) in [(0, first), (1, second)] {
        for (epoch, offset, id, author) in order {
            let t = deployment.now();
            deployment.lines.push(message(t, reader, Position::new(epoch, offset), id, author));
        }
    }
    let t = deployment.now();
    deployment.lines.push(HistoryLine::Settled { t });
    // Without an acknowledgement the run would break invariant 11 as well.
    deployment.ack(1, "b", Position::new(7, 2));
    deployment
        .lines
        .retain(|line| !matches!(line, HistoryLine::Joined { c: 1, .. } | HistoryLine::Presence { c: 1, .. }));
    let at = deployment.lines.iter().position(|line| matches!(line, HistoryLine::Message { c: 1, .. })).unwrap();
    let head = Position::new(7, 2);
    deployment.lines.insert(at, HistoryLine::Joined { t, c: 1, room: ROOM.into(), resumed: false, head });
    assert_eq!(broken_invariants(&deployment.lines), [5]);
}

#[test]
fn later_message_with_lower_position_breaks_invariant_6() {
    let mut deployment = SimulatedDeployment::new(2);
    deployment.attempt(0, "a");
    deployment.ack(0, "a", Position::new(7, 2));
    deployment.attempt(1, "b");
    deployment.append(1, "b");
    deployment.append(0, "a");
    deployment.ack(1, "b", Position::new(7, 1));
    assert_eq!(broken_invariants(&deployment.finish().lines), [6]);
}

#[test]
fn message_after_left_breaks_invariant_7() {
    let mut deployment = conversation();
    deployment.leave(2);
    let pos = deployment.head();
    let t = deployment.now();
    deployment.lines.push(message(t, 2, pos, "d", 1));
    // `finish` must not let the client join again.
    deployment.clients[2].joined = true;
    assert_eq!(broken_invariants(&deployment.finish().lines), [7]);
}

#[test]
fn frame_after_session_end_breaks_invariant_7() {
    let mut deployment = conversation();
    let t = deployment.now();
    deployment.lines.push(HistoryLine::SessionEnded { t, c: 2, within: 1_000_000 });
    deployment.t += 2_000_000;
    let mut deployment = deployment.finish();
    let (t, end) = (deployment.now(), deployment.lines.len() - 1);
    deployment
        .lines
        .insert(end, HistoryLine::Joined { t, c: 2, room: ROOM.into(), resumed: true, head: Position::new(7, 4) });
    assert_eq!(broken_invariants(&deployment.lines), [7]);
}

#[test]
fn different_reference_read_breaks_invariant_8() {
    let mut deployment = conversation().finish();
    let is_page = |line: &&mut HistoryLine<'_>| matches!(line, HistoryLine::ReferencePage { recent: false, .. });
    let tail = deployment.lines.iter_mut().find(is_page).unwrap();
    let HistoryLine::ReferencePage { messages, .. } = tail else { unreachable!() };
    messages.pop();
    assert_eq!(broken_invariants(&deployment.lines), [8]);
}

/// The users of the deployment with their names, and others without.
fn members(names: &[&str]) -> deployment::Members {
    let known = |name: &str| name.strip_prefix("user").and_then(|number| number.parse().ok()).map(member);
    names.iter().map(|name| known(name).unwrap_or_else(|| name.parse().unwrap())).collect()
}

/// The conversation, with a presence frame inserted before the presence check.
fn presence_frame_at_end(count: usize, users: Option<&[&str]>, joined: &[&str], left: &[&str]) -> SimulatedDeployment {
    let mut deployment = conversation().finish();
    let rest = deployment.lines.iter().position(|line| matches!(line, HistoryLine::PresenceCheck { .. })).unwrap();
    let some = |names: &[&str]| Some(members(names)).filter(|names| !names.is_empty());
    deployment.lines.insert(rest, presence(deployment.t, 0, count, users.map(members), some(joined), some(left)));
    deployment
}

#[test]
fn wrong_presence_after_one_lease_breaks_invariant_9() {
    let all_users = ["user0", "user1", "user2"];
    assert!(broken_invariants(&presence_frame_at_end(3, Some(&all_users), &[], &[]).lines).is_empty());
    assert!(
        broken_invariants(&presence_frame_at_end(3, None, &[], &[]).lines).is_empty(),
        "rooms with more than 500 users report only the count"
    );
    assert_eq!(
        broken_invariants(&presence_frame_at_end(4, Some(&["user0", "user1", "user2", "ghost"]), &[], &[]).lines),
        [9]
    );
    assert_eq!(broken_invariants(&presence_frame_at_end(2, Some(&["user0", "user1"]), &[], &[]).lines), [9]);
    assert_eq!(broken_invariants(&presence_frame_at_end(731, None, &[], &[]).lines), [9]);
    assert_eq!(broken_invariants(&presence_frame_at_end(2, None, &[], &["user2"]).lines), [9]);
    let mut silent = conversation().finish();
    silent.lines.retain(|line| !matches!(line, HistoryLine::Presence { c: 0, .. }));
    assert_eq!(broken_invariants(&silent.lines), [9]);
}

#[test]
fn inconsistent_presence_differences_break_invariant_9() {
    assert_eq!(
        broken_invariants(&presence_frame_at_end(3, None, &["user1"], &[]).lines),
        [9],
        "user1 joined duplicated"
    );
    assert_eq!(
        broken_invariants(&presence_frame_at_end(3, None, &[], &["ghost"]).lines),
        [9],
        "ghost left without having joined"
    );
    let mut duplicated = conversation().finish();
    let reports_left = |line: &HistoryLine<'_>| matches!(line, HistoryLine::Presence { left: Some(_), .. });
    let index = duplicated.lines.iter().position(reports_left).unwrap();
    duplicated.lines.insert(index, duplicated.lines[index].clone());
    assert_eq!(broken_invariants(&duplicated.lines), [9]);
}

#[test]
fn unknown_users_and_flickers_are_counted() {
    let mut deployment = conversation();
    let t = deployment.now();
    for c in 0..2 {
        deployment.lines.push(presence(t, c, 4, None, Some(members(&["ghost"])), None));
        deployment.lines.push(presence(t + 5, c, 2, None, None, Some(members(&["ghost", "user2"]))));
    }
    deployment.lines.push(presence(t + 9, 1, 3, None, Some(members(&["user2"])), None));
    let verdict = judge(&deployment.finish().lines);
    let ghost =
        UnknownUser { user: "ghost".to_owned(), views: 2, views_left: 2, views_left_again: 0, last_left: Some(t + 5) };
    assert_eq!((verdict.unknown_users, verdict.counts.flickers), (vec![ghost], 2));
}

#[test]
fn unexplained_close_breaks_invariant_10() {
    let mut deployment = conversation().finish();
    let (t, end) = (deployment.now(), deployment.lines.len() - 1);
    deployment.lines.insert(end, HistoryLine::Close { t, c: 1, s: 1, code: 1008 });
    assert_eq!(broken_invariants(&deployment.lines), [10]);
}

#[test]
fn leaked_file_descriptors_break_invariant_10() {
    let gauge = |stage, fds| HistoryLine::ProcessUsage { t: 0, pid: 1, stage, rss: 10 << 20, fds, threads: 5 };
    let mut deployment = conversation().finish();
    deployment.lines.insert(1, gauge(MeasurementStage::Before, 20));
    deployment.lines.push(gauge(MeasurementStage::After, 25));
    assert!(broken_invariants(&deployment.lines).is_empty());
    deployment.lines.push(gauge(MeasurementStage::After, 2000));
    assert_eq!(broken_invariants(&deployment.lines), [10]);
}

#[test]
fn vacuous_run_breaks_invariant_11() {
    assert_eq!(broken_invariants(&SimulatedDeployment::new(2).finish().lines), [11]);
    let mut unsettled = conversation().finish().lines;
    unsettled.retain(|line| !matches!(line, HistoryLine::Settled { .. }));
    assert_eq!(broken_invariants(&unsettled), [11]);
    let mut unnoticed = conversation();
    unnoticed.fault("nothing", false);
    let Some(HistoryLine::Fault(fault)) = unnoticed.lines.last_mut() else { unreachable!() };
    fault.visible = true;
    assert_eq!(broken_invariants(&unnoticed.finish().lines), [11]);
}

#[test]
fn silence_begins_with_the_last_delivery_or_when_the_next_message_was_due() {
    let mut deployment = SimulatedDeployment::new(2);
    deployment.send(0, "a");
    deployment.fault("gateway killed", false);
    // No message is due, so this time is not a silence.
    deployment.t += 9_000_000;
    deployment.crash(1);
    deployment.send(0, "b");
    deployment.t += 3_000_000;
    deployment.open(1);
    deployment.join(1, 0);
    let silence = judge(&deployment.finish().lines).silence;
    assert_eq!((silence.count, silence.max / 1_000_000), (2, 3), "one of two clients waited 3 s");
}

#[test]
fn wrong_display_name_breaks_invariant_9() {
    let mut deployment = presence_frame_at_end(3, Some(&["user0", "user1", "user2"]), &[], &[]);
    let names = deployment.lines.iter_mut().rev().find_map(|line| match line {
        HistoryLine::Presence { users: Some(users), .. } => Some(users),
        _ => None,
    });
    names.unwrap()[0].name = None;
    assert_eq!(broken_invariants(&deployment.lines), [9]);
}
