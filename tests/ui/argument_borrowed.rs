//! An argument is owned.

use callboard::prelude::*;

pub struct Counter {
    n: u64,
}

#[actor]
impl Counter {
    pub fn new(start: u64) -> Self {
        Self { n: start }
    }

    pub fn greet(&self, name: &str) -> String {
        name.to_owned()
    }

    pub fn mean(&self, values: &[f64], weights: Option<&Vec<f64>>) -> f64 {
        values[0] * weights.map_or(1.0, |weights| weights[0])
    }

    pub fn label(&self, label: std::borrow::Cow<'_, str>) -> u64 {
        self.n + label.len() as u64
    }
}

fn main() {}
