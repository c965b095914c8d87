//! What is told of an actor that dies: its exit code or signal, its panic, its last words.
//!
//! `cargo run --example deaths`; the same with `panic = "abort"` in the profile, where a panic ends
//! the process at once and is told all the same.

use callboard::prelude::*;
use callboard::{Death, Exit};

/// Breaks in several ways.
pub struct Fragile;

#[actor]
impl Fragile {
    pub fn new() -> Self {
        Self
    }

    pub fn exit(&self, code: i32) {
        eprintln!("the disk is full");
        #[expect(clippy::disallowed_methods, reason = "an actor that ends by itself")]
        std::process::exit(code)
    }

    pub fn abort(&self) {
        std::process::abort()
    }

    pub fn divide(&self, a: u32, b: u32) -> u32 {
        a / b
    }
}

/// Starts an actor whose standard error is kept.
async fn fragile() -> callboard::Result<FragileProxy> {
    Ok(Fragile::spawn().stderr(Output::Tail(64 * 1024)).await?)
}

/// What is told to those who call an actor that has died.
fn death<T>(result: Result<T, CallError>) -> Death {
    match result {
        Err(CallError::Died { death, .. }) => death,
        Err(other) => panic!("it should have died: {other}"),
        Ok(_) => panic!("it should have died"),
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    println!("built to abort: {}", cfg!(panic = "abort"));

    let told = death(fragile().await?.exit(3).await);
    println!("exit:  {told}");
    assert_eq!(told.exit(), Exit::Code(3));
    assert_eq!(told.stderr(), Some("the disk is full\n"));

    let told = death(fragile().await?.abort().await);
    println!("abort: {told}");
    assert!(told.to_string().contains("SIGABRT"));

    // A program that unwinds tells its caller of the panic and ends then; one that aborts is
    // gone before it can answer, and has left what it had to say.
    let actor = fragile().await?;
    let report = match actor.divide(1, 0).await {
        Err(CallError::Panicked(report)) if cfg!(panic = "unwind") => report,
        other if cfg!(panic = "abort") => death(other).report().expect("it panicked").clone(),
        other => panic!("{other:?}"),
    };
    println!("panic: {report}");
    assert_eq!(report.message(), "attempt to divide by zero");
    assert!(
        report
            .location()
            .is_some_and(|at| at.starts_with("examples/deaths.rs:"))
    );

    // Whoever comes later is told the same.
    let told = death(actor.divide(4, 2).await);
    println!("later: {told}");
    assert_eq!(told.report(), Some(&report));
    assert!(
        told.stderr()
            .is_some_and(|text| text.contains("divide by zero"))
    );
    Ok(())
}
