//! What an argument is made of has to be archivable.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn lock(&self, guard: std::sync::Mutex<u64>) -> u64 {
        guard.into_inner().unwrap_or(self.n)
    }
}

fn main() {}
