//! Each attribute of callboard's has one form.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(n: u64) -> Self {
        Self { n }
    }

    #[skip(always)]
    pub fn get(&self) -> u64 {
        self.n
    }

    #[name(get)]
    pub fn name(&self) -> u64 {
        self.n
    }

    #[name = ""]
    pub fn nameless(&self) -> u64 {
        self.n
    }

    #[version = 2]
    pub fn version(&self) -> u64 {
        self.n
    }

    #[version(0)]
    pub fn zero(&self) -> u64 {
        self.n
    }
}

fn main() {}
