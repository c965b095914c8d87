//! A union does not say what it holds.

#[callboard::message]
union Word {
    whole: u32,
    bytes: [u8; 4],
}

fn main() {}
