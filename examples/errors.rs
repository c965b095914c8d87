//! U01, U09, U14, UB6, K04, K05: what can go wrong with an actor, and how its caller learns of it.
//! Errors are values: the actor's own, a constructor's, panics, deaths, timeouts, messages that
//! cannot travel, ends that are not in order. Each says whether the method ran, and that decides on
//! trying again.

use std::error::Error;
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, ShutdownError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longer than a message may be, which is 256 MiB.
const TOO_LARGE: usize = 257 * 1024 * 1024;

/// Keeps coins.
pub struct Vault {
    coins: u64,
}

/// An actor's own error: any message that is an error.
#[message]
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("{asked} coins were asked for, and {left} are left")]
    TooFew { asked: u64, left: u64 },
    #[error("an empty vault is no vault")]
    Empty,
}

/// A message that contains itself.
#[message]
pub struct Box3 {
    inside: Option<Box<Self>>,
}

#[actor]
impl Vault {
    pub fn new(coins: u64) -> Self {
        assert!(coins < 1_000_000, "no vault is that large");
        Self { coins }
    }

    pub fn open(coins: u64) -> Result<Self, Refused> {
        if coins == 0 {
            Err(Refused::Empty)
        } else {
            Ok(Self { coins })
        }
    }

    pub fn take(&mut self, asked: u64) -> Result<u64, Refused> {
        let left = self.coins;
        self.coins = left
            .checked_sub(asked)
            .ok_or(Refused::TooFew { asked, left })?;
        Ok(self.coins)
    }

    pub fn coins(&self) -> u64 {
        self.coins
    }

    pub fn drop_on_foot(&mut self) {
        panic!("{} coins on one foot", self.coins)
    }

    pub async fn count_slowly(&self) -> u64 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.coins
    }

    /// Blocks the actor's only thread, so that it does not even hear that it should end.
    pub fn get_stuck(&mut self) {
        thread::sleep(Duration::from_secs(60));
    }

    pub fn keep(&self, things: Vec<u8>) -> usize {
        things.len()
    }

    pub fn give(&self, len: usize) -> Vec<u8> {
        vec![0; len]
    }

    pub fn unpack(&self, outermost: Box3) -> usize {
        let mut depth = 0;
        let mut next = &outermost;
        while let Some(inside) = &next.inside {
            (depth, next) = (depth + 1, inside);
        }
        depth
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    errors_of_their_own().await?;
    starts_that_fail().await?;
    panics().await?;
    deaths_and_trying_again().await?;
    timeouts().await?;
    messages_that_cannot_travel().await?;
    ends_out_of_order().await
}

/// A method's `Err` is the call's error, with its type. `?` and `match` work as on any other.
async fn errors_of_their_own() -> callboard::Result<()> {
    let vault = Vault::spawn(10).await?;
    assert_eq!(vault.take(3).await?, 7);
    let error = vault.take(8).await.expect_err("it fails");
    say("own error", &error);
    assert_eq!(error.outcome(), Outcome::Ran);
    assert!(matches!(
        error,
        CallError::Actor(Refused::TooFew { asked: 8, left: 7 })
    ));
    assert_eq!(vault.coins().await?, 7, "the actor lives on");
    vault.shutdown().await
}

/// What a constructor says comes back from the spawn, and nothing is left of the process.
async fn starts_that_fail() -> callboard::Result<()> {
    let refused = Vault::spawn_open(0).await.expect_err("it fails");
    say("constructor's error", &refused);
    assert!(matches!(refused, SpawnError::Constructor(Refused::Empty)));

    let panicked = Vault::spawn(1_000_000).await.expect_err("it fails");
    say("constructor's panic", &panicked);
    assert!(matches!(panicked, SpawnError::Panicked(report) if report.message().contains("large")));

    let nowhere = Vault::spawn(1)
        .exe("/no/such/program")
        .await
        .expect_err("it fails");
    say("no such program", &nowhere);
    assert!(matches!(nowhere, SpawnError::Exec(_)));
    Ok(())
}

/// A panic is the error of its call, with text and place. It ends the actor: who knows what it
/// left.
async fn panics() -> callboard::Result<()> {
    let vault = Vault::spawn(10).await?;
    let error = vault.drop_on_foot().await.expect_err("it fails");
    say("panic", &error);
    let CallError::Panicked(report) = error else {
        panic!("{error:?}")
    };
    assert_eq!(report.message(), "10 coins on one foot");
    assert!(
        report
            .location()
            .is_some_and(|place| place.contains("errors.rs:"))
    );

    let after = vault.coins().await.expect_err("it fails");
    say("call after it", &after);
    assert_eq!(after.outcome(), Outcome::NotRun);
    assert_eq!(vault.exited().await, Exit::Code(101));
    Ok(())
}

