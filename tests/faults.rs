//! U09, U14, UB6, K04, K05: actors that die, panic or stand still, and what their callers see.

mod common;

use std::cell::Cell;
use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Death, Exit};
use nix::sys::signal::{Signal, raise};
use tokio::time::sleep;

use common::{LONG, SOON, Scratch, eventually, gone, is_stopped, signal, within};

/// Longer than the three seconds after which a stopped process counts as unreachable.
const UNREACHABLE_WITHIN: Duration = Duration::from_secs(8);

/// Does itself harm.
pub struct Victim {
    naps: Cell<usize>,
    seen: Vec<u64>,
}

#[actor]
impl Victim {
    pub fn new() -> Self {
        Self {
            naps: Cell::new(0),
            seen: Vec::new(),
        }
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }

    pub fn see(&mut self, value: u64) {
        self.seen.push(value);
    }

    pub fn see_heavy(&mut self, value: u64, _ballast: Vec<u8>) {
        self.seen.push(value);
    }

    pub fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }

    pub async fn nap(&self) {
        self.naps.set(self.naps.get() + 1);
        sleep(LONG).await;
    }

    pub fn naps(&self) -> usize {
        self.naps.get()
    }

    /// Blocks the whole actor once the file is there to say so.
    pub fn block(&mut self, path: String, ms: u64) {
        std::fs::write(path, b"begun").expect("the folder is there");
        thread::sleep(Duration::from_millis(ms));
    }

    pub fn exit(&mut self, code: i32) {
        #[expect(
            clippy::disallowed_methods,
            reason = "an actor that does what it should not"
        )]
        std::process::exit(code)
    }

    pub fn abort(&self) {
        std::process::abort()
    }

    pub fn raise(&self, number: i32) {
        let signal = Signal::try_from(number).expect("there is such a signal");
        while raise(signal).is_ok() {}
    }

    pub fn panic(&mut self, text: String) -> u64 {
        panic!("{text}")
    }

    pub async fn panic_later(&self, text: String) -> Result<(), Never> {
        sleep(Duration::from_millis(1)).await;
        panic!("{text}")
    }

    pub fn panic_oddly(&self) {
        std::panic::panic_any(42_u32)
    }

    /// A panic on a thread that is not the actor's own.
    pub fn panic_elsewhere(&self) -> bool {
        thread::spawn(|| panic!("not the actor")).join().is_err()
    }
}

/// An error that is never returned.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("never")]
pub struct Never;

/// What a call that ended with its actor says.
fn died<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, CallError<E>>,
) -> (Death, Outcome) {
    match result {
        Err(CallError::Died { death, outcome }) => (death, outcome),
        other => panic!("{other:?}"),
    }
}

fn is_signal(exit: Exit, wanted: Signal) -> bool {
    matches!(exit, Exit::Signal { number, .. } if number == wanted as i32)
}

/// Killed while nobody calls: the next call says so, and that it did not run.
#[callboard::test]
async fn killed_while_idle() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    victim.echo(1).await?;
    signal(victim.process_id(), Signal::SIGKILL);
    assert!(is_signal(
        within(SOON, victim.exited()).await,
        Signal::SIGKILL
    ));
    assert!(!victim.is_alive());
    for result in [victim.echo(1).await, victim.echo(2).start().await] {
        let (death, outcome) = died(result);
        assert!(is_signal(death.exit(), Signal::SIGKILL), "{death}");
        assert_eq!(
            (death.pid(), outcome),
            (victim.process_id(), Outcome::NotRun)
        );
        assert!(death.to_string().contains("SIGKILL"), "{death}");
        assert!(death.report().is_none());
    }
    let (_, outcome) = died(victim.echo(3).tell().await);
    assert_eq!(outcome, Outcome::NotRun);
    Ok(())
}

/// Killed during a call: it may have run, and those behind it in the link have not.
#[callboard::test]
async fn killed_during_a_call() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let victim = Victim::spawn().await?;
    let running = victim.block(scratch.path("begun"), 60_000).start();
    let behind: Vec<_> = (0..1200).map(|value| victim.echo(value).start()).collect();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    signal(victim.process_id(), Signal::SIGKILL);
    let (death, outcome) = died(within(SOON, running).await);
    assert!(is_signal(death.exit(), Signal::SIGKILL), "{death}");
    assert_eq!(outcome, Outcome::MayHaveRun);
    for call in behind {
        assert_eq!(died(within(SOON, call).await).1, Outcome::NotRun);
    }
    Ok(())
}

