//! An option has a value.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor(name)]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }
}

fn main() {}
