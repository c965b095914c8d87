//! A period is a duration.

use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[every]
    fn first(&mut self) {}

    #[every(500)]
    fn second(&mut self) {}

    #[every("5 fortnights")]
    fn third(&mut self) {}

    #[every("0s")]
    fn fourth(&mut self) {}

    #[every("1s", delay = "soon")]
    fn fifth(&mut self) {}

    #[every("1s", after = "1s")]
    fn sixth(&mut self) {}

    #[every("1s")]
    #[every("2s")]
    fn seventh(&mut self) {}

    #[every("200000d")]
    fn eighth(&mut self) -> String {
        String::new()
    }

    #[every("900000d")]
    fn ninth(&mut self) {}
}

fn main() {}
