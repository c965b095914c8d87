//! A hook that is given no state, one that wants more, and a state that nobody is given.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_restart]
    fn resume(&mut self) {}

    #[on_start]
    fn begin(&mut self) -> u64 {
        7
    }
}

pub struct Clock;

#[actor]
impl Clock {
    pub fn new() -> Self {
        Self
    }

    #[on_restart]
    fn resume(&mut self, _state: u64, _more: u64) {}
}

pub struct Dial;

#[actor]
impl Dial {
    pub fn new() -> Self {
        Self
    }

    #[on_failure]
    #[on_stop]
    fn leave(&mut self) -> u64 {
        7
    }
}

fn main() {}
