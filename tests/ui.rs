//! U03, U1A, UB8, K38: what the macros say to code they refuse, one file per message.
//!
//! `TRYBUILD=overwrite cargo test --test ui` writes the expected texts anew; read the difference.

#[test]
fn refusals_point_at_the_right_words() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
