//! What strangers send to a door, and what comes over a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::noise(input));
