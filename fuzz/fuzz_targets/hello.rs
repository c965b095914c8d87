//! The first packets of a start, from either side.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::hello(input));
