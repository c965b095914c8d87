//! U62, F6: streams beside calls, of pools, and of an actor that stands still.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use callboard::CallError;
use callboard::pool::Pool;
use callboard::prelude::*;
use futures_util::future::join_all;
use futures_util::stream;
use nix::sys::signal::Signal;

use crate::common::{How, LONG, both, eventually, is_stopped, signal, within};
use crate::source::{Source, all, nothing_is_open, start};

both! {
    streams_do_not_hold_up_calls;
}

/// Beside streams in both directions that are read as quickly as they come, calls are answered, and
/// each while at most what both ends may have on their way goes before it.
async fn streams_do_not_hold_up_calls(how: How) -> callboard::Result<()> {
    const WINDOW: u64 = 64;
    const STREAMS: u64 = 8;
    let source = start(how, 0).await?;
    let (items, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let read = async |n: u64| {
        let window = usize::try_from(WINDOW).unwrap();
        let call = source.doubled(1, stream::iter(0..)).window(window);
        let mut numbers = match n % 2 {
            0 => source.endless().window(window).await,
            _ => call.await,
        }
        .unwrap();
        while !is_over.load(Ordering::SeqCst) {
            within(LONG, numbers.next()).await.unwrap().unwrap();
            items.fetch_add(1, Ordering::SeqCst);
        }
    };
    let call = async {
        let mut before = 0;
        for _ in 0..200 {
            within(LONG, source.base()).await.unwrap();
            // Both go on: neither has to end for the other.
            let more = async {
                while items.load(Ordering::SeqCst) == before {
                    tokio::task::yield_now().await;
                }
            };
            within(LONG, more).await;
            before = items.load(Ordering::SeqCst);
        }
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(join_all((0..STREAMS).map(read)), call);
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// A call with streams goes to one member of a pool, all of it, and many of them to all members.
#[callboard::test]
async fn pools_have_streams() -> callboard::Result<()> {
    let pool = Pool::spawn(3, |_| Source::spawn(5)).await?;
    for _ in 0..30 {
        assert_eq!(all(pool.count(3).await?).await, [5, 6, 7]);
        assert_eq!(pool.sum(stream::iter(0..100)).await.unwrap(), 5 + 4950);
        let doubled = pool.doubled(2, stream::iter(0..50)).await?;
        assert_eq!(all(doubled).await, Vec::from_iter((0..50).map(|n| 2 * n)));
    }
    // More than one link has places for.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(within(LONG, pool.silent()).await?);
    }
    drop(silent);
    Ok(pool.stop().await?)
}

/// A member that is replaced ends its streams first, in both directions, to their last item.
#[callboard::test]
async fn streams_outlast_who_is_replaced() -> callboard::Result<()> {
    const LEN: u64 = 20_000;
    let pool = Pool::spawn(2, |_| Source::spawn(0)).await?;
    let before: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    let mut counts = Vec::new();
    for _ in 0..4 {
        let mut count = pool.count(LEN).await?;
        assert_eq!(within(LONG, count.next()).await.unwrap()?, 0);
        counts.push(count);
    }
    let summing: Vec<_> = (0..4)
        .map(|_| pool.sum(stream::iter(0..LEN)).start())
        .collect();
    let rest = async {
        let mut read = Vec::new();
        for count in counts {
            read.push(all(count).await);
        }
        (read, join_all(summing).await)
    };
    let both = futures_util::future::join(pool.replace_all(), rest);
    let (replaced, (read, sums)) = within(LONG, both).await;
    assert_eq!(replaced, 2);
    for items in read {
        assert!(items.into_iter().eq(1..LEN));
    }
    for sum in sums {
        assert_eq!(sum.unwrap(), LEN * (LEN - 1) / 2);
    }
    let after = pool.members();
    assert!(
        after
            .iter()
            .all(|m| m.is_alive && !before.contains(&m.process_id))
    );
    Ok(pool.stop().await?)
}

/// An actor that stands still ends the streams of those who wait for it, with an error, and when it
/// goes on it is told that nobody reads.
#[callboard::test]
async fn a_stopped_actor_is_unreachable() -> callboard::Result<()> {
    let source = Source::spawn(0).await?;
    let pid = source.process_id();
    let mut endless = source.endless().window(4).await?;
    let mut silent = source.silent().await?;
    assert_eq!(endless.next().await.unwrap()?, 0);
    signal(pid, Signal::SIGSTOP);
    eventually(LONG, "it stands still", || is_stopped(pid)).await;
    let end = within(LONG, silent.next()).await;
    assert!(
        matches!(end, Some(Err(CallError::Unreachable { .. }))),
        "{end:?}"
    );
    let end = within(LONG, async {
        loop {
            match endless.next().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    });
    let end = end.await;
    assert!(
        matches!(end, Some(Err(CallError::Unreachable { .. }))),
        "{end:?}"
    );
    assert!(endless.next().await.is_none());
    signal(pid, Signal::SIGCONT);
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}
