//! What never waits cannot be dropped where it waits.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    #[cancellable]
    pub async fn new(start: u64) -> Self {
        Self { n: start }
    }

    #[cancellable]
    pub fn get(&self) -> u64 {
        self.n
    }
}

fn main() {}
