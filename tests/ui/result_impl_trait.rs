//! A result has a type with a name.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        0..self.n
    }
}

fn main() {}
