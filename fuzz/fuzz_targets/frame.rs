//! A peer's records, read as frames and put together from chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::frame(input));
