//! Nothing comes of attributes on a function that is not exposed.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[name = "count"]
    fn private(&self) -> u64 {
        self.n
    }

    #[skip]
    #[version(2)]
    pub fn skipped(&self) -> u64 {
        self.n
    }
}

fn main() {}
