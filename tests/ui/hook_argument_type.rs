//! A hook's argument has the type that it is given.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_failure]
    fn failed(&mut self, _report: String) {}
}

fn main() {}
