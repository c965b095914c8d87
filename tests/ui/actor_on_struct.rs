//! `#[actor]` belongs to the functions, not to the data.

#[callboard::actor]
pub struct Counter {
    n: u64,
}

fn main() {}
