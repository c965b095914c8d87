//! A `main` function has no arguments.

#[callboard::main]
async fn main(count: usize) {
    println!("{count}");
}
