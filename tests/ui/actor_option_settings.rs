//! What a start is told has a value of its kind, and says it once.

use callboard::prelude::*;

pub struct Printer;

#[actor(
    mailbox = 0,
    idle = "park",
    grace = 500,
    process_name = 7,
    stderr = "/dev/null",
    greet_within = "5 fortnights",
    link = true,
    pin = 3,
    stdout,
    current_dir = "/",
    current_dir = "/tmp",
    env = "A"
)]
impl Printer {
    pub fn new() -> Self {
        Self
    }
}

fn main() {}
