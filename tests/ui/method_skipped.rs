//! The proxy lacks what is not exposed.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[skip]
    pub fn skipped(&self) -> u64 {
        self.n
    }

    fn private(&self) -> u64 {
        self.n
    }
}

fn calls(counter: CounterProxy) {
    counter.skipped();
    counter.private();
}

fn main() {}
