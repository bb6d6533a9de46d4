//! Server frames, as the client decodes them.
//!
//! Invariants: an accepted frame survives encoding and decoding; the decoder that borrows and the one that validates
//! read the same message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_client::MessageFrame;
use trunkline_domain::Event;

fuzz_target!(|text: &str| {
    let event = Event::decode(text).ok();
    let borrowed = MessageFrame::decode(text);
    if let Some(event) = event.as_ref().filter(|event| **event != Event::Unknown) {
        assert_eq!(Event::decode(&event.encode()).unwrap(), *event);
    }
    if let (Some(Event::Message { room, message }), Some(frame)) = (&event, &borrowed) {
        assert_eq!(frame.room.as_ref(), room.as_str());
        assert_eq!(frame.to_message().as_ref(), Some(message));
    }
});