/// A thousand calls that wait hear of the death, each once and soon.
#[callboard::test]
async fn a_death_reaches_everyone() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    let naps: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(victim.nap().start()))
        .collect();
    within(LONG, async {
        while victim.naps().await.unwrap() < 1000 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    signal(victim.process_id(), Signal::SIGKILL);
    within(SOON, async {
        for nap in naps {
            assert_eq!(died(nap.await.unwrap()).1, Outcome::MayHaveRun);
        }
    })
    .await;
    Ok(())
}

/// Calls and tells that wait for room hear of the death too, and did not run.
#[callboard::test]
async fn a_death_reaches_those_who_wait_for_room() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let victim = Victim::spawn().await?;
    let running = victim.block(scratch.path("begun"), 60_000).start();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    let full: Vec<_> = (0..200)
        .map(|n| victim.see_heavy(n, vec![0; 2000]).start())
        .collect();
    let tell = victim.see_heavy(1000, vec![0; 200_000]).tell();
    let call = victim.see_heavy(1001, vec![0; 200_000]);
    let killing = async {
        sleep(Duration::from_millis(20)).await;
        signal(victim.process_id(), Signal::SIGKILL);
    };
    let (tell, call, ()) = within(LONG, async { tokio::join!(tell, call, killing) }).await;
    for result in [tell, call] {
        assert_eq!(died(result).1, Outcome::NotRun);
    }
    for call in full {
        assert_eq!(died(within(SOON, call).await).1, Outcome::NotRun);
    }
    assert_eq!(died(running.await).1, Outcome::MayHaveRun);
    Ok(())
}

/// An actor that ends its process by itself has died, with its exit code or signal by name.
#[callboard::test]
async fn ends_of_their_own_are_deaths() -> callboard::Result<()> {
    for code in [0, 3, 101, 255] {
        let victim = Victim::spawn().await?;
        let (death, outcome) = died(within(SOON, victim.exit(code)).await);
        assert_eq!(
            (death.exit(), outcome),
            (Exit::Code(code), Outcome::MayHaveRun)
        );
        assert!(death.report().is_none(), "{death}");
        assert!(
            death.to_string().contains(&format!("exit code {code}")),
            "{death}"
        );
    }
    for wanted in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGUSR1,
    ] {
        let victim = Victim::spawn().await?;
        let (death, outcome) = died(within(SOON, victim.raise(wanted as i32)).await);
        assert!(is_signal(death.exit(), wanted), "{death}");
        assert_eq!(outcome, Outcome::MayHaveRun);
        assert!(death.to_string().contains(wanted.as_str()), "{death}");
    }
    let victim = Victim::spawn().await?;
    let (death, _) = died(within(SOON, victim.abort()).await);
    assert!(is_signal(death.exit(), Signal::SIGABRT), "{death}");
    assert!(within(SOON, victim.shutdown()).await.is_err());
    Ok(())
}

/// A panic in a method is an error of its call, with text and place; its process ends.
#[callboard::test]
async fn panics_are_errors_of_their_calls() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    let nap = victim.nap().start();
    let error = within(SOON, victim.panic_later("a {} thing".into()))
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Ran);
    match error {
        CallError::Panicked(report) => {
            assert_eq!(report.message(), "a {} thing");
            assert!(
                report.location().unwrap().contains("tests/faults.rs:"),
                "{report}"
            );
        }
        other => panic!("{other:?}"),
    }
    let (death, outcome) = died(within(SOON, nap).await);
    assert_eq!(
        (death.exit(), outcome),
        (Exit::Code(101), Outcome::MayHaveRun)
    );
    assert_eq!(death.report().unwrap().message(), "a {} thing");
    assert!(death.to_string().contains("tests/faults.rs:"), "{death}");
    gone(victim.process_id()).await;
    let (death, outcome) = died(victim.echo(1).await);
    assert_eq!(outcome, Outcome::NotRun);
    assert!(death.report().is_some());
    Ok(())
}

/// The same in a `&mut self` method, with calls behind it in the link.
#[callboard::test]
async fn panics_end_what_comes_behind() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let victim = Victim::spawn().await?;
    let blocked = victim.block(scratch.path("begun"), 50).start();
    let panicking = victim.panic("as said".into()).start();
    let behind: Vec<_> = (0..50).map(|value| victim.see(value).start()).collect();
    blocked.await?;
    match within(SOON, panicking).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "as said"),
        other => panic!("{other:?}"),
    }
    for call in behind {
        let (death, outcome) = died(within(SOON, call).await);
        assert_eq!(outcome, Outcome::NotRun);
        assert_eq!(death.report().unwrap().message(), "as said");
    }
    Ok(())
}

