//! A hook needs an actor.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_start]
    pub fn open() -> Self {
        Self
    }

    #[every("1s")]
    pub fn reopen() -> Result<Self, String> {
        Ok(Self)
    }

    #[on_stop]
    fn stopped() {}
}

fn main() {}
