//! An argument cannot be left out.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn add(&mut self, #[cfg(unix)] by: u64) -> u64 {
        self.n + by
    }
}

fn main() {}
