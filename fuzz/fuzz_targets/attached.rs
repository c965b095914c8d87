//! What a peer sends beside a link: descriptors, and what messages say of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callboard::fuzzing::attached(input));
