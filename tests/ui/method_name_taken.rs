//! Names on the wire tell methods apart.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    pub fn get(&self) -> u64 {
        self.n
    }

    #[name = "get"]
    pub fn count(&self) -> u64 {
        self.n
    }
}

fn main() {}
