//! An option has a value of its kind.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor(name = 5, vis = "public")]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }
}

fn main() {}
