//! F53: streams out of methods and into them: items whole, once and in order, and with credit.

#![allow(
    clippy::unwrap_used,
    reason = "the bodies of tests are functions, for actors of both kinds"
)]

mod common;
#[path = "streams/beside.rs"]
mod beside;
#[path = "streams/blobs.rs"]
mod blobs;
#[path = "streams/ends.rs"]
mod ends;
#[path = "streams/source.rs"]
mod source;
#[path = "streams/started.rs"]
mod started;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::prelude::*;
use callboard::{CallError, LinkKind};
use futures_util::{StreamExt as _, stream};

use common::{How, LONG, both, eventually, within};
use source::{Dropped, Source, all, nothing_is_open, once, start, until};

both! {
    items_come_in_order;
    errors_and_ends_are_told;
    writers_are_ahead_by_a_window;
    streams_run_beside_what_the_borrow_allows;
    open_streams_are_limited;
    large_items_travel;
    streams_are_arguments;
    dropped_feeds_are_told;
    random_drops_lose_nothing;
}

/// All items come, once and in order, whatever the window; and behind the last the end.
async fn items_come_in_order(how: How) -> callboard::Result<()> {
    let source = start(how, 7).await?;
    for len in [0, 1, 2, 3000] {
        for window in [1, 3, 1024, 100_000] {
            let numbers = all(source.count(len).window(window).await?).await;
            assert_eq!(numbers, Vec::from_iter(7..7 + len), "a window of {window}");
            let own = all(source.own(len).window(window).await?).await;
            assert_eq!(own, Vec::from_iter(0..len), "a window of {window}");
        }
    }
    let texts = all(source.boxed("row", 3).window_bytes(1).await?).await;
    assert_eq!(texts, ["row 0", "row 1", "row 2"]);
    Ok(source.stop().await?)
}

/// A stream's errors come among its items, a method's own at the beginning.
async fn errors_and_ends_are_told(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let items: Vec<_> = source.odd(5).await.unwrap().collect().await;
    let texts = items.iter().map(|item| match item {
        Ok(number) => number.to_string(),
        Err(CallError::Actor(text)) => format!("error {text}"),
        Err(error) => panic!("{error}"),
    });
    let expected = ["error 0", "1", "error 2", "3", "error 4"];
    assert!(texts.eq(expected), "{items:?}");
    assert_eq!(all(source.checked(3).await.unwrap()).await, [0, 1, 2]);
    match source.checked(101).await {
        Err(CallError::Actor(text)) => assert_eq!(text, "101 are too many"),
        other => panic!("{other:?}"),
    }
    Ok(source.stop().await?)
}

/// A stream is asked for no more than a window beyond what was read, in items and in bytes.
async fn writers_are_ahead_by_a_window(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let mut stream = source.endless().window(8).await?;
    until(&source, "the window is full", |(produced, _)| produced == 8).await;
    for read in 1..100 {
        assert_eq!(stream.next().await.unwrap()?, read - 1);
        let (produced, _) = source.counts().await?;
        assert!(
            (read..=read + 8).contains(&produced),
            "{produced} after {read}"
        );
    }
    until(&source, "the writer goes on", |(produced, _)| {
        produced >= 103
    })
    .await;
    drop(stream);
    until(&source, "the stream is dropped", |(_, dropped)| {
        dropped == 1
    })
    .await;

    let (before, _) = source.counts().await?;
    // An item of 8 bytes has 32 on its way.
    let stream = source.endless().window_bytes(10 * 32).await?;
    until(&source, "the window is full", |(produced, _)| {
        produced == before + 10
    })
    .await;
    for _ in 0..20 {
        assert_eq!(source.counts().await?.0, before + 10);
    }
    drop(stream);
    Ok(source.stop().await?)
}

