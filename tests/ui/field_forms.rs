//! A field is listed with its type.

use callboard::prelude::*;

pub struct Player {
    name: String,
}

#[actor(get(name), get_set = "level", get(name: String))]
impl Player {
    pub fn new(name: String) -> Self {
        Self { name }
    }
}

fn main() {}
