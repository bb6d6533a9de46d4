//! Whatever a browser does, it stays logged in; and the Lua does the same.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;

use proptest::{collection::vec, prelude::*};
use trunkline_testbed::Redis;

use super::*;
use crate::sid::Secret;

const GRACE: Millis = 10_000;

/// What the store does around a ring: `None` if the key is not good, else the key that its bearer gets.
fn page_load(ring: &mut Keyring, presented: Secret, now: Millis) -> Option<Secret> {
    let salt = Salt::random();
    let change = KeyChange::Rotate { digest: presented.next(salt).digest(), salt };
    let salts = ring.change(presented.digest(), change, now, GRACE)?;
    Some(salts.into_iter().fold(presented, Secret::next))
}

/// Requests of one browser: each is sent with the cookie of its time, served later, and answered later still, or never.
#[derive(Clone, Copy, Debug)]
struct Request {
    sent: Millis,
    /// On its way to the gateway.
    up: Millis,
    /// On its way back; `None`: the gateway died with it.
    down: Option<Millis>,
    /// Loads a page, which sets the cookie; else it only presents it.
    page: bool,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    // Bursts, with quiet times between that are longer than any grace.
    let gap = prop_oneof![0..50_u64, 0..2_000_u64, Just(60_000_u64)];
    let flight = prop_oneof![0..100_u64, 0..GRACE / 2];
    let request = (gap, flight.clone(), proptest::option::weighted(0.8, flight), proptest::bool::weighted(0.7));
    vec(request, 1..60).prop_map(|requests| {
        let mut sent = 1_700_000_000_000;
        let at = |(gap, up, down, page)| {
            sent += gap;
            Request { sent, up, down, page }
        };
        requests.into_iter().map(at).collect()
    })
}

#[derive(Clone, Copy)]
enum Step {
    Send(usize),
    Serve(usize),
    Arrive(usize),
}

proptest! {
    #[test]
    fn a_browser_is_never_logged_out(requests in requests()) {
        let mut steps = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let served = request.sent + request.up;
            steps.push((request.sent, Step::Send(i)));
            steps.push((served, Step::Serve(i)));
            steps.extend(request.down.map(|down| (served + down, Step::Arrive(i))));
        }
        steps.sort_by_key(|(at, _)| *at);

        let mut jar = Secret::random();
        let mut ring = Keyring::new(jar.digest());
        let mut carried = vec![jar; requests.len()];
        let mut answered = vec![None; requests.len()];
        for (now, step) in steps {
            match step {
                Step::Send(i) => carried[i] = jar,
                Step::Serve(i) if requests[i].page => {
                    prop_assert!(ring.present(carried[i].digest(), now, GRACE), "{i} was logged out");
                    let key = page_load(&mut ring, carried[i], now);
                    prop_assert!(key.is_some());
                    prop_assert_eq!(key.unwrap().digest(), ring.newest, "everybody gets the newest");
                    answered[i] = key;
                }
                Step::Serve(i) => prop_assert!(ring.present(carried[i].digest(), now, GRACE), "{i} was logged out"),
                Step::Arrive(i) => jar = answered[i].unwrap_or(jar),
            }
            prop_assert!(ring.superseded.len() <= MAX_SUPERSEDED);
        }
    }

    #[test]
    fn what_was_never_given_out_is_never_good(requests in requests()) {
        let first = Secret::random();
        let mut ring = Keyring::new(first.digest());
        let mut key = first;
        for request in requests {
            key = page_load(&mut ring, key, request.sent).unwrap();
            prop_assert!(!ring.present(Secret::random().digest(), request.sent, GRACE));
            prop_assert!(page_load(&mut ring, Secret::random(), request.sent).is_none());
        }
    }

    #[test]
    fn after_a_renewal_only_the_new_key_is_good(requests in requests()) {
        let mut key = Secret::random();
        let mut ring = Keyring::new(key.digest());
        let mut all = vec![key];
        let mut now = 0;
        for request in requests {
            now = request.sent;
            key = page_load(&mut ring, key, now).unwrap();
            all.push(key);
        }
        let fresh = Secret::random();
        let renewal = KeyChange::Renew { digest: fresh.digest() };
        prop_assert_eq!(ring.change(key.digest(), renewal, now, GRACE), Some(vec![]));
        prop_assert!(all.into_iter().all(|old| !ring.present(old.digest(), now, GRACE)));
        prop_assert!(ring.present(fresh.digest(), now, GRACE));
    }
}

#[test]
fn a_superseded_key_lives_a_grace_after_the_newest_was_presented() {
    let old = Secret::random();
    let mut ring = Keyring::new(old.digest());
    let new = page_load(&mut ring, old, 0).unwrap();
    assert!(ring.present(old.digest(), 100 * GRACE, GRACE), "the new one was not presented");
    assert!(ring.present(new.digest(), 200 * GRACE, GRACE));
    assert!(ring.present(old.digest(), 201 * GRACE - 1, GRACE));
    assert!(!ring.present(old.digest(), 201 * GRACE, GRACE));
}