/// A stream of `&self` runs beside calls of `&self`, and has those of `&mut self` wait; one that
/// has nothing of the actor runs beside all.
async fn streams_run_beside_what_the_borrow_allows(how: How) -> callboard::Result<()> {
    let source = start(how, 1).await?;
    let own = source.own(u64::MAX).await?;
    source.rebase(5).await?;
    let mut endless = source.endless().window(2).await?;
    assert_eq!(source.base().await?, 5);
    let mut second = source.count(3).await?;
    assert_eq!(
        (
            endless.next().await.unwrap()?,
            second.next().await.unwrap()?
        ),
        (0, 5)
    );
    assert_eq!(all(second).await, [6, 7]);
    let change = source.rebase(6).start();
    // It comes behind the change, and so tells that this waits.
    let behind = source.base().start();
    assert_eq!(endless.next().await.unwrap()?, 1);
    assert_eq!(endless.next().await.unwrap()?, 2);
    assert!(!change.is_ready() && !behind.is_ready());
    drop(endless);
    within(LONG, change).await?;
    assert_eq!(within(LONG, behind).await?, 6);
    drop(own);
    Ok(source.stop().await?)
}

/// Beyond 256 streams a call fails, with its own error, and works when one has ended.
async fn open_streams_are_limited(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let mut streams = Vec::new();
    for _ in 0..256 {
        streams.push(source.silent().await?);
    }
    let more = source.silent().await;
    assert!(
        matches!(more, Err(CallError::TooManyStreams { method: "silent" })),
        "{more:?}"
    );
    let more = source.first(stream::empty()).await;
    assert!(
        matches!(more, Err(CallError::TooManyStreams { method: "first" })),
        "{more:?}"
    );
    assert_eq!(source.base().await?, 0);
    streams.clear();
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// Items longer than a frame, a window or the ring come whole.
async fn large_items_travel(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let lens = [0, 10, 100_000, 3_000_000, 5, 20_000, 20_000];
    for window in [1, 1 << 20] {
        let items = all(source.large(lens.to_vec()).window_bytes(window).await?).await;
        let came = Vec::from_iter(items.iter().map(|item| item.len() as u64));
        assert_eq!(came, lens);
        assert!(items.iter().flatten().all(|byte| *byte == 7));
    }
    Ok(source.stop().await?)
}

/// A method reads streams that it was given, at once or later, all or some of it.
async fn streams_are_arguments(how: How) -> callboard::Result<()> {
    let source = start(how, 1000).await?;
    assert_eq!(source.sum(stream::empty()).await.unwrap(), 1000);
    assert_eq!(
        source.sum(stream::iter(0..5000)).await.unwrap(),
        1000 + 2499 * 5000 + 2500
    );
    assert_eq!(
        within(LONG, source.first(stream::iter(3..))).await?,
        Some(3)
    );
    source.keep(stream::iter(0..5000)).await?;
    assert_eq!(source.base().await?, 1000);
    assert_eq!(within(LONG, source.kept()).await?, Vec::from_iter(0..5000));
    let doubled = source.doubled(2, stream::iter(0..3000)).window(16).await?;
    assert_eq!(all(doubled).await, Vec::from_iter((0..3000).map(|n| 2 * n)));
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// A stream that nobody reads any more is dropped at its caller, and one that its caller drops is
/// an error to its method.
async fn dropped_feeds_are_told(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = || {
        let dropped = Dropped(Arc::clone(&dropped));
        stream::iter(0..).map(move |n| {
            let _ = &dropped;
            n
        })
    };
    assert_eq!(source.first(counted()).await?, Some(0));
    let is_dropped = |count| move |dropped: &AtomicU64| dropped.load(Ordering::SeqCst) == count;
    eventually(LONG, "an endless stream is dropped", || {
        is_dropped(1)(&dropped)
    })
    .await;

    // The call is dropped in the middle.
    let mut call = Box::pin(source.note_end(counted()));
    assert!(once(&mut call).is_pending());
    let reads = until(&source, "some are read", |(read, _)| read > 10);
    let _ = futures_util::future::select(Box::pin(reads), &mut call).await;
    drop(call);
    eventually(LONG, "the stream is dropped", || is_dropped(2)(&dropped)).await;
    until(&source, "the method is told", |(_, errors)| errors == 1).await;

    // The call is dropped before it is begun, or never polled.
    drop(source.note_end(counted()));
    let mut unpolled = Box::pin(source.note_end(counted()));
    let _ = once(&mut unpolled);
    drop(unpolled);
    eventually(LONG, "all are dropped", || is_dropped(4)(&dropped)).await;
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// Whatever is dropped at whatever time, what comes is the beginning of what was sent.
async fn random_drops_lose_nothing(how: How) -> callboard::Result<()> {
    let source = start(how, 0).await?;
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..30 {
        let streams: Vec<_> = (0..20)
            .map(|_| {
                let (len, window) = (random(600), 1 + random(70));
                let (read, way) = (random(700), random(4));
                let source = &source;
                async move {
                    let window = usize::try_from(window).unwrap();
                    let numbers = source.doubled(1, stream::iter(0..len)).window(window);
                    let mut numbers = match way {
                        0 => source.count(len).window(window).await,
                        1 => source.own(len).window(window).await,
                        _ => numbers.await,
                    }
                    .unwrap();
                    for expected in 0..read {
                        match numbers.next().await {
                            Some(number) => assert_eq!(number.unwrap(), expected),
                            None => return assert_eq!(expected, len),
                        }
                    }
                }
            })
            .collect();
        within(LONG, futures_util::future::join_all(streams)).await;
    }
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// Streams go over a socket as they go over shared memory.
#[callboard::test]
async fn streams_over_a_socket() -> callboard::Result<()> {
    let source = Source::spawn(0).link(LinkKind::Socket).await?;
    assert_eq!(
        all(source.count(5000).await?).await,
        Vec::from_iter(0..5000)
    );
    assert_eq!(
        all(source.count(50).window(1).await?).await,
        Vec::from_iter(0..50)
    );
    let lens = vec![5, 1_000_000, 5];
    assert_eq!(all(source.large(lens).await?).await[1].len(), 1_000_000);
    assert_eq!(
        source.sum(stream::iter(0..5000)).await.unwrap(),
        2499 * 5000 + 2500
    );
    let mut endless = source.endless().window(8).await?;
    assert_eq!(endless.next().await.unwrap()?, 0);
    drop(endless);
    until(&source, "the stream is dropped", |(_, dropped)| {
        dropped == 1
    })
    .await;
    nothing_is_open(&source).await;
    Ok(source.stop().await?)
}

/// What many actors can do.
#[actor_trait]
pub trait Lists {
    fn list(&self, from: u64) -> impl Stream<Item = u64>;
    async fn take(&mut self, numbers: Streamed<u64>) -> u64;
}

/// An actor of any message.
pub struct Keeper<T> {
    values: Vec<T>,
}

#[actor]
impl<T: Message + Clone + Sync> Keeper<T> {
    pub fn new(values: Vec<T>) -> Self {
        Self { values }
    }

    pub fn values(&self) -> impl Stream<Item = T> {
        stream::iter(self.values.iter().cloned())
    }

    pub async fn add(&mut self, mut values: Streamed<T>) -> u64 {
        while let Some(value) = values.next().await {
            self.values.push(value.unwrap());
        }
        self.values.len() as u64
    }
}

callboard::register!(Keeper<String>);

/// An actor that offers the trait.
pub struct Lister(Vec<u64>);

#[actor(Lists)]
impl Lister {
    pub fn new() -> Self {
        Self(vec![1, 2, 3])
    }
}

impl Lists for Lister {
    fn list(&self, from: u64) -> impl Stream<Item = u64> {
        stream::iter(self.0.iter().copied().filter(move |number| *number >= from))
    }

    async fn take(&mut self, mut numbers: Streamed<u64>) -> u64 {
        while let Some(number) = numbers.next().await {
            self.0.push(number.unwrap());
        }
        self.0.len() as u64
    }
}

/// Traits of actors and generic actors have methods with streams as others have.
#[callboard::test]
async fn traits_and_generic_actors_have_streams() -> callboard::Result<()> {
    let lister = Lister::spawn().await?;
    assert_eq!(lister.take(stream::iter(4..10)).await?, 9);
    assert_eq!(all(lister.list(5).await?).await, Vec::from_iter(5..10));
    let any: ListsProxy = lister.clone().into();
    assert_eq!(all(any.list(8).await?).await, [8, 9]);
    lister.stop().await?;
    let keeper = Keeper::spawn(vec![String::from("one")]).await?;
    assert_eq!(keeper.add(stream::iter([String::from("two")])).await?, 2);
    assert_eq!(all(keeper.values().await?).await, ["one", "two"]);
    Ok(keeper.stop().await?)
}
