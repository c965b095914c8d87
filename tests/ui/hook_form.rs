//! A hook's mark says nothing more, and is for one thing alone.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_start(first)]
    fn started(&mut self) {}

    #[on_stop]
    #[every("1s")]
    fn save(&mut self) {}

    #[on_failure]
    #[name = "failed"]
    pub fn failed(&mut self) {}
}

fn main() {}
