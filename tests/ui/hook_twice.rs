//! An actor has one of each hook.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_stop]
    #[on_failure]
    fn save(&mut self) {}

    #[on_stop]
    fn close(&mut self) {}
}

fn main() {}
