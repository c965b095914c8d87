//! A field that is only read has no setter.

use callboard::prelude::*;

pub struct Player {
    name: String,
}

#[actor(get(name: String))]
impl Player {
    pub fn new(name: String) -> Self {
        Self { name }
    }
}

async fn rename(player: PlayerProxy) {
    let _ = player.name().await;
    let _ = player.set_name("Bob".into()).await;
}

fn main() {}
