//! What a peer sends of streams: payloads of items, credit, ends.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::items(input));
