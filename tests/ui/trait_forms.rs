//! One proxy stands for all actors of a trait, so the trait depends on none of them.

use callboard::prelude::*;

#[actor_trait]
pub trait Generic<T> {
    fn get(&self) -> u8;
}

#[actor_trait]
pub trait Associated {
    type Food;
    fn get(&self) -> u8;
}

#[actor_trait]
pub trait Selfish {
    fn twin(&self, other: Option<Self>) -> u8
    where
        Self: Sized;
    fn food(&self) -> Vec<Self::Food>;
}

#[actor_trait(Animal)]
pub trait Feline: Send {
    fn purr(&self) -> u8;
}

#[actor_trait(vis = "pub")]
pub trait Visible {
    fn get(&self) -> u8;
}

fn main() {}
