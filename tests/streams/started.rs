//! F53, U13: calls with streams as values: they run before anybody awaits them, and end with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::CallError;
use callboard::prelude::*;
use futures_util::{StreamExt as _, stream};

use crate::common::{How, LONG, both, eventually, within};
use crate::source::{Dropped, all, nothing_is_open, start, until};

both! {
    streams_begin_before_they_are_awaited;
    feeds_go_before_they_are_awaited;
    what_is_dropped_ends;
    what_fails_is_told;
}

/// A started call's stream runs as far as its window, whoever awaits it when; then it is whole.
async fn streams_begin_before_they_are_awaited(how: How) -> callboard::Result<()> {
    let source = start(how, 7).await?;
    let mut counted = source.count(20).window(8).start();
    until(&source, "it is ahead", |(produced, _)| produced == 8).await;
    assert!(within(LONG, counted.wait(LONG)).await && counted.is_ready());
    assert_eq!(all(counted.await?).await, Vec::from_iter(7..27));
    let doubled = source.doubled(3, stream::iter(0..100)).start();
    let checked = source.checked(3).start();
    assert_eq!(all(checked.await.unwrap()).await, [0, 1, 2]);
    assert_eq!(
        all(doubled.await?).await,
        Vec::from_iter((0..100).map(|number| 3 * number))
    );
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// A started call's streams are sent as its method reads them, though nobody awaits the result; and
/// go on after it, where the method keeps them.
async fn feeds_go_before_they_are_awaited(how: How) -> callboard::Result<()> {
    let source = start(how, 5).await?;
    let sent = Arc::new(AtomicU64::new(0));
    let numbers = |len: u64| {
        let sent = Arc::clone(&sent);
        stream::iter(0..len).inspect(move |_| {
            sent.fetch_add(1, Ordering::SeqCst);
        })
    };
    let mut sum = source.sum(numbers(3000)).start();
    eventually(LONG, "all are sent", || sent.load(Ordering::SeqCst) == 3000).await;
    assert!(within(LONG, sum.wait(LONG)).await && sum.is_ready());
    assert_eq!(within(LONG, sum).await.unwrap(), 5 + 2999 * 1500);
    let text = source
        .sum(stream::iter(0..3))
        .start()
        .map(|sum| sum.to_string());
    assert_eq!(within(LONG, text).await.unwrap(), "8");
    within(LONG, source.keep(numbers(2000)).start()).await?;
    assert_eq!(source.kept().await?, Vec::from_iter(0..2000));
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// Dropped, a started call ends its streams in both directions, begun or not.
async fn what_is_dropped_ends(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let endless = source.endless().window(3).start();
    until(&source, "it runs", |(produced, _)| produced == 3).await;
    drop(endless);
    until(&source, "it is dropped", |(_, dropped)| dropped == 1).await;
    let ends = Arc::new(AtomicU64::new(0));
    let guarded = || {
        let guard = Dropped(Arc::clone(&ends));
        stream::iter(0..).inspect(move |_: &u64| {
            let _ = &guard;
        })
    };
    let noted = source.note_end(guarded()).start();
    until(&source, "it reads", |(produced, _)| produced > 3).await;
    drop(noted);
    eventually(LONG, "the stream is dropped", || {
        ends.load(Ordering::SeqCst) == 1
    })
    .await;
    until(&source, "and its reader knows", |(_, dropped)| dropped == 2).await;
    drop(source.doubled(1, guarded()).start());
    eventually(LONG, "so is this one", || ends.load(Ordering::SeqCst) == 2).await;
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// What a call fails with is what its value gives: its method's error, its time, its number.
async fn what_fails_is_told(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    match within(LONG, source.checked(101).start()).await {
        Err(CallError::Actor(text)) => assert_eq!(text, "101 are too many"),
        other => panic!("{other:?}"),
    }
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(within(LONG, source.silent().start()).await?);
    }
    match within(LONG, source.silent().start()).await {
        Err(CallError::TooManyStreams { method }) => assert_eq!(method, "silent"),
        other => panic!("{other:?}"),
    }
    match within(LONG, source.sum(stream::iter(0..3)).start()).await {
        Err(CallError::TooManyStreams { method }) => assert_eq!(method, "sum"),
        other => panic!("{other:?}"),
    }
    drop(open);
    let late = source.never().timeout(Duration::from_millis(20)).start();
    match within(LONG, late).await {
        Err(CallError::Timeout { .. }) => {}
        other => panic!("{other:?}"),
    }
    nothing_is_open(&source).await;
    // Its method still runs, and nothing tells it that nobody waits.
    source.kill().await;
    Ok(())
}
