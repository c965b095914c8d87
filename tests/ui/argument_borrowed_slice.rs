//! A slice is borrowed only where the message has it as memory has.

use callboard::prelude::*;

#[message]
pub struct Point {
    x: u32,
}

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    pub fn first(&self, points: &[Point]) -> u32 {
        points[0].x
    }
}

fn main() {}
