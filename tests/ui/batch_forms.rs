//! A batch takes a `Vec` of each argument and gives one of results, and has nothing of one call.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    #[batch]
    pub fn new(starts: Vec<u64>) -> Self {
        Self { n: starts[0] }
    }

    #[batch]
    pub fn no_vec(&mut self, by: u64, others: &[u64]) -> Vec<u64> {
        vec![by, others[0]]
    }

    #[batch]
    pub fn no_result_each(&mut self, by: Vec<u64>) -> u64 {
        by[0]
    }

    #[batch]
    pub fn one_result(&mut self, by: Vec<u64>) -> Result<Vec<u64>, String> {
        Ok(by)
    }

    #[batch]
    pub fn borrows(&self, texts: Vec<&str>) -> Vec<usize> {
        texts.into_iter().map(str::len).collect()
    }

    #[batch]
    pub fn nothing(&self) -> Vec<u64> {
        vec![self.n]
    }

    #[batch]
    pub fn asks(&self, by: Vec<u64>, context: &Context) -> Vec<u64> {
        by
    }

    #[batch]
    #[cancellable]
    pub async fn gives_up(&self, by: Vec<u64>) -> Vec<u64> {
        by
    }

    #[batch(64)]
    pub fn form(&self, by: Vec<u64>) -> Vec<u64> {
        by
    }

    #[batch(max = 0)]
    pub fn none(&self, by: Vec<u64>) -> Vec<u64> {
        by
    }
}

fn main() {}
