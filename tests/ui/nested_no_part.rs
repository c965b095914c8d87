//! A part's type has methods that are called from outside.

use callboard::prelude::*;

pub struct Playback;

impl Playback {
    pub fn play(&mut self) {}
}

pub struct Player {
    playback: Playback,
}

#[actor(nested(playback: Playback))]
impl Player {
    pub fn new() -> Self {
        Self { playback: Playback }
    }
}

fn main() {}
