//! What cannot be a stream, and what cannot be said about one.

use callboard::prelude::*;

pub struct Source {
    numbers: Vec<u64>,
}

#[actor]
impl Source {
    pub fn new(numbers: Streamed<u64>) -> Self {
        drop(numbers);
        Self { numbers: Vec::new() }
    }

    pub fn drain(&mut self) -> impl Stream<Item = u64> {
        futures_util::stream::iter(self.numbers.drain(..))
    }

    pub fn texts(&self) -> impl Stream<Item = &str> {
        futures_util::stream::empty()
    }

    #[idempotent]
    pub fn again(&self) -> impl Stream<Item = u64> {
        futures_util::stream::empty()
    }

    #[batch]
    pub async fn many(&mut self, numbers: Vec<Streamed<u64>>) {
        drop(numbers);
    }

    pub fn lent(&self, numbers: Streamed<&'static str>) {
        drop(numbers);
    }
}

fn main() {}
