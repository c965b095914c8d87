//! An actor's type is one type.

use callboard::prelude::*;

pub struct Holder<T> {
    value: T,
}

#[actor]
impl<T> Holder<T> {
    pub fn new(value: T) -> Self {
        Self { value }
    }
}

fn main() {}
