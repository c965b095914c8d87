//! The proxy has a `shutdown` of its own.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub async fn shutdown(&mut self) {
        self.n = 0;
    }
}

fn main() {}
