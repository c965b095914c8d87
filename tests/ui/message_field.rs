//! Each field of a message can travel.

use std::time::Instant;

use callboard::message;

#[message]
pub struct Job {
    pub id: u64,
    pub begun: std::time::Instant,
    pub ended: Option<Instant>,
}

#[message]
pub enum Event {
    Tick,
    Sent(Vec<(u8, Instant)>),
    Told { by: Plain, when: Instant },
}

/// Without `#[message]`.
pub struct Plain;

fn main() {}
