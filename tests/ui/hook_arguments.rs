//! A hook is given what there is to know, and nothing else.

use callboard::PanicReport;
use callboard::prelude::*;

pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    #[on_start]
    fn started(&mut self, _at: u64) {}

    #[on_failure]
    fn failed(&mut self, _report: &PanicReport, _method: &str) {}

    #[every("1s")]
    fn tick(&mut self, _count: u64) {}
}

fn main() {}
