//! An actor with streams of all kinds, and what its tests ask of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, StreamError};
use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};

use crate::common::{How, LONG, within};

/// Counts in its own memory what its streams do.
#[derive(Default)]
pub struct Source {
    base: u64,
    owned: u64,
    produced: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    kept: Option<Streamed<u64>>,
}

/// Counts the end of what holds it.
pub struct Dropped(pub Arc<AtomicU64>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[actor]
impl Source {
    pub fn new(base: u64) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    pub fn rebase(&mut self, base: u64) {
        self.base = base;
    }

    /// Borrows the actor.
    pub fn count(&self, len: u64) -> impl Stream<Item = u64> {
        stream::iter(0..len).map(|n| {
            self.produced.fetch_add(1, Ordering::SeqCst);
            self.base + n
        })
    }

    /// Borrows the actor, and says when it is dropped.
    pub fn endless(&self) -> impl Stream<Item = u64> {
        let dropped = Dropped(Arc::clone(&self.dropped));
        stream::iter(0..).map(move |n| {
            let _ = &dropped;
            self.produced.fetch_add(1, Ordering::SeqCst);
            n
        })
    }

    /// Has nothing of the actor's.
    pub fn own(&mut self, len: u64) -> impl Stream<Item = u64> + 'static {
        self.owned += 1;
        let dropped = Dropped(Arc::clone(&self.dropped));
        let produced = Arc::clone(&self.produced);
        stream::iter(0..len).map(move |n| {
            let _ = &dropped;
            produced.fetch_add(1, Ordering::SeqCst);
            n
        })
    }

    /// Never gives anything.
    pub fn silent(&self) -> impl Stream<Item = u64> {
        let dropped = Dropped(Arc::clone(&self.dropped));
        stream::pending::<u64>().map(move |n| {
            let _ = &dropped;
            n
        })
    }

    /// Some items fail.
    pub fn odd(&self, len: u64) -> impl Stream<Item = Result<u64, String>> {
        stream::iter(0..len).map(|n| {
            if n % 2 == 1 {
                Ok(n)
            } else {
                Err(n.to_string())
            }
        })
    }

    pub async fn checked(&self, len: u64) -> Result<impl Stream<Item = u64>, String> {
        tokio::task::yield_now().await;
        if len > 100 {
            return Err(format!("{len} are too many"));
        }
        Ok(stream::iter(0..len))
    }

    pub fn boxed(&self, text: &str, times: u64) -> Pin<Box<dyn Stream<Item = String> + Send>> {
        Box::pin(stream::iter((0..times).map({
            let text = text.to_owned();
            move |n| format!("{text} {n}")
        })))
    }

    /// Does not begin.
    pub async fn never(&self) -> impl Stream<Item = u64> {
        std::future::pending::<()>().await;
        stream::empty()
    }

    /// Begins at once, and gives its item late.
    pub fn late(&self, ms: u64) -> impl Stream<Item = u64> {
        stream::once(async move {
            sleep(Duration::from_millis(ms)).await;
            ms
        })
    }

    /// Panics after so many.
    pub fn panicking(&self, after: u64) -> impl Stream<Item = u64> {
        stream::iter(0..).map(move |n| {
            assert!(n < after, "no more than {after}");
            n
        })
    }

    pub fn panicking_apart(&self, after: u64) -> impl Stream<Item = u64> + use<> {
        stream::iter(0..).map(move |n| {
            assert!(n < after, "no more than {after}");
            n
        })
    }

    /// Large items, of which some cannot be sent.
    pub fn large(&self, lens: Vec<u64>) -> impl Stream<Item = Vec<u8>> {
        stream::iter(lens).map(|len| vec![7; usize::try_from(len).unwrap()])
    }

    pub async fn sum(&mut self, mut numbers: Streamed<u64>) -> Result<u64, String> {
        let mut sum = self.base;
        while let Some(number) = numbers.next().await {
            sum += number.map_err(|error| error.to_string())?;
        }
        Ok(sum)
    }

    /// Reads one, and lets the rest be.
    pub async fn first(&self, mut numbers: Streamed<u64>) -> Option<u64> {
        numbers.next().await.and_then(Result::ok)
    }

    /// Notes how a stream has ended.
    pub async fn note_end(&self, numbers: Streamed<u64>) {
        let mut numbers = numbers.window(2);
        while let Some(number) = numbers.next().await {
            match number {
                Ok(_) => self.produced.fetch_add(1, Ordering::SeqCst),
                Err(error) => {
                    assert!(matches!(error, StreamError::Dropped), "{error}");
                    self.dropped.fetch_add(1, Ordering::SeqCst)
                }
            };
        }
    }

    /// Keeps a stream beyond its call.
    pub fn keep(&mut self, numbers: Streamed<u64>) {
        self.kept = Some(numbers);
    }

    pub async fn kept(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        while let Some(number) = self.kept.as_mut().unwrap().next().await {
            numbers.push(number.unwrap());
        }
        numbers
    }

    /// In and out at once.
    pub fn doubled(&self, by: u64, numbers: Streamed<u64>) -> impl Stream<Item = u64> {
        numbers.map(move |number| number.unwrap() * by)
    }

    /// How many items were produced, and how many streams dropped.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.produced.load(Ordering::SeqCst),
            self.dropped.load(Ordering::SeqCst),
        )
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }
}

pub async fn start(how: How, base: u64) -> callboard::Result<SourceProxy> {
    Ok(how.start(Source::spawn(base), Source::local(base)).await?)
}

pub async fn all<T: Message, E: std::fmt::Debug>(mut stream: Streaming<T, E>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(item) = within(LONG, stream.next()).await {
        all.push(item.unwrap());
    }
    assert!(within(LONG, stream.next()).await.is_none(), "an end is one");
    all
}

/// Polls a future once.
pub fn once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until the actor says so.
pub async fn until(source: &SourceProxy, what: &str, is_so: impl Fn((u64, u64)) -> bool) {
    let waiting = async {
        while !is_so(source.counts().await.unwrap()) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    if timeout(LONG, waiting).await.is_err() {
        panic!("not within {LONG:?}: {what}");
    }
}

/// As many streams can be opened as ever, at both ends: none is left from before.
pub async fn nothing_is_open(source: &SourceProxy) {
    let opening = async {
        let mut streams = Vec::new();
        while streams.len() < 256 {
            match source.silent().await {
                Ok(stream) => streams.push(stream),
                // The actor has not yet read that they were dropped.
                Err(CallError::TooManyStreams { .. }) => sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    within(LONG, opening).await;
}
