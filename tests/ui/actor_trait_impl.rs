//! An actor's block is not that of a trait.

use callboard::prelude::*;

pub struct Counter;

pub trait Named {
    fn name(&self) -> String;
}

#[actor]
impl Named for Counter {
    fn name(&self) -> String {
        String::new()
    }
}

fn main() {}
