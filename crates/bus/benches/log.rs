//! `cargo bench -p trunkline-bus`: cost of an append to a log in memory, and of reading a page of it.

use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use trunkline_bus::{Log, Range};
use trunkline_domain::{Body, Content, Entry, Message, Position};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const EPOCH: u64 = 1_732_270_000_000;

fn entry(offset: u64) -> Entry {
    let parts = (offset.to_string().parse(), "ann".parse(), "a message of a usual length".parse());
    let (Ok(id), Ok(user), Ok(text)) = parts else { unreachable!("every part is valid") };
    let body = Body::Content(Content::Text { text, reply_to: None });
    let pos = Position::new(EPOCH, offset + 1);
    Entry { prev: Position::new(EPOCH, offset), message: Message { pos, id, user, name: None, body, at: EPOCH } }
}

/// A log at its bound: each append drops the oldest entry.
fn full() -> Log {
    let mut log = Log::new(1000, 1 << 20);
    for offset in 0..1000 {
        let Ok(()) = log.append(entry(offset)) else { unreachable!("each entry follows the head") };
    }
    log
}

#[divan::bench]
fn append(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| (full(), entry(1000))).bench_local_refs(|(log, entry)| log.append(entry.clone()));
}

#[divan::bench(args = [1, 64, 500])]
fn read_after(bencher: Bencher<'_, '_>, count: usize) {
    let log = full();
    let after = Position::new(EPOCH, 1000 - count as u64);
    bencher.counter(ItemsCount::new(count)).bench(|| log.read(black_box(Range::After(after, count))));
}
