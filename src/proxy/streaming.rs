//! A call whose result is a stream, and the stream.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::FusedStream;

use super::Caller;
use super::call::{Call, DecodeFailure};
use super::failure::{CallError, Outcome};
use super::feeding::{Feeding, Feeds};
use super::pending::Pending;
use super::pending_stream::PendingStream;
use super::target::Target;
use crate::flow::inflow::{Inflow, Next};
use crate::flow::parcel::ItemKind;
use crate::flow::{self, Finish, Opening, Way, Window};
use crate::wire::codec::{self, Arguments, Message};
use crate::wire::frame::Kind;
use crate::wire::report::{PanicReport, Refusal};

/// A call of a method that returns a stream, not made yet: awaited, it gives the
/// [`Streaming`].
///
/// # Cancel safety
/// Dropped before it is done, the call is cancelled: if the actor has not begun it, it never will;
/// if it has, its stream is dropped.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use futures_util::stream;
///
/// pub struct Log(Vec<String>);
///
/// #[actor]
/// impl Log {
///     pub fn new() -> Self { Self(vec!["one".into(), "two".into()]) }
///     pub fn lines(&self) -> impl Stream<Item = String> {
///         stream::iter(self.0.iter().cloned())
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let log = Log::spawn().await?;
///     let mut lines = log.lines().window(16).await?;
///     let mut all = Vec::new();
///     while let Some(line) = lines.next().await {
///         all.push(line?);
///     }
///     assert_eq!(all, ["one", "two"]);
///     log.shutdown().await
/// }
/// ```
#[must_use = "a call does nothing until it is awaited"]
pub struct StreamCall<'a, Args, T, E = Infallible> {
    call: Call<'a, (Args, Option<Opening>), (), E>,
    window: Window,
    /// The streams that it takes, until it is sent.
    feeds: Option<Feeds>,
    /// From then on.
    opened: Option<(Inflow, Feeding)>,
    result: PhantomData<fn() -> T>,
}

impl<'a> Target<'a> {
    /// A call of `method`, which returns a stream.
    pub(crate) fn stream_call<Args: Arguments, T: Message, E>(
        self,
        method: u16,
        args: Args,
        failure: DecodeFailure<E>,
        feeds: Option<Feeds>,
    ) -> StreamCall<'a, Args, T, E> {
        let call = self.call_as(Kind::Call, method, (args, None), failure);
        StreamCall {
            call: if feeds.is_some() {
                call.patient()
            } else {
                call
            },
            window: Window::USUAL,
            feeds,
            opened: None,
            result: PhantomData,
        }
    }
}

impl<Args: Arguments, T, E> StreamCall<'_, Args, T, E> {
    /// Lets the stream be at most so many items ahead of those that were taken from the
    /// [`Streaming`]: 1024 if nothing else is said, and between 1 and 1 048 576.
    ///
    /// The actor's side asks its stream for an item only if it may send it. A small window keeps
    /// the stream close to its reader, a large one lets neither wait for the other.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, StreamCall};
    /// async fn closely(call: StreamCall<'_, (), u64>) -> Result<u64, CallError> {
    ///     let mut numbers = call.window(1).await?;
    ///     let mut sum = 0;
    ///     while let Some(number) = numbers.next().await {
    ///         sum += number?;
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    pub fn window(mut self, items: usize) -> Self {
        self.window = self.window.with_items(items);
        self
    }

    /// The same in bytes, as they travel, with the memory of [blobs](crate::Blob): 256 KiB if
    /// nothing else is said, and between 1 byte and 64 MiB. The last item may go beyond it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, StreamCall, Streaming};
    /// async fn large(
    ///     call: StreamCall<'_, (), Vec<u8>>,
    /// ) -> Result<Streaming<Vec<u8>>, CallError> {
    ///     call.window_bytes(8 << 20).await
    /// }
    /// ```
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window = self.window.with_bytes(bytes);
        self
    }

    /// Gives the actor at most `after`, from the first poll, to begin the stream: until its method
    /// has returned it. How long the stream then takes is not bounded; for a bound on one item, put
    /// one around [`Streaming::next`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, StreamCall, Streaming};
    /// # use std::time::Duration;
    /// async fn soon(call: StreamCall<'_, (), u64>) -> Result<Streaming<u64>, CallError> {
    ///     call.timeout(Duration::from_secs(1)).await
    /// }
    /// ```
    pub fn timeout(mut self, after: Duration) -> Self {
        self.call = self.call.timeout(after);
        self
    }

    /// Lets the stream begin when it begins: neither the
    /// [usual bound](crate::set_default_timeout) nor its proxy's holds for it. The usual one holds
    /// for no call that takes a stream.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, StreamCall, Streaming};
    /// async fn whenever(call: StreamCall<'_, (), u64>) -> Result<Streaming<u64>, CallError> {
    ///     call.no_timeout().await
    /// }
    /// ```
    pub fn no_timeout(mut self) -> Self {
        self.call = self.call.no_timeout();
        self
    }

    /// Takes the places of its streams.
    fn open(&mut self) -> Result<(), CallError<E>> {
        if self.opened.is_some() {
            return Ok(());
        }
        let (caller, method, _) = self.call.parts();
        let (caller, name) = (caller.clone(), caller.method_name(method));
        let crowded = |_| CallError::TooManyStreams { method: name };
        let way = Arc::clone(caller.exchange()) as Arc<dyn Way>;
        let id = flow::number();
        let inflow =
            Inflow::open(way, id, self.window, caller.runtime().cloned()).map_err(crowded)?;
        if let Some((_, opening)) = self.call.args_mut() {
            *opening = Some(inflow.opening());
        }
        let feeds = self.feeds.take();
        let feeding = feeds.map_or(Ok(Feeding::default()), |feeds| feeds.begin(&caller));
        self.opened = Some((inflow, feeding.map_err(crowded)?));
        Ok(())
    }
}

