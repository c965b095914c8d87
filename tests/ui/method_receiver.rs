//! The actor stays where it is.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn into_inner(self) -> u64 {
        self.n
    }

    pub fn consume(mut self) -> u64 {
        self.n += 1;
        self.n
    }

    pub fn boxed(self: Box<Self>) -> u64 {
        self.n
    }
}

fn main() {}
