//! Properties of key rotation for browsers with any request timing, and the comparison with the Lua implementation.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;

use proptest::{collection::vec, prelude::*};
use trunkline_testbed::Redis;

use super::*;
use crate::secret::SessionSecret;

const GRACE: Millis = 10_000;

/// A page load as the store does it. Returns the secret that the bearer gets, or `None` if the presented one is not
/// valid.
fn page_load(ring: &mut Keyring, presented: SessionSecret, now: Millis) -> Option<SessionSecret> {
    let salt = SecretSalt::random();
    let change = KeyChange::Rotate { digest: presented.next(salt).digest(), salt };
    let salts = ring.change(presented.digest(), change, now, GRACE)?;
    Some(salts.into_iter().fold(presented, SessionSecret::next))
}

/// One request of a browser. It carries the cookie of the moment at which it is sent.
#[derive(Clone, Copy, Debug)]
struct Request {
    sent: Millis,
    /// Time from the browser to the gateway.
    up: Millis,
    /// Time back to the browser. `None` if the gateway crashed and the response is lost.
    down: Option<Millis>,
    /// Whether it loads a page, which rotates the key. Other requests only present the key.
    page: bool,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    // Bursts, and pauses that are longer than the grace period.
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
    fn browser_with_any_request_timing_stays_logged_in(requests in requests()) {
        let mut steps = Vec::new();
        for (i, request) in requests.iter().enumerate() {
            let served = request.sent + request.up;
            steps.push((request.sent, Step::Send(i)));
            steps.push((served, Step::Serve(i)));
            steps.extend(request.down.map(|down| (served + down, Step::Arrive(i))));
        }
        steps.sort_by_key(|(at, _)| *at);

        let mut jar = SessionSecret::random();
        let mut ring = Keyring::new(jar.digest());
        let mut carried = vec![jar; requests.len()];
        let mut answered = vec![None; requests.len()];
        for (now, step) in steps {
            match step {
                Step::Send(i) => carried[i] = jar,
                Step::Serve(i) if requests[i].page => {
                    prop_assert!(ring.present(carried[i].digest(), now, GRACE), "request {i} was refused");
                    let key = page_load(&mut ring, carried[i], now);
                    prop_assert!(key.is_some());
                    prop_assert_eq!(key.unwrap().digest(), ring.newest, "every bearer gets the newest key");
                    answered[i] = key;
                }
                Step::Serve(i) => prop_assert!(ring.present(carried[i].digest(), now, GRACE), "request {i} was refused"),
                Step::Arrive(i) => jar = answered[i].unwrap_or(jar),
            }
            prop_assert!(ring.superseded.len() <= MAX_SUPERSEDED_KEYS);
        }
    }

    #[test]
    fn keys_that_were_never_issued_are_never_valid(requests in requests()) {
        let first = SessionSecret::random();
        let mut ring = Keyring::new(first.digest());
        let mut key = first;
        for request in requests {
            key = page_load(&mut ring, key, request.sent).unwrap();
            prop_assert!(!ring.present(SessionSecret::random().digest(), request.sent, GRACE));
            prop_assert!(page_load(&mut ring, SessionSecret::random(), request.sent).is_none());
        }
    }

    #[test]
    fn only_the_new_key_is_valid_after_a_renewal(requests in requests()) {
        let mut key = SessionSecret::random();
        let mut ring = Keyring::new(key.digest());
        let mut all = vec![key];
        let mut now = 0;
        for request in requests {
            now = request.sent;
            key = page_load(&mut ring, key, now).unwrap();
            all.push(key);
        }
        let fresh = SessionSecret::random();
        let renewal = KeyChange::Renew { digest: fresh.digest() };
        prop_assert_eq!(ring.change(key.digest(), renewal, now, GRACE), Some(vec![]));
        prop_assert!(all.into_iter().all(|old| !ring.present(old.digest(), now, GRACE)));
        prop_assert!(ring.present(fresh.digest(), now, GRACE));
    }
}

