//! System calls, counted by strace.
use super::{Counter, calls};
use callboard::prelude::*;
#[callboard::test]
async fn experiment() -> callboard::Result<()> {
    let idle = match std::env::var("IDLE").as_deref() {
        Ok("park") => Idle::Park,
        Ok("busy") => Idle::Busy,
        Ok("adaptive") => Idle::Adaptive,
        _ => return Ok(()),
    };
    let counter = Counter::spawn().idle(idle).await?;
    calls(&counter, 1000).await?;
    for _ in 0..40 {
        let _ = std::fs::metadata("/mark");
        for _ in 0..500 {
            counter.get().await?;
        }
    }
    let _ = std::fs::metadata("/mark");
    counter.shutdown().await?;
    Ok(())
}
