//! What is no literal is judged by the compiler, where it stands.

use callboard::prelude::*;

pub struct Printer;

#[actor(grace = 5 * 100, idle = Output::Null)]
impl Printer {
    pub fn new() -> Self {
        Self
    }
}

fn main() {}
