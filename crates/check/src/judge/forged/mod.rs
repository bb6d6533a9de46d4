//! Histories of a perfect deployment, and forged ones that break one invariant each.

mod mutations;
mod world;

use trunkline_domain::Position;

use super::{Judge, Stranger, Verdict};
use crate::history::{Line, Stage};
use world::{ROOM, World, message, presence};

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
fn who_joined_an_empty_room_and_resumes_gets_it_from_the_beginning() {
    let mut world = World::new(2);
    world.fault("gateway killed", false);
    world.crash(1);
    world.send(0, "a");
    world.send(0, "b");
    world.open(1);
    world.join(1, 0);
    let verdict = judge(&world.rest().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    assert_eq!(verdict.recovery.count, 1);
}

#[test]
fn an_acknowledged_message_that_never_comes_breaks_1() {
    let mut world = talk().rest().without_tail();
    world.lines.remove(*world.owed.last().unwrap());
    assert_eq!(broken(&world.lines), [1]);
    assert_eq!(judge(&world.lines).counts.lost, 1);
}

#[test]
fn what_redis_lost_is_owed_to_nobody_but_what_was_acknowledged_afterwards_is() {
    let mut world = talk();
    world.crash(2);
    world.send(0, "e");
    world.lose(1);
    let t = world.now();
    world.lines.push(Line::Healed { t });
    world.send(1, "f");
    let mut world = world.rest();
    let verdict = judge(&world.lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
    world.lines.remove(*world.owed.last().unwrap());
    assert_eq!(broken(&world.without_tail().lines), [1]);
}

#[test]
fn a_log_that_redis_lost_whole_is_owed_to_nobody() {
    let mut world = World::new(2);
    world.fault("gateways killed", false);
    world.crash(0);
    world.crash(1);
    world.send(0, "a");
    world.lose(1);
    world.send(0, "b");
    for c in 0..2 {
        world.open(c);
        world.join(c, 0);
    }
    world.send(0, "c");
    let verdict = judge(&world.rest().lines);
    assert!(verdict.passed, "{:#?}", verdict.invariants);
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
    world.lines.retain(|line| !matches!(line, Line::Joined { c: 1, .. } | Line::Presence { c: 1, .. }));
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

/// The talk, with a frame about presence put in when everything has come to rest.
fn told_at_rest(count: usize, here: Option<&[&'static str]>, came: &[&'static str], went: &[&'static str]) -> World {
    let mut world = talk().rest();
    let rest = world.lines.iter().position(|line| matches!(line, Line::Still { .. })).unwrap();
    let list = |names: &[&'static str]| names.iter().map(|name| (*name).into()).collect::<world::Names>();
    let some = |names: &[&'static str]| Some(list(names)).filter(|names| !names.is_empty());
    world.lines.insert(rest, presence(world.t, 0, count, here.map(list), some(came), some(went)));
    world
}

#[test]
fn a_picture_of_a_room_that_is_wrong_at_rest_breaks_9() {
    let everybody = ["user0", "user1", "user2"];
    assert!(broken(&told_at_rest(3, Some(&everybody), &[], &[]).lines).is_empty());
    assert!(broken(&told_at_rest(3, None, &[], &[]).lines).is_empty(), "above 500 users only the count");
    assert_eq!(broken(&told_at_rest(4, Some(&["user0", "user1", "user2", "ghost"]), &[], &[]).lines), [9]);
    assert_eq!(broken(&told_at_rest(2, Some(&["user0", "user1"]), &[], &[]).lines), [9]);
    assert_eq!(broken(&told_at_rest(731, None, &[], &[]).lines), [9]);
    assert_eq!(broken(&told_at_rest(2, None, &[], &["user2"]).lines), [9]);
    let mut silent = talk().rest();
    silent.lines.retain(|line| !matches!(line, Line::Presence { c: 0, .. }));
    assert_eq!(broken(&silent.lines), [9]);
}

#[test]
fn changes_that_do_not_add_up_break_9() {
    assert_eq!(broken(&told_at_rest(3, None, &["user1"], &[]).lines), [9], "came, and was there");
    assert_eq!(broken(&told_at_rest(3, None, &[], &["ghost"]).lines), [9], "went, and was not there");
    let mut twice = talk().rest();
    let is_went = |line: &Line<'_>| matches!(line, Line::Presence { went: Some(_), .. });
    let went = twice.lines.iter().position(is_went).unwrap();
    twice.lines.insert(went, twice.lines[went].clone());
    assert_eq!(broken(&twice.lines), [9]);
}

#[test]
fn strangers_and_flickers_are_counted() {
    let mut world = talk();
    let t = world.now();
    for c in 0..2 {
        world.lines.push(presence(t, c, 4, None, Some(vec!["ghost".into()]), None));
        world.lines.push(presence(t + 5, c, 2, None, None, Some(vec!["ghost".into(), "user2".into()])));
    }
    world.lines.push(presence(t + 9, 1, 3, None, Some(vec!["user2".into()]), None));
    let verdict = judge(&world.rest().lines);
    let ghost = Stranger { user: "ghost".to_owned(), told: 2, went: 2, went_again: 0, last_went: Some(t + 5) };
    assert_eq!((verdict.strangers, verdict.counts.flickers), (vec![ghost], 2));
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

#[test]
fn a_silence_lasts_from_the_last_message_or_from_when_the_next_was_due() {
    let mut world = World::new(2);
    world.send(0, "a");
    world.fault("gateway killed", false);
    // Nothing is due: nobody waits.
    world.t += 9_000_000;
    world.crash(1);
    world.send(0, "b");
    world.t += 3_000_000;
    world.open(1);
    world.join(1, 0);
    let silence = judge(&world.rest().lines).silence;
    assert_eq!((silence.count, silence.max / 1_000_000), (2, 3), "one of two waited");
}
