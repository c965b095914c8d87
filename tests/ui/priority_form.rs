//! There are two priorities to choose, and constructors have none.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    #[priority(high)]
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[priority]
    pub fn get(&self) -> u64 {
        self.n
    }

    #[priority(urgent)]
    pub fn urgent(&self) -> u64 {
        self.n
    }

    #[priority(3)]
    pub fn third(&self) -> u64 {
        self.n
    }
}

fn main() {}
