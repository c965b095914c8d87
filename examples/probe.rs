//! probe
use callboard::prelude::*;
use std::time::Instant;

pub struct Echo { n: u64 }

#[actor]
impl Echo {
    pub fn new() -> Self { Self { n: 0 } }
    pub fn echo(&self, x: [u8; 64]) -> [u8; 64] { x }
    pub fn small(&self, x: u64) -> u64 { x }
    pub fn take(&mut self, x: [u8; 64]) { self.n += u64::from(x[0]); }
    pub fn get(&self) -> u64 { self.n }
}

#[callboard::main(flavor = "current_thread")]
async fn main() -> callboard::Result<()> {
    let what = std::env::args().nth(1).unwrap_or("echo".into());
    let n: u32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(500_000);
    let echo = Echo::spawn().idle(if what.contains("busy") { Idle::Busy } else if what.contains("park") { Idle::Park } else { Idle::Adaptive }).await?;
    for _ in 0..5 {
        let t = Instant::now();
        if what.starts_with("echo") { for _ in 0..n { echo.echo([7; 64]).await?; } }
        if what.starts_with("small") { for _ in 0..n { echo.small(7).await?; } }
        if what.starts_with("tell") { for _ in 0..n { echo.take([7; 64]).tell().await?; } echo.get().await?; }
        if what.starts_with("pipe") {
            let mut set = Vec::with_capacity(64);
            for _ in 0..n / 64 {
                for _ in 0..64 { set.push(echo.echo([7; 64]).start()); }
                for call in set.drain(..) { call.await?; }
            }
        }
        if what.starts_with("flow") {
            use futures_util::stream::{FuturesUnordered, StreamExt};
            let mut set = FuturesUnordered::new();
            for _ in 0..64 { set.push(echo.echo([7; 64])); }
            for _ in 0..n { set.next().await.unwrap()?; set.push(echo.echo([7; 64])); }
            while let Some(r) = set.next().await { r?; }
        }
        println!("{what} {:?}", t.elapsed() / n);
    }
    echo.shutdown().await
}
