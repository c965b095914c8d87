//! K11: a player of parts. Each has methods of its own, and is called through the actor it is in.

use callboard::prelude::*;

/// Plays one record.
#[derive(Default)]
pub struct Deck {
    record: Option<String>,
}

#[actor_part]
impl Deck {
    pub fn play(&mut self, record: &str) {
        self.record = Some(record.to_owned());
    }

    pub fn record(&self) -> Option<String> {
        self.record.clone()
    }
}

/// A part with parts, of which it has two of a kind.
#[derive(Default)]
pub struct Mixer {
    left: Deck,
    right: Deck,
    volume: u8,
}

#[actor_part(nested(left: Deck, right: Deck), get_set(volume: u8))]
impl Mixer {
    /// Borrows the whole player: no other method runs meanwhile.
    pub fn swap(&mut self) {
        std::mem::swap(&mut self.left, &mut self.right);
    }
}

/// The actor: one process, whatever it is made of.
pub struct Player {
    mixer: Mixer,
}

#[actor(nested(mixer: Mixer))]
impl Player {
    pub fn new(volume: u8) -> Self {
        let mixer = Mixer {
            volume,
            ..Mixer::default()
        };
        Self { mixer }
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let player = Player::spawn(3).await?;

    // A part's proxy is a value, like the actor's own, and can be kept.
    let mixer = player.mixer();
    mixer.left().play("Blue Train").await?;
    mixer.swap().await?;
    mixer.set_volume(mixer.volume().await? + 1).await?;

    assert_eq!(mixer.left().record().await?, None);
    let record = player.mixer().right().record().await?;
    println!("{record:?} at volume {}", mixer.volume().await?);
    assert_eq!(record.as_deref(), Some("Blue Train"));
    assert_ne!(mixer.left(), mixer.right());
    player.shutdown().await
}
