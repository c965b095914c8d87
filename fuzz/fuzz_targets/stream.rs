//! What a peer sends over the stream beneath a link, cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::stream(input));
