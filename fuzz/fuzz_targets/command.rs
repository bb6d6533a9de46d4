//! Client frames, as the gateway decodes them.
//!
//! Invariants: an accepted frame survives encoding and decoding; a refusal is short, and a client can decode it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_domain::{Command, Event};

fuzz_target!(|text: &str| {
    match Command::decode(text) {
        Ok(command) => assert_eq!(Command::decode(&command.encode()), Ok(command)),
        Err(refusal) => {
            let frame = Event::Error(refusal);
            let encoded = frame.encode();
            assert!(encoded.len() <= 1024, "a refusal of {} bytes", encoded.len());
            assert_eq!(Event::decode(&encoded).unwrap(), frame);
        }
    }
});
