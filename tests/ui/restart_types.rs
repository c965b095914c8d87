//! States of other types than the next life is given.

use callboard::prelude::*;

pub struct Counter(u64);

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn count(&mut self, context: &Context) -> bool {
        context.checkpoint::<Self>(&"seven".to_owned()).is_ok()
    }

    #[on_restart]
    fn resume(&mut self, count: u64) {
        self.0 = count;
    }

    #[on_failure]
    fn fail(&mut self) -> u32 {
        7
    }
}

pub struct Dial;

#[actor]
impl Dial {
    pub fn new() -> Self {
        Self
    }

    pub fn turn(&mut self, context: &Context) -> bool {
        context.checkpoint::<Self>(&7_u64).is_ok()
    }
}

pub struct Clock;

#[actor]
impl Clock {
    pub fn new() -> Self {
        Self
    }

    #[on_restart]
    fn resume(&mut self, _hands: std::rc::Rc<u64>) {}
}

fn main() {}
