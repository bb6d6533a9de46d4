//! The cost of a delivery in user space, without the kernel's write.
//!
//! ```sh
//! cargo bench -p trunkline-gateway --features bench
//! ```

use bytes::Bytes;
use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use trunkline_gateway::bench::{FanOut, receive};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// One message to all members of a room.
#[divan::bench(args = [10, 1_000, 10_000])]
fn paced(bencher: Bencher<'_, '_>, members: usize) {
    let mut fan_out = FanOut::new(members);
    bencher.counter(ItemsCount::new(members)).bench_local(|| fan_out.deliver(1));
}

/// Sixteen messages that arrive together: one chunk and one write per member.
#[divan::bench(args = [10, 1_000, 10_000])]
fn batched(bencher: Bencher<'_, '_>, members: usize) {
    let mut fan_out = FanOut::new(members);
    bencher.counter(ItemsCount::new(16 * members)).bench_local(|| fan_out.deliver(16));
}

/// Encoding a message's frame, which happens once per process.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let fan_out = FanOut::new(1);
    bencher.bench_local(|| fan_out.encode());
}

/// Decoding a client's frame: its header is checked, then it is unmasked and decoded as UTF-8.
#[divan::bench(args = [20, 100, 4_000])]
fn frame_guard(bencher: Bencher<'_, '_>, length: usize) {
    let mut frame = match u8::try_from(length) {
        Ok(short) if short < 126 => vec![0x81, 0x80 | short],
        _ => [&[0x81, 0x80 | 126][..], &(length as u16).to_be_bytes()].concat(),
    };
    frame.extend([0x37, 0xfa, 0x21, 0x3d]);
    frame.extend((0..length).map(|i| b'a' ^ [0x37, 0xfa, 0x21, 0x3d][i % 4]));
    let frame = Bytes::from(frame);
    bencher.bench(|| receive(black_box(&frame)));
}
