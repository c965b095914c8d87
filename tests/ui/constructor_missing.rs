//! An actor has to begin somehow.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn get(&self) -> u64 {
        self.n + Self::new(1).n
    }
}

fn main() {}
