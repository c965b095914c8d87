//! What goes wrong while large things are on their way between programs: every call ends, with the
//! reason, nobody else waits, and nothing is left.

mod common;
#[path = "network/between.rs"]
mod between;
#[path = "network/store.rs"]
mod store;

use std::fmt::Debug;
use std::future::IntoFuture as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::prelude::*;
use callboard::{Address, Blob, Pending, Unreached};
use futures_util::{StreamExt as _, stream};
use nix::sys::signal::Signal;

use between::between;
use common::{HERE, LONG, SOON, again, blobs_of, eventually, is_role, no_blobs, signal, within};
use store::{Store, StoreProxy, blob, connected, key, large, pattern, storing, sum};

/// Larger than anything on the way between could hold.
const LARGE: usize = 256 << 20;

fn is_gone<T: Debug>(result: Result<T, CallError>) {
    match result {
        // Whoever has started it says that it died.
        Err(CallError::Died { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// Whether a result has come, which is then right; else it says that the connection has ended.
fn checked<T: Debug, E: Debug>(
    result: Result<T, CallError<E>>,
    is_right: impl FnOnce(T) -> bool,
) -> bool {
    match result {
        Ok(found) => {
            assert!(is_right(found), "what comes is right");
            true
        }
        Err(CallError::Unreachable { .. } | CallError::Died { .. }) => false,
        other => panic!("{other:?}"),
    }
}

/// Waits until some of a blob is at this process, and not yet all of it.
async fn under_way(pid: u32) {
    eventually(LONG, "something is on its way", || {
        let (fds, maps) = blobs_of(pid);
        fds > maps
    })
    .await;
}

/// An actor that is killed in the midst of a blob, in either direction, ends the call; of what had
/// come nothing is left.
#[callboard::test]
async fn the_dead_end_transfers() {
    for is_going in [true, false] {
        let (store, address) = storing(HERE).await;
        let remote: StoreProxy = connected(Store::connect(&address, key())).await;
        let pid = store.process_id();
        if is_going {
            let sent = large(LARGE);
            let call: Pending<usize> = remote.len(sent).start();
            under_way(pid).await;
            signal(pid, Signal::SIGKILL);
            let error = within(SOON, call).await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::NotRun, "{error:?}");
            is_gone::<usize>(Err(error));
        } else {
            store.keep(large(LARGE)).await.unwrap();
            let call: Pending<Option<Blob>> = remote.kept(0).no_timeout().start();
            under_way(std::process::id()).await;
            signal(pid, Signal::SIGKILL);
            is_gone(within(SOON, call).await);
        }
        no_blobs(&[std::process::id()]).await;
    }
}

/// A caller that is killed while a blob or a long answer goes to it, or comes from it, is forgotten
/// with all of it; the others are served meanwhile and afterwards.
#[callboard::test]
async fn callers_that_die_hold_up_nobody() {
    const TEST: &str = "callers_that_die_hold_up_nobody";
    const ADDRESS: &str = "CALLBOARD_TEST_ADDRESS";
    for role in ["sends", "gets", "reads"] {
        if is_role(role) {
            let address = std::env::var(ADDRESS).unwrap();
            let remote: StoreProxy = connected(Store::connect(address, key())).await;
            match role {
                "sends" => drop(remote.keep(large(LARGE)).await),
                "gets" => drop(remote.kept(0).await),
                _ => {
                    // More than it may be owed, and than it ever reads.
                    let long = || remote.bytes(pattern(15 << 20, 1)).start();
                    let calls: Vec<_> = (0..8).map(|_| long()).collect();
                    // Behind them, and before they are answered.
                    drop(remote.keep(blob(1, 1)).await);
                    for call in calls {
                        drop(call.await);
                    }
                }
            }
            return std::future::pending().await;
        }
    }
    let (store, address) = storing(HERE).await;
    let pid = store.process_id();
    store.keep(blob(100, 1)).await.unwrap();
    store.forget().await.unwrap();
    for role in ["sends", "gets", "reads"] {
        if role == "gets" {
            store.keep(large(LARGE)).await.unwrap();
        }
        let mut caller = again(TEST, role);
        caller.env(ADDRESS, address.to_string());
        let mut caller = caller.stdout(Stdio::null()).spawn().unwrap();
        match role {
            "sends" => under_way(pid).await,
            "gets" => under_way(caller.id()).await,
            _ => {
                while within(LONG, store.kept(0).into_future())
                    .await
                    .unwrap()
                    .is_none()
                {}
            }
        }
        // It stands still with everything half-way, and then it is gone.
        signal(caller.id(), Signal::SIGSTOP);
        if role != "reads" {
            assert!(within(SOON, store.ping().into_future()).await.is_ok());
        }
        caller.kill().unwrap();
        caller.wait().unwrap();
        assert!(
            within(LONG, store.ping().into_future()).await.is_ok(),
            "{role}"
        );
        store.forget().await.unwrap();
        no_blobs(&[pid]).await;
    }
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    assert_eq!(remote.len(large(1000)).await.unwrap(), 1000);
    store.shutdown().await.unwrap();
}

/// Somebody on the way, who ends what goes through him after so many bytes.
fn cutting(address: &Address, after: usize) -> String {
    let passed = AtomicUsize::new(0);
    between(address, move |_, bytes| {
        let before = passed.fetch_add(bytes.len(), Ordering::Relaxed);
        after.saturating_sub(before).min(bytes.len())
    })
}

/// A connection that is cut at any place of what goes over it ends every call that was under way,
/// in bounded time and with the reason; what came before is right, and nothing is left.
#[callboard::test]
async fn cuts_at_every_step() {
    let (store, address) = storing(HERE).await;
    let pid = store.process_id();
    let mut ended = [0; 2];
    for step in 0..60 {
        // Behind the handshake, through two blobs, a message and a stream.
        let after = 1500 + step * 14_000;
        let way = cutting(&address, after);
        let connecting = Store::connect(way.as_str(), key()).within(LONG);
        let Ok(remote) = within(LONG, connecting.into_future()).await else {
            continue;
        };
        let calls = async {
            let sent = blob(200_000, 1);
            let (there, back, echo, total) = tokio::join!(
                remote.look(sent.clone()),
                remote.make(200_000, 2),
                remote.bytes(pattern(100_000, 3)),
                remote.store(stream::iter(0..4).map(|seed| blob(30_000, seed))),
            );
            [
                checked(there, |(found, _)| found == sum(&sent)),
                checked(back, |made| made[..] == pattern(200_000, 2)),
                checked(echo, |bytes| bytes == pattern(100_000, 3)),
                checked(total, |sums| sums.len() == 4),
            ]
        };
        for is_whole in within(SOON, calls).await {
            ended[usize::from(is_whole)] += 1;
        }
        drop(remote);
    }
    assert!(ended[0] > 40 && ended[1] > 40, "{ended:?}");
    no_blobs(&[std::process::id(), pid]).await;
    assert!(store.ping().await.is_ok());
}

/// An actor that stops in order sends what it owes first; one that panics, too.
#[callboard::test]
async fn answers_are_paid_before_the_end() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    store.keep(large(30 << 20)).await.unwrap();
    let calls: Vec<_> = (0..4)
        .map(|_| remote.kept(0).no_timeout().start())
        .collect();
    let long = remote.bytes(pattern(3 << 20, 1)).no_timeout().start();
    // Behind those: they were begun.
    assert!(remote.ping().await.is_ok());
    let stopping = tokio::spawn(async move { store.shutdown().await });
    for call in calls {
        let found = within(LONG, call).await.unwrap().unwrap();
        assert_eq!(found.len(), 30 << 20);
    }
    match within(LONG, long).await {
        Ok(bytes) => assert!(bytes == pattern(3 << 20, 1)),
        // It had not come whole when the end was asked for.
        Err(error) => assert_eq!(error.outcome(), Outcome::NotRun, "{error:?}"),
    }
    within(LONG, stopping).await.unwrap().unwrap();
}

/// A long answer that nobody wants any more is taken in by a caller that asks for nothing else: so
/// the actor does not owe it for ever, and ends in order.
#[callboard::test]
async fn answers_that_nobody_wants_are_paid() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let long = remote.produce(12 << 20).no_timeout().start();
    while within(LONG, store.produced()).await.unwrap() == 0 {}
    drop(long);
    within(LONG, store.shutdown())
        .await
        .expect("it owes nothing");
    drop(remote);
}

/// A peer that stands still in the midst of a blob is given up when it was silent.
#[callboard::test]
async fn the_silent_end_transfers() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let call: Pending<usize> = remote.len(large(LARGE)).start();
    under_way(store.process_id()).await;
    signal(store.process_id(), Signal::SIGSTOP);
    let error = within(LONG, call).await.unwrap_err();
    signal(store.process_id(), Signal::SIGCONT);
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::Silent,
                ..
            }
        ),
        "{error:?}"
    );
    no_blobs(&[std::process::id(), store.process_id()]).await;
}
