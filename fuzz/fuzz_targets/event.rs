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
        assert_eq!((frame.room.as_ref(), frame.pos, frame.at), (room.as_str(), message.pos, message.at));
        assert_eq!((frame.id.as_ref(), frame.text.as_ref()), (message.id.as_str(), message.text.as_str()));
        // Validation may normalise the name.
        assert_eq!(frame.user.parse().as_ref(), Ok(&message.user));
    }
});
