//! A result cannot borrow from the actor.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn name(&self) -> &str {
        "counter"
    }

    pub fn find(&mut self, n: u64) -> Result<&mut [u64], String> {
        Err(format!("{n} {}", self.n))
    }
}

fn main() {}
