//! A part is an impl block with methods, and no more than that.

use callboard::prelude::*;

pub struct Playback;

#[actor_part]
impl Default for Playback {
    fn default() -> Self {
        Self
    }
}

#[actor_part]
pub struct Deck;

pub struct Cell<T>(T);

#[actor_part(name = "cell", mailbox = 3)]
impl<T> Cell<T> {
    #[on_start]
    fn begin(&mut self) {}

    #[every("1s")]
    fn tick(&mut self) {}

    #[version(2)]
    fn private(&self) {}

    pub fn take(self) -> T {
        self.0
    }
}

pub struct Mixer {
    left: Deck,
}

#[actor_part(nested(left: Deck))]
impl Mixer {
    pub fn left(&self) {}
}

fn main() {}
