//! A trait is listed once, and what looks like an option is one.

use callboard::prelude::*;

#[actor_trait]
pub trait Animal {
    fn eat(&self) {}
}

pub struct Cat;

#[actor(Animal, Animal, nmae = "cat")]
impl Cat {
    pub fn new() -> Self {
        Self
    }
}

impl Animal for Cat {}

fn main() {}
