//! An option has to be known.

#[callboard::main(threads = 4)]
async fn main() {}
