//! An actor implements what it offers.

use callboard::prelude::*;

#[actor_trait]
pub trait Animal {
    fn eat(&self) {}
}

pub struct Cat;

#[actor(Animal)]
impl Cat {
    pub fn new() -> Self {
        Self
    }
}

fn main() {}
