//! Hostile bytes in a ring's memory, changing between any two looks.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::ring(input));