/// kill -9: calls end at once and say how the actor died. `outcome` says which may be made again.
async fn deaths_and_trying_again() -> callboard::Result<()> {
    let mut vault = Vault::spawn(10).await?;
    let running = vault.count_slowly().start();
    vault.coins().await?; // in order: answered, so the call before it has begun
    kill_9(&vault)?;
    let error = running.await.expect_err("it fails");
    say("killed in a call", &error);
    assert_eq!(error.outcome(), Outcome::MayHaveRun);
    let CallError::Died { death, .. } = error else {
        panic!("{error:?}")
    };
    assert!(matches!(death.exit(), Exit::Signal { number: 9, .. }));

    assert_eq!(take_for_sure(&mut vault, 4).await?, 6);
    println!("{:>22}: a new actor, and the call made again", "not run");
    vault.shutdown().await
}

/// Takes coins, from a new vault if the old one is gone; never takes them twice.
async fn take_for_sure(vault: &mut VaultProxy, coins: u64) -> callboard::Result<u64> {
    loop {
        match vault.take(coins).await {
            Err(error) if error.outcome() == Outcome::NotRun && !vault.is_alive() => {
                *vault = Vault::spawn(10).await?;
            }
            // It ran, or may have: whether that is bad is for the caller to say.
            result => return Ok(result?),
        }
    }
}

/// A bound travels with its call: an actor that comes to it too late does not run it.
async fn timeouts() -> callboard::Result<()> {
    let vault = Vault::spawn(10).await?;
    let error = vault
        .count_slowly()
        .timeout(Duration::from_millis(20))
        .await
        .expect_err("it fails");
    say("timeout", &error);
    assert!(matches!(error, CallError::Timeout { .. }));
    assert_eq!(vault.coins().await?, 10);
    // The counting that nobody waits for would go on for a minute, and a shutdown would wait for
    // it.
    kill_9(&vault)?;
    vault.exited().await;
    Ok(())
}

/// Too large or too deep a message is an error of its call alone: the link stays as it was.
async fn messages_that_cannot_travel() -> callboard::Result<()> {
    let vault = Vault::spawn(10).await?;
    let error = vault.keep(vec![0; TOO_LARGE]).await.expect_err("it fails");
    say("argument too large", &error);
    assert!(matches!(error, CallError::Encode { method: "keep", .. }));
    assert_eq!(error.outcome(), Outcome::NotRun);

    let error = vault.give(TOO_LARGE).await.expect_err("it fails");
    say("result too large", &error);
    assert!(matches!(error, CallError::Result { method: "give", .. }));
    assert_eq!(error.outcome(), Outcome::Ran);

    assert_eq!(vault.unpack(nested(50)).await?, 50);
    let error = vault.unpack(nested(1_000)).await.expect_err("it fails");
    say("nested too deeply", &error);
    assert!(matches!(
        error,
        CallError::Arguments {
            method: "unpack",
            ..
        }
    ));
    assert_eq!(error.outcome(), Outcome::NotRun);
    assert_eq!(vault.keep(vec![0; 1_000_000]).await?, 1_000_000);
    vault.shutdown().await
}

/// A shutdown says whether the actor ended in order; afterwards calls say that they did not run.
async fn ends_out_of_order() -> callboard::Result<()> {
    let vault = Vault::spawn(10).await?;
    vault.shutdown().await?;
    vault.shutdown().await?; // as good as once
    let error = vault.coins().await.expect_err("it fails");
    say("after a shutdown", &error);
    assert!(matches!(
        error,
        CallError::Stopped {
            outcome: Outcome::NotRun
        }
    ));

    let stuck = Vault::spawn(10).grace(Duration::from_millis(100)).await?;
    stuck.get_stuck().tell().await?;
    let error = stuck.shutdown().await.expect_err("it fails");
    say("stuck at its end", error.as_error());
    let error: Option<&ShutdownError> = error.as_error().downcast_ref();
    assert!(matches!(error, Some(ShutdownError::Killed { .. })));
    assert!(!stuck.is_alive());
    Ok(())
}

fn nested(depth: usize) -> Box3 {
    (0..depth).fold(Box3 { inside: None }, |inside, _| Box3 {
        inside: Some(Box::new(inside)),
    })
}

fn kill_9(vault: &VaultProxy) -> callboard::Result<()> {
    Ok(kill(
        Pid::from_raw(vault.process_id().try_into()?),
        Signal::SIGKILL,
    )?)
}

/// Prints an error and its causes, or how they begin.
fn say(what: &str, error: &(dyn Error + 'static)) {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    println!("{what:>22}: {text:.160}");
}