impl<Args: Arguments, T, E> StreamCall<'_, Args, T, E> {
    /// Makes the call now, and gives its stream as a value: the actor begins it, and is ahead by a
    /// window at most until somebody reads.
    ///
    /// # Panics
    /// Outside a tokio runtime, when the call has to wait for room.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, StreamCall};
    /// async fn firsts(
    ///     a: StreamCall<'_, (), u64>,
    ///     b: StreamCall<'_, (), u64>,
    /// ) -> Result<u64, CallError> {
    ///     let (a, b) = (a.start(), b.start());   // both run
    ///     let (mut a, mut b) = (a.await?, b.await?);
    ///     let first = a.next().await.transpose()?.unwrap_or(0);
    ///     Ok(first + b.next().await.transpose()?.unwrap_or(0))
    /// }
    /// ```
    pub fn start(mut self) -> PendingStream<T, E> {
        let opened = self.open();
        let (caller, method, failure) = self.call.parts();
        let origin = Origin {
            caller: caller.clone(),
            method,
            failure,
        };
        let pending = match (opened, self.opened) {
            (Ok(()), Some((inflow, feeding))) => {
                let pending = self.call.start().with_feeding(feeding);
                return PendingStream::new(pending, Some(inflow), origin);
            }
            (Ok(()), None) => unreachable!("opened above"),
            (Err(error), _) => Pending::failed(origin.caller.clone(), method, failure, error),
        };
        PendingStream::new(pending, None, origin)
    }
}

impl<Args: Arguments, T, E> Future for StreamCall<'_, Args, T, E> {
    type Output = Result<Streaming<T, E>, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.open()?;
        let answer = ready!(Pin::new(&mut this.call).poll(cx));
        let Some((inflow, mut feeding)) = this.opened.take() else {
            unreachable!("opened above; after its result the call itself has panicked")
        };
        feeding.after(&answer);
        let (caller, method, failure) = this.call.parts();
        let origin = Origin {
            caller: caller.clone(),
            method,
            failure,
        };
        Poll::Ready(origin.streaming(answer, inflow))
    }
}

/// Nothing in a call is pinned: its parts are moved freely.
impl<Args, T, E> Unpin for StreamCall<'_, Args, T, E> {}

impl<Args, T, E> fmt::Debug for StreamCall<'_, Args, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamCall")
            .field("call", &self.call)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// The items that a method's stream gives in the actor, as they come.
