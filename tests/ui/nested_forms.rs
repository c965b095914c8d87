//! A part is named with its type, and has a name of its own.

use callboard::prelude::*;

pub struct Playback;

#[actor_part]
impl Playback {
    pub fn play(&mut self) {}
}

pub struct Player {
    playback: Playback,
}

#[actor(nested(playback: &Playback))]
impl Player {
    pub fn new() -> Self {
        Self { playback: Playback }
    }
}

pub struct Other {
    playback: Playback,
}

#[actor(nested(#[cfg(unix)] playback: Playback))]
impl Other {
    pub fn new() -> Self {
        Self { playback: Playback }
    }

    pub fn playback(&self) {}
}

pub struct Twice {
    playback: Playback,
}

#[actor(nested(playback: Playback, playback: Playback))]
impl Twice {
    pub fn new() -> Self {
        Self { playback: Playback }
    }

    #[name = "playback.play"]
    pub fn play(&self) {}
}

fn main() {}
