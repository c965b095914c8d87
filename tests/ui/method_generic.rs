//! A function that is called from another process is not generic.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn add<T: Into<u64>>(&mut self, by: T) -> u64 {
        self.n + by.into()
    }

    pub fn get(&self) -> u64
    where
        u64: Copy,
    {
        self.n
    }
}

fn main() {}
