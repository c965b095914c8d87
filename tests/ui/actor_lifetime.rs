//! An actor's type may be generic, and borrows nothing.

use callboard::prelude::*;

pub struct Holder<'a> {
    value: &'a str,
}

#[actor]
impl<'a> Holder<'a> {
    pub fn new() -> Self {
        Self { value: "" }
    }
}

fn main() {}
