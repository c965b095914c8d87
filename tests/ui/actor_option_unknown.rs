//! An option has to be known.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor(mailboxes = 3, name = "a", name = "b")]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }
}

fn main() {}
