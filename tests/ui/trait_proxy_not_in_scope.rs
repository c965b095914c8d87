//! Where a trait is imported, its proxy is, too; what stands in no scope is the compiler's to say.

use callboard::prelude::*;

mod zoo {
    use callboard::prelude::*;

    #[actor_trait]
    pub trait Animal {
        fn eat(&self) {}
    }
}

use zoo::Animal;

pub struct Cat;

#[actor(Animal)]
impl Cat {
    pub fn new() -> Self {
        Self
    }
}

impl Animal for Cat {}

fn main() {}
