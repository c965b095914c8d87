//! An argument has a type with a name.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn greet(&self, name: impl Into<String>) -> String {
        name.into()
    }
}

fn main() {}
