//! F3, F14: how streams end: with their reader, their writer, their time, a panic.

use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, LinkKind};
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Handle;

use crate::common::{Holdings, How, LONG, alone, both, eventually, gone, signal, within};
use crate::source::{Source, SourceProxy, all, nothing_is_open, once, start, until};

both! {
    panics_are_told;
    dropped_readers_end_the_stream;
    a_shutdown_ends_the_reader;
    bounds_are_of_the_beginning;
}

/// A panic comes behind the items before it. One in what borrows the actor ends it, one in what has
/// nothing of it does not.
async fn panics_are_told(how: How) -> callboard::Result<()> {
    let source = start(how, 3).await?;
    let mut stream = source.panicking_apart(2).await?;
    assert_eq!(
        (stream.next().await.unwrap()?, stream.next().await.unwrap()?),
        (0, 1)
    );
    match within(LONG, stream.next()).await {
        Some(Err(CallError::Panicked(report))) => {
            assert_eq!(report.message(), "no more than 2");
            assert!(report.location().unwrap().contains("source.rs"));
        }
        other => panic!("{other:?}"),
    }
    assert!(stream.next().await.is_none());
    assert_eq!(source.base().await?, 3, "the actor is none the worse");

    let mut stream = source.panicking(1).await?;
    assert_eq!(stream.next().await.unwrap()?, 0);
    match within(LONG, stream.next()).await {
        Some(Err(CallError::Panicked(report))) => assert_eq!(report.message(), "no more than 1"),
        other => panic!("{other:?}"),
    }
    match source.base().await {
        Err(CallError::Died { .. }) => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// Who reads no more has the stream dropped, also if it gives nothing or has not begun.
async fn dropped_readers_end_the_stream(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let mut endless = source.endless().await?;
    assert_eq!(endless.next().await.unwrap()?, 0);
    drop(endless);
    until(&source, "an endless stream is dropped", |(_, dropped)| {
        dropped == 1
    })
    .await;
    drop(source.silent().await?);
    until(&source, "a silent stream is dropped", |(_, dropped)| {
        dropped == 2
    })
    .await;
    drop(source.own(u64::MAX).await?);
    until(&source, "a stream in a task is dropped", |(_, dropped)| {
        dropped == 3
    })
    .await;

    drop(source.silent());
    for _ in 0..300 {
        let mut begun = source.silent();
        // It may have begun already, by when it is dropped.
        let _ = once(&mut begun);
        drop(begun);
    }
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// An actor that is shut down ends its streams, and their readers are told so behind the items that
/// had come.
async fn a_shutdown_ends_the_reader(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    // The second one would wait for the first: it takes `&mut self`.
    let own = source.own(u64::MAX).window(4).await?;
    let mut streams = [
        source.endless().window(4).await?,
        own,
        source.silent().await?,
    ];
    assert_eq!(streams[0].next().await.unwrap()?, 0);
    within(LONG, source.stop()).await?;
    for stream in &mut streams {
        let end = async {
            loop {
                match stream.next().await {
                    Some(Ok(_)) => {}
                    other => break other,
                }
            }
        };
        let end = within(LONG, end).await;
        assert!(
            matches!(end, Some(Err(CallError::Stopped { .. }))),
            "{end:?}"
        );
        assert!(stream.next().await.is_none());
    }
    Ok(())
}

/// A bound is for the time until the stream begins, and not for its items.
async fn bounds_are_of_the_beginning(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let late = source.never().timeout(Duration::from_millis(20)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    let bound = Duration::from_secs(2);
    let stream = source.late(2500).timeout(bound).await?;
    assert_eq!(all(stream).await, [2500]);
    nothing_is_open(&source).await;
    source.kill().await;
    Ok(())
}

/// Ten thousand short streams of each kind of actor, many at once, leave nothing at either end.
#[callboard::test]
async fn short_streams_leave_nothing() -> callboard::Result<()> {
    if !alone("ends::short_streams_leave_nothing") {
        return Ok(());
    }
    for how in [How::Process, How::Local] {
        let source = start(how, 0).await?;
        assert_eq!(all(source.count(3).await?).await, [0, 1, 2]);
        let before = Holdings::settled().await;
        let tasks = Handle::current().metrics().num_alive_tasks();
        for round in 0..100 {
            let streams = (0..100).map(async |number| {
                let len = number % 5;
                if number % 2 == 0 {
                    let tripled = source.doubled(3, stream::iter(0..len)).await.unwrap();
                    assert_eq!(all(tripled).await.len() as u64, len);
                } else {
                    let count = source.count(len).await.unwrap();
                    assert_eq!(all(count).await.len() as u64, len);
                }
            });
            within(LONG, futures_util::future::join_all(streams)).await;
            assert_eq!(source.base().await?, 0, "after round {round}");
        }
        nothing_is_open(&source).await;
        let metrics = Handle::current().metrics();
        let is_as_before = || metrics.num_alive_tasks() <= tasks;
        eventually(LONG, "no task is left", is_as_before).await;
        before.back().await;
        source.stop().await?;
    }
    Ok(())
}

/// Who reads a stream of an actor that is killed is told of the death, and who feeds one.
#[callboard::test]
async fn a_writers_death_is_told() -> callboard::Result<()> {
    for link in [LinkKind::SharedMemory, LinkKind::Socket] {
        let source = Source::spawn(0).link(link).await?;
        let own = source.own(u64::MAX).await?;
        let mut streams = [
            source.endless().window(4).await?,
            own,
            source.silent().await?,
        ];
        let feeding = source.note_end(stream::iter(0..));
        let (fed, ()) = tokio::join!(feeding, async {
            assert_eq!(streams[0].next().await.unwrap().unwrap(), 0);
            source.kill().await;
        });
        assert!(matches!(fed, Err(CallError::Died { .. })), "{fed:?}");
        for stream in &mut streams {
            let items = async {
                loop {
                    match stream.next().await {
                        Some(Ok(_)) => {}
                        other => break other,
                    }
                }
            };
            let end = within(LONG, items).await;
            assert!(matches!(end, Some(Err(CallError::Died { .. }))), "{end:?}");
            assert!(stream.next().await.is_none());
        }
    }
    Ok(())
}

/// An actor that reads streams of its own actor.
pub struct Reader {
    source: SourceProxy,
}

#[actor]
impl Reader {
    pub async fn new() -> Self {
        let source = Source::spawn(0).await.unwrap();
        Self { source }
    }

    pub async fn pids(&self) -> (u32, u32) {
        (std::process::id(), self.source.pid().await.unwrap())
    }

    /// Hands on what it reads.
    pub async fn relayed(&self) -> impl Stream<Item = u64> {
        let numbers = self.source.endless().window(4).await.unwrap();
        numbers.map(|number| number.unwrap())
    }
}

/// A reader that is killed in the middle of a stream takes its writer with it, and who reads from
/// the reader is told.
#[callboard::test]
async fn a_readers_death_leaves_nothing() -> callboard::Result<()> {
    let reader = Reader::spawn().await?;
    let (pid, inner) = reader.pids().await?;
    let mut relayed = reader.relayed().window(4).await?;
    for expected in 0..100 {
        assert_eq!(within(LONG, relayed.next()).await.unwrap()?, expected);
    }
    signal(pid, nix::sys::signal::Signal::SIGKILL);
    gone(pid).await;
    gone(inner).await;
    while let Some(item) = within(LONG, relayed.next()).await {
        match item {
            Ok(_) | Err(CallError::Died { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Ok(())
}
