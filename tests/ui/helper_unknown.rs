//! An attribute that nobody knows is the compiler's to refuse.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[skpi]
    pub fn get(&self) -> u64 {
        self.n
    }
}

fn main() {}
