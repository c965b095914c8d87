//! What is generic is the actor, as a whole and in its types.

use callboard::prelude::*;

pub struct Cell<T>(T);

#[actor]
impl<'a, T: Message + Clone> Cell<&'a T> {
    pub fn new(value: &'a T) -> Self {
        Self(value)
    }
}

pub struct Shelf<T>(Vec<T>);

#[actor]
impl<T: Message> Shelf<T> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn put<U: Into<T>>(&mut self, value: U) {
        self.0.push(value.into());
    }

    pub fn map<const N: usize>(&self, numbers: [u8; N]) -> usize {
        numbers.len() + self.0.len()
    }

    pub fn each(&self, value: impl Message) {
        drop(value);
    }
}

#[actor_part]
impl<'a> Iterator for Shelf<&'a u8> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        None
    }
}

#[actor_trait]
pub trait Holds<T> {
    const SIZE: usize;

    fn size(&self) -> usize;
}

fn main() {}