#[test]
fn a_second_copy_under_way_delays_the_end_of_its_key() {
    let first = Secret::random();
    let mut ring = Keyring::new(first.digest());
    let second = page_load(&mut ring, first, 0).unwrap();
    page_load(&mut ring, first, 1_000).unwrap(); // the second copy of `second`; its answer is slow
    let third = page_load(&mut ring, second, 2_000).unwrap();
    assert!(ring.present(third.digest(), 3_000, GRACE), "but the slow answer may yet bring `second` back");
    assert!(ring.present(second.digest(), 3_000 + 5 * GRACE, GRACE));
    assert!(ring.present(third.digest(), 3_001 + 5 * GRACE, GRACE), "now it has");
    assert!(!ring.present(second.digest(), 3_001 + 6 * GRACE, GRACE));
}

#[test]
fn a_key_outlives_those_that_lead_over_it() {
    let first = Secret::random();
    let mut ring = Keyring::new(first.digest());
    let second = page_load(&mut ring, first, 0).unwrap(); // its answer is slow
    assert_eq!(page_load(&mut ring, first, 0).unwrap().digest(), second.digest());
    let third = page_load(&mut ring, second, 0).unwrap();
    let fourth = page_load(&mut ring, third, 0).unwrap();
    assert!(ring.present(fourth.digest(), 0, GRACE));
    // Now the slow answer brings `second` back, long after `third` went out of use.
    assert_eq!(page_load(&mut ring, second, 6 * GRACE).unwrap().digest(), fourth.digest());
    assert!(ring.present(fourth.digest(), 6 * GRACE, GRACE));
    assert!(ring.present(fourth.digest(), 7 * GRACE, GRACE), "which proves that `second` is out of use, too");
    assert!(!ring.present(third.digest(), 8 * GRACE, GRACE));
}

/// One step of a history: which of the keys made so far is presented, after how long, for what.
type Event = (prop::sample::Index, Millis, u8);

#[test]
fn lua_does_the_same() {
    let redis = Redis::start().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let gap = prop_oneof![0..100_u64, 0..2 * GRACE];
    let event = (any::<prop::sample::Index>(), gap, 0..10_u8);
    runner.run(&vec(event, 1..40), |events| histories_agree(&redis, &events)).unwrap();
}

/// Runs one history in a single script, which writes down what it found, and compares it with the ring in Rust.
fn histories_agree(redis: &Redis, events: &[Event]) -> Result<(), TestCaseError> {
    let first = Secret::random();
    let (mut ring, mut made, mut now) = (Keyring::new(first.digest()), vec![first], 1_700_000_000_000);
    let (mut expected, mut script) = (String::new(), String::from(include_str!("../redis/keyring.lua")));
    let _ = write!(script, "local ring, found = cjson.decode('[{{\"digest\":\"{}\"}}]'), {{}}\n{STEP}", first.digest());
    for (which, gap, what) in events {
        now += gap;
        let presented = *which.get(&made);
        let (salt, fresh) = (Salt::random(), Secret::random());
        let (name, next) = match what {
            0..=2 => ("present", presented),
            3 => ("keep", presented),
            4..=8 => ("rotate", presented.next(salt)),
            _ => ("renew", fresh),
        };
        let _ = writeln!(script, "step('{}', {now}, '{name}', '{}', '{salt}')", presented.digest(), next.digest());
        let salts = match name {
            "present" => ring.present(presented.digest(), now, GRACE).then(Vec::new),
            "keep" => ring.change(presented.digest(), KeyChange::Keep, now, GRACE),
            "rotate" => ring.change(presented.digest(), KeyChange::Rotate { digest: next.digest(), salt }, now, GRACE),
            _ => ring.change(presented.digest(), KeyChange::Renew { digest: next.digest() }, now, GRACE),
        };
        let _ = match &salts {
            None => write!(expected, "no;"),
            Some(salts) => write!(expected, "yes{};", salts.iter().map(|salt| format!(" {salt}")).collect::<String>()),
        };
        made.push(next);
        let _ = write!(expected, "{}|", written(&ring));
    }
    script.push_str("return table.concat(found)");
    prop_assert_eq!(redis.cli(&["EVAL", &script, "0"]).unwrap(), expected);
    Ok(())
}

/// What each event does to the ring in Lua; the ring is stored and read again as between scripts.
const STEP: &str = "
local function step(presented, now, what, digest, salt)
  local at, salts
  ring, at = present(ring, presented, now, 10000)
  if at and what ~= 'present' then
    ring, salts = change(ring, at, what, digest, salt, now)
  end
  ring = cjson.decode(cjson.encode(ring))
  found[#found + 1] = at and 'yes' or 'no'
  for _, s in ipairs(salts or {}) do
    found[#found + 1] = ' ' .. s
  end
  found[#found + 1] = ';'
  for _, key in ipairs(ring) do
    local ms = function(n) return n and string.format('%.0f', n) or '-' end
    found[#found + 1] = table.concat({ key.digest, key.salt or '-', ms(key.again), ms(key.dies) }, ' ') .. ','
  end
  found[#found + 1] = '|'
end
";

/// The ring as `STEP` writes it.
fn written(ring: &Keyring) -> String {
    let ms = |at: Option<Millis>| at.map_or("-".to_owned(), |at| at.to_string());
    let mut text = String::new();
    for key in &ring.superseded {
        let _ = write!(text, "{} {} {} {},", key.digest, key.salt, ms(key.again), ms(key.dies));
    }
    let _ = write!(text, "{} - {} -,", ring.newest, ms(ring.again));
    text
}
