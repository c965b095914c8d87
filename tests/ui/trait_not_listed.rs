//! An actor offers the traits that its attribute lists, with their supertraits.

use callboard::prelude::*;

#[actor_trait]
pub trait Animal {
    fn eat(&self) {}
}

#[actor_trait(Animal)]
pub trait Feline: Animal {
    fn purr(&self) {}
}

pub struct Cat;

#[actor]
impl Cat {
    pub fn new() -> Self {
        Self
    }
}

impl Animal for Cat {}
impl Feline for Cat {}

pub struct Tiger;

#[actor(Feline)]
impl Tiger {
    pub fn new() -> Self {
        Self
    }
}

impl Animal for Tiger {}
impl Feline for Tiger {}

fn convert(cat: CatProxy) -> FelineProxy {
    cat.purr();
    cat.into()
}

fn main() {}
