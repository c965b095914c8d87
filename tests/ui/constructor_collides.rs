//! A function has the name that a constructor's counterpart gets.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn open(path: String) -> Result<Self, String> {
        Err(path)
    }

    fn spawn_open() -> u64 {
        1
    }

    pub fn spawn() -> u64 {
        Self::spawn_open()
    }
}

fn main() {}
