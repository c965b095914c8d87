//! A stream that says it borrows nothing, and does; one whose items cannot travel.

use callboard::prelude::*;
use std::rc::Rc;

pub struct Source {
    numbers: Vec<u64>,
}

#[actor]
impl Source {
    pub fn new() -> Self {
        Self { numbers: Vec::new() }
    }

    pub fn own(&mut self) -> impl Stream<Item = u64> + 'static {
        futures_util::stream::iter(self.numbers.iter().copied())
    }

    pub fn shared(&self) -> impl Stream<Item = Rc<u64>> {
        futures_util::stream::empty()
    }
}

fn main() {}
