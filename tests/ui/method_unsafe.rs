//! No promise can be kept from another process.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub unsafe fn set(&mut self, n: u64) {
        self.n = n;
    }

    pub extern "C" fn get(&self) -> u64 {
        self.n
    }
}

fn main() {}
