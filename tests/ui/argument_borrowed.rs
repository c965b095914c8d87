//! An argument is owned, or borrowed whole and in one of three ways.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn mean(&self, values: &[f64], weights: Option<&Vec<f64>>) -> f64 {
        values[0] * weights.map_or(1.0, |weights| weights[0])
    }

    pub fn name(&self, name: &String) -> usize {
        name.len()
    }

    pub fn point(&self, point: &(f64, f64)) -> f64 {
        point.0
    }

    pub fn fill(&self, buffer: &mut [u8]) {
        buffer[0] = 1;
    }

    pub fn keep(&self, text: &'static str, same: &'_ Archived<String>) -> u64 {
        text.len() as u64 + same.len() as u64
    }

    pub fn label(&self, label: std::borrow::Cow<'_, str>) -> u64 {
        self.n + label.len() as u64
    }
}

fn main() {}
