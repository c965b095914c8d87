//! A message may be one of a circle, and is one once.

use callboard::message;

#[message(recursiv)]
pub struct Misspelt(u8);

#[message(name = "job")]
pub struct Named(u8);

#[message(recursive = true, recursive, recursive)]
pub struct Told(u8);

#[message]
#[message]
pub struct Twice(u8);

#[message]
#[derive(Debug, rkyv::Archive)]
pub struct Derived(u8);

#[message]
pub struct Borrowed<'a>(&'a str);

#[message(recursive)]
#[rkyv(deserialize_bounds(__D::Error: rkyv::rancor::Source))]
pub struct Bounded(Vec<Bounded>);

fn main() {}