/// One of several `&self` calls panics: it alone is told so, the others die with it.
#[callboard::test]
async fn one_of_many_panics() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    let naps: Vec<_> = (0..30).map(|_| victim.nap().start()).collect();
    let error = within(SOON, victim.panic_later("one".into()))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Panicked(_)), "{error:?}");
    for nap in naps {
        let (death, outcome) = died(within(SOON, nap).await);
        assert_eq!(outcome, Outcome::MayHaveRun);
        assert_eq!(death.report().unwrap().message(), "one");
    }
    Ok(())
}

/// A panic in a tell has no caller: everyone after it hears of it.
#[callboard::test]
async fn panics_in_tells_are_deaths() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    victim.panic("untold".into()).tell().await?;
    assert_eq!(within(SOON, victim.exited()).await, Exit::Code(101));
    let (death, _) = died(victim.echo(1).await);
    assert_eq!(death.report().unwrap().message(), "untold");
    Ok(())
}

/// Panics without a text have a placeholder; those of other threads are not the actor's.
#[callboard::test]
async fn odd_panics() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    assert!(victim.panic_elsewhere().await?);
    assert_eq!(victim.echo(5).await?, 5);
    match within(SOON, victim.panic_oddly()).await {
        Err(CallError::Panicked(report)) => {
            assert!(!report.message().is_empty());
            assert!(
                report.location().unwrap().contains("tests/faults.rs:"),
                "{report}"
            );
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// The death of one actor is nothing to the others.
#[callboard::test]
async fn others_live_on() -> callboard::Result<()> {
    let survivor = Victim::spawn().await?;
    let mut pids = HashSet::new();
    for round in 0..20 {
        let victim = Victim::spawn().await?;
        let nap = victim.nap().start();
        assert!(pids.insert(victim.process_id()));
        signal(victim.process_id(), Signal::SIGKILL);
        assert_eq!(within(SOON, survivor.echo(round)).await?, round);
        died(within(SOON, nap).await);
    }
    survivor.shutdown().await
}

/// A stopped actor: its calls end in some seconds, and none of them begins when it goes on.
#[callboard::test]
async fn stopped_actors_are_unreachable() -> callboard::Result<()> {
    let scratch = Scratch::new();
    let victim = Victim::spawn().await?;
    let pid = victim.process_id();
    let running = victim.block(scratch.path("begun"), 1).start();
    eventually(LONG, "it runs", || scratch.0.join("begun").exists()).await;
    running.await?;
    signal(pid, Signal::SIGSTOP);
    eventually(SOON, "it stands still", || is_stopped(pid)).await;
    let calls: Vec<_> = (0..2000_u16)
        .map(|n| victim.see_heavy(n.into(), vec![0; n.into()]).start())
        .collect();
    let tell = tokio::spawn({
        let victim = victim.clone();
        async move { victim.see_heavy(9000, vec![0; 500_000]).tell().await }
    });
    let late = victim.see(9001).timeout(Duration::from_millis(10));
    assert!(matches!(late.await, Err(CallError::Timeout { .. })));
    within(UNREACHABLE_WITHIN, async {
        for call in calls {
            match call.await {
                Err(CallError::Unreachable { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert!(victim.is_alive());
    signal(pid, Signal::SIGCONT);
    // The tell may have waited, or been given up.
    let told = within(LONG, tell).await?.is_ok();
    assert_eq!(within(LONG, victim.echo(7)).await?, 7);
    assert_eq!(victim.seen().await?, if told { vec![9000] } else { vec![] });
    victim.shutdown().await
}

/// A stop that is shorter than that is only a delay.
#[callboard::test]
async fn short_stops_are_delays() -> callboard::Result<()> {
    let victim = Victim::spawn().await?;
    signal(victim.process_id(), Signal::SIGSTOP);
    let calls: Vec<_> = (0..100).map(|value| victim.echo(value).start()).collect();
    sleep(Duration::from_millis(1200)).await;
    signal(victim.process_id(), Signal::SIGCONT);
    for (value, call) in calls.into_iter().enumerate() {
        assert_eq!(within(LONG, call).await?, value as u64);
    }
    victim.shutdown().await
}

/// A stopped actor does not end in order: it is killed when its grace is over.
#[callboard::test]
async fn stopped_actors_can_be_ended() -> callboard::Result<()> {
    let victim = Victim::spawn().grace(Duration::from_millis(100)).await?;
    let pid = victim.process_id();
    signal(pid, Signal::SIGSTOP);
    let error = within(SOON, victim.shutdown()).await.unwrap_err();
    assert!(matches!(
        error.as_error().downcast_ref(),
        Some(callboard::ShutdownError::Killed { .. })
    ));
    gone(pid).await;
    Ok(())
}
