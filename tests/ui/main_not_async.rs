//! A `main` function of a runtime is async.

#[callboard::main]
fn main() {}