///
/// It is a `Stream` of `Result<T, CallError<E>>`. The stream's own errors come as
/// [`CallError::Actor`], and more may follow them; behind any other error nothing comes. If the
/// actor dies or is shut down, what had come before is still given, then the error. A panic in the
/// stream is [`CallError::Panicked`].
///
/// The actor's side is ahead of what was taken here by a [window](StreamCall::window) at most: a
/// reader that is slow, or reads no more, slows the stream or has it wait. Dropped, it ends the
/// stream, which is dropped before it gives another item.
///
/// It keeps the actor alive, as a proxy does.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use futures_util::{StreamExt as _, TryStreamExt as _, stream};
///
/// pub struct Numbers;
///
/// #[message]
/// #[derive(Debug, thiserror::Error)]
/// #[error("no sevens")]
/// pub struct NoSevens;
///
/// #[actor]
/// impl Numbers {
///     pub fn new() -> Self { Self }
///     pub fn below(&self, end: u64) -> impl Stream<Item = Result<u64, NoSevens>> {
///         stream::iter(0..end).map(|n| if n == 7 { Err(NoSevens) } else { Ok(n) })
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let numbers = Numbers::spawn().await?;
///     let all: Vec<u64> = numbers.below(5).await?.try_collect().await?;
///     assert_eq!(all, [0, 1, 2, 3, 4]);
///
///     let mut some = numbers.below(9).await?;
///     let mut errors = 0;
///     while let Some(number) = some.next().await {
///         match number {
///             Err(CallError::Actor(NoSevens)) => errors += 1,
///             number => assert_ne!(number?, 7),
///         }
///     }
///     assert_eq!(errors, 1);
///     numbers.shutdown().await
/// }
/// ```
#[must_use = "a stream that nobody reads is ended"]
pub struct Streaming<T, E = Infallible> {
    origin: Origin<E>,
    inflow: Inflow,
    is_over: bool,
    result: PhantomData<fn() -> T>,
}

/// Whose stream it is, and how its errors are read.
pub(super) struct Origin<E> {
    caller: Caller,
    method: u16,
    failure: DecodeFailure<E>,
}

impl<E> Origin<E> {
    /// What the answer to the call makes of its stream.
    pub(super) fn streaming<T>(
        self,
        answer: Result<(), CallError<E>>,
        mut inflow: Inflow,
    ) -> Result<Streaming<T, E>, CallError<E>> {
        if let Err(error) = answer {
            // One that was too late may have begun.
            if !matches!(error, CallError::Timeout { .. }) {
                inflow.forget();
            }
            return Err(error);
        }
        Ok(Streaming {
            origin: self,
            inflow,
            is_over: false,
            result: PhantomData,
        })
    }
}

impl<T: Message, E> Streaming<T, E> {
    /// The next item; none when the stream has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: an item that was not given is given by the next call.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, Streaming};
    /// # use std::time::Duration;
    /// async fn first(mut lines: Streaming<String>) -> Option<Result<String, CallError>> {
    ///     tokio::time::timeout(Duration::from_secs(1), lines.next()).await.ok()?
    /// }
    /// ```
    pub async fn next(&mut self) -> Option<Result<T, CallError<E>>> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, CallError<E>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let error = match ready!(self.inflow.poll_next(cx)) {
            Next::Item => {
                let failure = self.origin.failure;
                let item = self.inflow.take(|kind, archive| match kind {
                    ItemKind::Value => codec::decode(archive).map(Ok),
                    ItemKind::Error => failure(archive).map(Err),
                });
                match item {
                    Some(Ok(item)) => return Poll::Ready(Some(item.map_err(CallError::Actor))),
                    Some(Err(source)) => {
                        Some(self.origin.caller.unread(self.origin.method, source))
                    }
                    None => None,
                }
            }
            Next::Finished(Finish::Done, _) => None,
            Next::Finished(how, body) => Some(self.failure_of(how, &body)),
            Next::Lost => {
                let ended = self.origin.caller.exchange().ended();
                Some(CallError::ended(ended, Outcome::Ran))
            }
        };
        self.is_over = true;
        Poll::Ready(error.map(Err))
    }

    #[cold]
    fn failure_of(&self, how: Finish, body: &[u8]) -> CallError<E> {
        let method = self.origin.method;
        let read = match how {
            Finish::Panicked => codec::decode::<PanicReport>(body).map(CallError::Panicked),
            Finish::Unsent => codec::decode::<Refusal>(body)
                .map(|refusal| self.origin.caller.refused(method, refusal)),
            Finish::Done | Finish::Dropped => Ok(CallError::Result {
                method: self.origin.caller.method_name(method),
                reason: "the stream was dropped before its end".to_owned(),
            }),
        };
        read.unwrap_or_else(|source| self.origin.caller.unread(method, source))
    }
}

impl<T: Message, E> Stream for Streaming<T, E> {
    type Item = Result<T, CallError<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(cx)
    }
}

impl<T: Message, E> FusedStream for Streaming<T, E> {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

/// Nothing in it is pinned: its parts are moved freely.
impl<T, E> Unpin for Streaming<T, E> {}

impl<T, E> fmt::Debug for Streaming<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field(
                "method",
                &self.origin.caller.method_name(self.origin.method),
            )
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
