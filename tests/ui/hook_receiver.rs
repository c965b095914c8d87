//! A hook borrows the actor as a method does.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_stop]
    fn stopped(self) {}
}

fn main() {}
