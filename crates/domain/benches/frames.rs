//! `cargo bench -p trunkline-domain`: cost of decoding and encoding frames.

use divan::{AllocProfiler, Bencher, black_box};
use trunkline_domain::{Body, Command, Content, Entry, Event, Message, Position};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const SEND: &str = r#"{"type":"send","room":"lobby","id":"5f0c9b1e-77aa-4c1e-9f27-0d8d2f1b8f11","text":"a message of a usual length, such as people write when they talk"}"#;

fn message() -> Event {
    let Ok(entry) = entry() else { unreachable!("every part is valid") };
    let Ok(room) = "lobby".parse() else { unreachable!("a valid room") };
    Event::Message { room, message: entry.message }
}

fn entry() -> Result<Entry, Box<dyn std::error::Error>> {
    Ok(Entry {
        prev: Position::new(1_732_270_000_000, 812),
        message: Message {
            pos: Position::new(1_732_270_000_000, 813),
            id: "5f0c9b1e-77aa-4c1e-9f27-0d8d2f1b8f11".parse()?,
            user: "ann".parse()?,
            name: None,
            body: Body::Content(Content::Text {
                text: "a message of a usual length, such as people write when they talk".parse()?,
                reply_to: None,
            }),
            at: 1_732_270_000_500,
        },
    })
}

#[divan::bench]
fn decode_send(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Command::decode(black_box(SEND)));
}

const EVENT: &str = r#"{"type":"send","room":"orders.42","id":"5f0c9b1e-77aa-4c1e-9f27-0d8d2f1b8f11","event":"shipped","data":{"by":"ups","parcels":[{"id":1,"weight_g":420},{"id":2,"weight_g":1900}]}}"#;

#[divan::bench]
fn decode_event(bencher: Bencher<'_, '_>) {
    bencher.bench(|| Command::decode(black_box(EVENT)));
}

#[divan::bench]
fn encode_message(bencher: Bencher<'_, '_>) {
    let event = message();
    bencher.bench(|| black_box(&event).encode());
}

#[divan::bench]
fn decode_message(bencher: Bencher<'_, '_>) {
    let text = message().encode();
    bencher.bench(|| Event::decode(black_box(&text)));
}
