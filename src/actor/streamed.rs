//! A stream that a method takes.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::stream::FusedStream;
use tokio::runtime::Handle;

use crate::flow::inflow::{Inflow, Next};
use crate::flow::parcel::ItemKind;
use crate::flow::{Feed, Finish, STREAMS_MAX, Way, Window};
use crate::wire::codec::{self, DecodeError, Message};
use crate::wire::report::Refusal;

/// A stream as a method's argument: `xs: Streamed<u64>`. The proxy takes any
/// `impl Stream<Item = u64> + Send + 'static` for it.
///
/// It is a `Stream` of `Result<T, StreamError>`. The caller's stream is polled from when this one
/// is, and is ahead of it by a [window](Streamed::window) at most. It ends when the caller's ends;
/// anything else that ends it is an error, behind which nothing comes. A method may keep it and
/// return: it goes on. Dropped, it ends the caller's stream, which is dropped.
///
/// While a method waits for items, calls that find the actor's mailbox full are refused with
/// [`CallError::Full`](crate::CallError::Full): the items may be behind them.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use futures_util::stream;
///
/// pub struct Store(Vec<String>);
///
/// /// Not all has come.
/// #[message]
/// #[derive(Debug, thiserror::Error)]
/// #[error("the stream is torn")]
/// pub struct Torn;
///
/// #[actor]
/// impl Store {
///     pub fn new() -> Self { Self(Vec::new()) }
///
///     /// Keeps all of them or none.
///     pub async fn extend(&mut self, lines: Streamed<String>) -> Result<u64, Torn> {
///         let mut lines = lines.window(64);
///         let mut all = Vec::new();
///         while let Some(line) = lines.next().await {
///             all.push(line.map_err(|_| Torn)?);
///         }
///         self.0.append(&mut all);
///         Ok(self.0.len() as u64)
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let store = Store::spawn().await?;
///     let lines = ["one", "two"].map(String::from);
///     assert_eq!(store.extend(stream::iter(lines)).await?, 2);
///     store.shutdown().await
/// }
/// ```
#[must_use = "a stream that nobody reads is ended"]
pub struct Streamed<T> {
    /// None: there was no place for it.
    inflow: Option<Inflow>,
    has_begun: bool,
    is_over: bool,
    item: PhantomData<fn() -> T>,
}

/// What ends a stream that a method takes before its own end.
///
/// # Examples
/// ```
/// use callboard::StreamError;
///
/// fn is_callers_fault(error: &StreamError) -> bool {
///     !matches!(error, StreamError::TooMany)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The caller dropped the call or the stream, the stream panicked there, or the caller is gone.
    #[error("the caller's stream was dropped before its end")]
    Dropped,
    /// An item could not be sent.
    #[error("an item of the caller's stream could not be sent: {reason}")]
    Unsent {
        /// What the caller's side said.
        reason: String,
    },
    /// An item could not be read.
    #[error("an item of the caller's stream could not be read")]
    Decode {
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// Too many streams are open between the caller's process and this one.
    #[error("more than {STREAMS_MAX} streams to and from one actor")]
    TooMany,
}

impl<T: Message> Streamed<T> {
    pub(super) fn new(way: Arc<dyn Way>, feed: Feed) -> Self {
        let runtime = Handle::try_current().ok();
        Self {
            inflow: Inflow::open(way, feed.id, Window::USUAL, runtime).ok(),
            has_begun: false,
            is_over: false,
            item: PhantomData,
        }
    }

    /// Lets the caller be at most so many items ahead: 1024 if nothing else is said, and between 1
    /// and 1 048 576. Once the first item was asked for this changes nothing.
    ///
    /// # Examples
    /// ```
    /// use callboard::Streamed;
    ///
    /// async fn closely(frames: Streamed<Vec<u8>>) -> usize {
    ///     let mut frames = frames.window(2).window_bytes(1 << 20);
    ///     let mut count = 0;
    ///     while let Some(Ok(_frame)) = frames.next().await {
    ///         count += 1;
    ///     }
    ///     count
    /// }
    /// ```
    pub fn window(self, items: usize) -> Self {
        self.with_window(|window| window.with_items(items))
    }

    /// The same in bytes, as they travel, with the memory of [blobs](crate::Blob): 256 KiB if
    /// nothing else is said, and between 1 byte and 64 MiB. The last item may go beyond it.
    ///
    /// # Examples
    /// ```
    /// use callboard::Streamed;
    ///
    /// fn of_large_items(frames: Streamed<Vec<u8>>) -> Streamed<Vec<u8>> {
    ///     frames.window_bytes(8 << 20)
    /// }
    /// ```
    pub fn window_bytes(self, bytes: usize) -> Self {
        self.with_window(|window| window.with_bytes(bytes))
    }

    fn with_window(mut self, change: impl FnOnce(Window) -> Window) -> Self {
        if let Some(inflow) = self.inflow.as_mut().filter(|_| !self.has_begun) {
            inflow.set_window(change);
        }
        self
    }

    /// The next item; none when the caller's stream has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: an item that was not given is given by the next call.
    ///
    /// # Examples
    /// ```
    /// use callboard::{StreamError, Streamed};
    ///
    /// async fn sum(mut numbers: Streamed<u64>) -> Result<u64, StreamError> {
    ///     let mut sum = 0;
    ///     while let Some(number) = numbers.next().await {
    ///         sum += number?;
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    pub async fn next(&mut self) -> Option<Result<T, StreamError>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, StreamError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Some(inflow) = &mut self.inflow else {
            self.is_over = true;
            return Poll::Ready(Some(Err(StreamError::TooMany)));
        };
        if !std::mem::replace(&mut self.has_begun, true) {
            inflow.begin();
        }
        let error = match ready!(inflow.poll_next(cx)) {
            Next::Item => {
                let item = inflow.take(|kind, archive| match kind {
                    ItemKind::Value => Some(codec::decode(archive)),
                    ItemKind::Error => None,
                });
                match item.flatten() {
                    Some(Ok(item)) => return Poll::Ready(Some(Ok(item))),
                    Some(Err(source)) => Some(StreamError::Decode { source }),
                    None => Some(StreamError::Dropped),
                }
            }
            Next::Finished(Finish::Done, _) => None,
            Next::Finished(Finish::Unsent, body) => Some(unsent(&body)),
            Next::Finished(Finish::Panicked | Finish::Dropped, _) | Next::Lost => {
                Some(StreamError::Dropped)
            }
        };
        self.is_over = true;
        Poll::Ready(error.map(Err))
    }
}

fn unsent(body: &[u8]) -> StreamError {
    match codec::decode(body) {
        Ok(Refusal::Result(reason)) => StreamError::Unsent { reason },
        _ => StreamError::Dropped,
    }
}

impl<T: Message> Stream for Streamed<T> {
    type Item = Result<T, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(cx)
    }
}

impl<T: Message> FusedStream for Streamed<T> {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

/// Nothing in it is pinned: its parts are moved freely.
impl<T> Unpin for Streamed<T> {}

impl<T> fmt::Debug for Streamed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed")
            .field("has_begun", &self.has_begun)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
