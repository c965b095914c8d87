//! The flavours are tokio's.

#[callboard::main(flavor = "green_threads")]
async fn main() {}
