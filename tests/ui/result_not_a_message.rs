//! What a result is made of has to be archivable.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn now(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

fn main() {}
