//! A method asks once for its context.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn add(&mut self, context: &Context, by: u64, again: &Context) -> u64 {
        self.n += by;
        self.n
    }

    pub fn take(&mut self, context: &mut Context) -> u64 {
        self.n
    }
}

fn main() {}
