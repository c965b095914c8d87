//! Each attribute has its place.

use callboard::prelude::*;

#[actor]
pub trait Feline {}

#[actor_trait]
impl Cat {}

pub struct Cat;

#[actor]
impl Feline for Cat {}

#[actor]
pub fn meow() {}

#[message]
impl Cat {}

#[message]
pub type Cats = Vec<u8>;

#[callboard::main]
pub struct Main;

#[callboard::test]
mod tests {}

#[actor]
#[actor]
impl Cat {
    pub fn new() -> Self {
        Self
    }
}

#[actor_part]
#[callboard::actor]
impl Main {
    pub fn new() -> Self {
        Self
    }
}

#[actor_trait]
#[actor_trait]
pub trait Meows {}

fn main() {}
