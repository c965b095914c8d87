//! A small library and its tests: the same checks of an actor as a task and as a process.
//!
//! `cargo run --example testing` runs the checks and says what it does;
//! `cargo test --example testing` runs them as tests, as a library would.
//!
//! - As a task (`Account::local(..)`) an actor starts in microseconds and has its debugger's
//!   breakpoints, its coverage and its clock in common with the test. For what it computes.
//! - As a process (`Account::spawn(..)`) it is what it will be. For what it survives.

use std::future::IntoFuture;

use callboard::prelude::*;
use callboard::{Exit, SpawnError};

// The library: an actor and its error.

/// Why an account pays nothing out.
#[message]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missing} too little")]
pub struct Overdrawn {
    pub missing: u64,
}

/// Keeps what was paid in.
pub struct Account {
    balance: u64,
}

#[actor]
impl Account {
    pub fn new(balance: u64) -> Self {
        Self { balance }
    }

    pub fn pay_in(&mut self, amount: u64) -> u64 {
        self.balance += amount;
        self.balance
    }

    pub fn pay_out(&mut self, amount: u64) -> Result<u64, Overdrawn> {
        let missing = amount.saturating_sub(self.balance);
        if missing > 0 {
            return Err(Overdrawn { missing });
        }
        self.balance -= amount;
        Ok(self.balance)
    }

    /// Loses its mind, for the sake of the tests.
    pub fn lose_count(&self) {
        panic!("how much was it?");
    }
}

// The checks: each takes what starts an account, and does not know which kind it is.

/// What is paid in can be paid out, and no more.
async fn pays_what_it_has<S>(start: impl Fn(u64) -> S) -> callboard::Result<()>
where
    S: IntoFuture<Output = Result<AccountProxy, SpawnError>>,
{
    let account = start(10).await?;
    assert_eq!(account.pay_in(5).await?, 15);
    assert_eq!(account.pay_out(12).await?, 3);
    match account.pay_out(4).await {
        Err(CallError::Actor(error)) => assert_eq!(error, Overdrawn { missing: 1 }),
        other => panic!("{other:?}"),
    }
    account.shutdown().await
}

/// A panic ends one account and says why; the next one starts afresh.
async fn panics_end_one_account<S>(start: impl Fn(u64) -> S) -> callboard::Result<()>
where
    S: IntoFuture<Output = Result<AccountProxy, SpawnError>>,
{
    let (first, second) = (start(1).await?, start(2).await?);
    let error = first.lose_count().await.expect_err("it panics");
    assert!(error.to_string().contains("how much was it?"), "{error}");
    assert_ne!(first.exited().await, Exit::Code(0));
    assert_eq!(second.pay_in(0).await?, 2);
    second.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[callboard::test]
    async fn a_task_pays_what_it_has() -> callboard::Result<()> {
        pays_what_it_has(Account::local).await
    }

    #[callboard::test]
    async fn a_process_pays_what_it_has() -> callboard::Result<()> {
        pays_what_it_has(Account::spawn).await
    }

    #[callboard::test]
    async fn a_panic_ends_one_task() -> callboard::Result<()> {
        panics_end_one_account(Account::local).await
    }

    #[callboard::test]
    async fn a_panic_ends_one_process() -> callboard::Result<()> {
        panics_end_one_account(Account::spawn).await
    }

    /// Only a process can be lost with all it has: here it is killed.
    #[callboard::test]
    async fn a_killed_process_is_told() -> callboard::Result<()> {
        let account = Account::spawn(10).await?;
        account.kill().await;
        let error = account.pay_in(1).await.expect_err("it is dead");
        assert!(matches!(error, CallError::Died { .. }), "{error}");
        Ok(())
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let account = Account::local(0).await?;
    assert_eq!(account.process_id(), std::process::id());
    println!("a task: process {}, this one", account.process_id());
    pays_what_it_has(Account::local).await?;
    panics_end_one_account(Account::local).await?;
    println!("a task pays what it has, and its panic is its own");

    let account = Account::spawn(0).await?;
    assert_ne!(account.process_id(), std::process::id());
    println!("a process: {}", account.process_id());
    pays_what_it_has(Account::spawn).await?;
    panics_end_one_account(Account::spawn).await?;
    println!("a process pays what it has, and its panic is its own");
    Ok(())
}
