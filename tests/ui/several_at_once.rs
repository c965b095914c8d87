//! All refusals of a block come at once.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor(nam = "counter")]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn add(&mut self, by: &u64) -> &u64 {
        self.n += by;
        &self.n
    }

    pub fn take(self, text: &str) -> u64 {
        self.n + text.len() as u64
    }
}

fn main() {}
