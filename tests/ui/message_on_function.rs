//! A message is a type.

#[callboard::message]
fn job() {}

fn main() {
    job();
}
