//! An expression for a period is a `Duration`.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[every(1 + 1)]
    fn tick(&mut self) {}
}

fn main() {}
