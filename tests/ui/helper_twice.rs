//! An attribute is given once.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[version(2)]
    #[version(3)]
    pub fn get(&self) -> u64 {
        self.n
    }
}

fn main() {}
