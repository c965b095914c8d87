//! A trait's attribute stands on a trait.

use callboard::prelude::*;

#[actor_trait]
pub struct Feline;

fn main() {}
