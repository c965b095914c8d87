//! Nobody waits for what a hook returns, but for its error.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_stop]
    fn stopped(&mut self) -> u64 {
        7
    }
}

fn main() {}
