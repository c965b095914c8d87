//! Each field of a message can travel.

#[callboard::message]
pub struct Job {
    pub id: u64,
    pub begun: std::time::Instant,
}

fn main() {}
