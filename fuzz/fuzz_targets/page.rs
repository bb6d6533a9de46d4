//! Replies of Redis: pages of a stream, and presence snapshots.
//!
//! The first line is the range: `after POSITION`, `before POSITION` or `latest`. The rest is the reply to the first
//! query, in the text form of `read_page`. Invariants: a page has at most as many entries as asked for; the entries of a
//! page that follows are those of the reply.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_bus::{
    Range,
    fuzzing::{decode_presence_snapshot, read_page},
};
use trunkline_domain::Position;

const LIMIT: usize = 3;

fuzz_target!(|text: &str| {
    let _ = decode_presence_snapshot(text);
    let Some((range, reply)) = text.split_once('\n') else { return };
    let range = match range.split_once(' ') {
        Some(("after", pos)) => pos.parse().ok().map(|pos| Range::After(pos, LIMIT)),
        Some(("before", pos)) => pos.parse().ok().map(|pos| Range::Before(pos, LIMIT)),
        _ => Some(Range::Latest(LIMIT)),
    };
    let Some(range) = range else { return };
    if let Some(page) = read_page(range, Position::new(7, 9), reply) {
        assert!(page.entries.len() <= LIMIT);
        assert!(page.follows || page.entries.is_empty());
        for entry in &page.entries {
            assert!(reply.contains(&entry.message.pos.to_string()));
        }
    }
});
