//! Attributes of functions where they mean nothing, or not together.

use callboard::prelude::*;

pub struct Printer;

#[actor]
impl Printer {
    #[priority(high)]
    pub fn new() -> Self {
        Self
    }

    #[batch]
    #[cancellable]
    pub fn open(numbers: Vec<u8>) -> Self {
        drop(numbers);
        Self
    }

    #[idempotent]
    pub async fn load() -> Result<Self, String> {
        Ok(Self)
    }

    #[batch(max = 8)]
    pub fn total(&self) -> Vec<u8> {
        Vec::new()
    }

    #[batch]
    #[cancellable]
    pub async fn print(&mut self, pages: Vec<u8>) {
        drop(pages);
    }

    #[skip]
    #[priority(low)]
    #[version(3)]
    pub fn hidden(&self) {}

    #[on_start]
    #[idempotent]
    fn begin(&mut self) {}

    #[every("1s")]
    #[name = "tick"]
    fn tick(&mut self) {}

    #[skip]
    #[on_stop]
    pub fn end(&mut self) {}
}

#[actor_trait]
pub trait Prints {
    #[idempotent]
    fn kind() -> String;

    #[skip]
    #[batch]
    fn page(&self) {}

    #[on_start]
    fn begin(&mut self) {}

    #[every("1s")]
    fn tick(&self) {}
}

fn main() {}