#[test]
fn superseded_key_is_valid_for_one_grace_period_after_the_newest_is_presented() {
    let old = SessionSecret::random();
    let mut ring = Keyring::new(old.digest());
    let new = page_load(&mut ring, old, 0).unwrap();
    assert!(ring.present(old.digest(), 100 * GRACE, GRACE), "the new key has not been presented");
    assert!(ring.present(new.digest(), 200 * GRACE, GRACE));
    assert!(ring.present(old.digest(), 201 * GRACE - 1, GRACE));
    assert!(!ring.present(old.digest(), 201 * GRACE, GRACE));
}

#[test]
fn reissued_key_expires_only_after_its_response_must_have_arrived() {
    let first = SessionSecret::random();
    let mut ring = Keyring::new(first.digest());
    let second = page_load(&mut ring, first, 0).unwrap();
    page_load(&mut ring, first, 1_000).unwrap(); // sends `second` again; this response is slow
    let third = page_load(&mut ring, second, 2_000).unwrap();
    assert!(ring.present(third.digest(), 3_000, GRACE), "the slow response may still bring `second` back");
    assert!(ring.present(second.digest(), 3_000 + 5 * GRACE, GRACE));
    assert!(
        ring.present(third.digest(), 3_001 + 5 * GRACE, GRACE),
        "`second` has been presented again, one grace period ago"
    );
    assert!(!ring.present(second.digest(), 3_001 + 6 * GRACE, GRACE));
}

#[test]
fn key_stays_valid_while_an_older_one_derives_over_it() {
    let first = SessionSecret::random();
    let mut ring = Keyring::new(first.digest());
    let second = page_load(&mut ring, first, 0).unwrap(); // this response is slow
    assert_eq!(page_load(&mut ring, first, 0).unwrap().digest(), second.digest());
    let third = page_load(&mut ring, second, 0).unwrap();
    let fourth = page_load(&mut ring, third, 0).unwrap();
    assert!(ring.present(fourth.digest(), 0, GRACE));
    // The slow response brings `second` back, long after `third` went out of use.
    assert_eq!(page_load(&mut ring, second, 6 * GRACE).unwrap().digest(), fourth.digest());
    assert!(ring.present(fourth.digest(), 6 * GRACE, GRACE));
    assert!(ring.present(fourth.digest(), 7 * GRACE, GRACE), "this proves that `second` is out of use");
    assert!(!ring.present(third.digest(), 8 * GRACE, GRACE));
}

/// One step of a history: the index of the presented key among those made so far, the time since the last step in ms,
/// and the kind of change.
type Event = (prop::sample::Index, Millis, u8);

#[test]
fn lua_and_rust_keyrings_agree() {
    let redis = Redis::start().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let gap = prop_oneof![0..100_u64, 0..2 * GRACE];
    let event = (any::<prop::sample::Index>(), gap, 0..10_u8);
    runner.run(&vec(event, 1..40), |events| histories_agree(&redis, &events)).unwrap();
}

/// Runs one history in a single script that records results and rings, and compares them with the ring in Rust.
fn histories_agree(redis: &Redis, events: &[Event]) -> Result<(), TestCaseError> {
    let first = SessionSecret::random();
    let (mut ring, mut made, mut now) = (Keyring::new(first.digest()), vec![first], 1_700_000_000_000);
    let (mut expected, mut script) = (String::new(), String::from(include_str!("../redis/keyring.lua")));
    let _ = write!(script, "local ring, found = cjson.decode('[{{\"digest\":\"{}\"}}]'), {{}}\n{STEP}", first.digest());
    for (which, gap, what) in events {
        now += gap;
        let presented = *which.get(&made);
        let (salt, fresh) = (SecretSalt::random(), SessionSecret::random());
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

/// The Lua function for one step. It encodes and decodes the ring, as happens between two scripts.
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

/// The ring in the format of `STEP`.
fn written(ring: &Keyring) -> String {
    let ms = |at: Option<Millis>| at.map_or("-".to_owned(), |at| at.to_string());
    let mut text = String::new();
    for key in &ring.superseded {
        let _ = write!(text, "{} {} {} {},", key.digest, key.salt, ms(key.reissued_at), ms(key.expires_at));
    }
    let _ = write!(text, "{} - {} -,", ring.newest, ms(ring.reissued_at));
    text
}
