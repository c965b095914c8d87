//! A call that takes streams: they are sent as its method reads them.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::task::JoinHandle;

use super::Caller;
use super::call::{Call, DecodeFailure};
use super::failure::CallError;
use super::pending::Pending;
use super::target::Target;
use crate::flow::outflow::{Outflow, Written};
use crate::flow::parcel::put_value;
use crate::flow::table::Crowded;
use crate::flow::{self, Feed, Finish, Way};
use crate::wire::codec::{self, Arguments, EncodeError, Message};
use crate::wire::frame::Kind;
use crate::wire::report::Refusal;
use crate::wire::view::Reply;

/// A call of a method that takes streams, not made yet: awaited, it gives the method's result.
///
/// The streams are polled from when the method reads them, in tasks of their own, and are ahead of
/// it by a window at most. They may outlive the call, if the method keeps them. Of its bounds only
/// one of its own or its proxy's holds, and for all of it: how long a stream takes is not usual.
///
/// # Cancel safety
/// Dropped before its answer came, the call is cancelled as any call is, and its streams are
/// dropped: a method that reads one reads [`StreamError::Dropped`](crate::StreamError::Dropped).
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use futures_util::stream;
///
/// pub struct Totals(u64);
///
/// /// Not all has come.
/// #[message]
/// #[derive(Debug, thiserror::Error)]
/// #[error("the stream is torn")]
/// pub struct Torn;
///
/// #[actor]
/// impl Totals {
///     pub fn new() -> Self { Self(0) }
///     pub async fn add(&mut self, mut numbers: Streamed<u64>) -> Result<u64, Torn> {
///         while let Some(number) = numbers.next().await {
///             self.0 += number.map_err(|_| Torn)?;
///         }
///         Ok(self.0)
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let totals = Totals::spawn().await?;
///     assert_eq!(totals.add(stream::iter(1..=100)).await?, 5050);
///     totals.shutdown().await
/// }
/// ```
#[must_use = "a call does nothing until it is awaited"]
pub struct FeedCall<'a, Args, T, E = Infallible> {
    call: Call<'a, Args, T, E>,
    /// Until it is sent.
    feeds: Option<Feeds>,
    /// From then on.
    feeding: Feeding,
}

impl<'a> Target<'a> {
    /// A call of `method`, which takes streams.
    pub(crate) fn feed_call<Args: Arguments, T: Message, E>(
        self,
        method: u16,
        args: Args,
        failure: DecodeFailure<E>,
        feeds: Feeds,
    ) -> FeedCall<'a, Args, T, E> {
        let call = self.call_as(Kind::Call, method, args, failure);
        FeedCall {
            call: call.patient(),
            feeds: Some(feeds),
            feeding: Feeding::default(),
        }
    }
}

impl<Args: Arguments, T, E> FeedCall<'_, Args, T, E> {
    /// Gives the call at most `after`, from its first poll, to be answered, however long its
    /// streams are.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Arguments, CallError, FeedCall};
    /// # use std::time::Duration;
    /// async fn quick<A: Arguments>(call: FeedCall<'_, A, u64>) -> Result<u64, CallError> {
    ///     call.timeout(Duration::from_secs(1)).await
    /// }
    /// ```
    pub fn timeout(mut self, after: Duration) -> Self {
        self.call = self.call.timeout(after);
        self
    }

    /// Lets the call take as long as it takes: its proxy's bound does not hold for it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Arguments, CallError, FeedCall};
    /// async fn patient<A: Arguments>(call: FeedCall<'_, A, u64>) -> Result<u64, CallError> {
    ///     call.no_timeout().await
    /// }
    /// ```
    pub fn no_timeout(mut self) -> Self {
        self.call = self.call.no_timeout();
        self
    }

    /// Begins to send the streams, unless that is done.
    fn feed(&mut self) -> Result<(), CallError<E>> {
        if let Some(feeds) = self.feeds.take() {
            let (caller, method, _) = self.call.parts();
            self.feeding = feeds
                .begin(caller)
                .map_err(|Crowded| CallError::TooManyStreams {
                    method: caller.method_name(method),
                })?;
        }
        Ok(())
    }
}

impl<Args: Arguments, T: Reply, E> FeedCall<'_, Args, T, E> {
    /// Makes the call now, and gives its result as a value; its streams are sent as the method
    /// reads them, whether anybody awaits the result or not.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Arguments, CallError, FeedCall};
    /// async fn both<A: Arguments, B: Arguments>(
    ///     a: FeedCall<'_, A, u64>,
    ///     b: FeedCall<'_, B, u64>,
    /// ) -> Result<u64, CallError> {
    ///     let (a, b) = (a.start(), b.start());   // both run
    ///     Ok(a.await? + b.await?)
    /// }
    /// ```
    pub fn start(mut self) -> Pending<T, E> {
        if let Err(error) = self.feed() {
            let (caller, method, failure) = self.call.parts();
            return Pending::failed(caller.clone(), method, failure, error);
        }
        self.call.start().with_feeding(self.feeding)
    }
}

impl<Args: Arguments, T: Reply, E> Future for FeedCall<'_, Args, T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.feed()?;
        let answer = ready!(Pin::new(&mut this.call).poll(cx));
        this.feeding.after(&answer);
        Poll::Ready(answer)
    }
}

/// Nothing in a call is pinned: its parts are moved freely.
impl<Args, T, E> Unpin for FeedCall<'_, Args, T, E> {}

impl<Args, T, E> fmt::Debug for FeedCall<'_, Args, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedCall")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// A stream that is about to be sent: it takes its place and gives what writes it.
type Prepared = Box<dyn FnOnce(Outflow) -> Writing + Send>;

type Writing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The streams that a call takes, before it is sent.
#[doc(hidden)]
#[derive(Default)]
pub struct Feeds {
    prepared: Vec<(Feed, Prepared)>,
}

impl Feeds {
    /// Room for them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one, and gives what travels in its place.
    pub fn add<T: Message>(&mut self, stream: impl Stream<Item = T> + Send + 'static) -> Feed {
        let feed = Feed { id: flow::number() };
        let write: Prepared = Box::new(|outflow| Box::pin(feed_all(stream, outflow)));
        self.prepared.push((feed, write));
        feed
    }

    /// Takes their places, and begins to send as the actor asks for it.
    ///
    /// # Errors
    /// [`Crowded`] when too many streams are open; then none is begun.
    pub(super) fn begin(self, caller: &Caller) -> Result<Feeding, Crowded> {
        let exchange = caller.exchange();
        let limit = caller.message_len_max();
        let open = |(feed, write): (Feed, Prepared)| {
            let way = Arc::clone(exchange) as Arc<dyn Way>;
            Ok((Outflow::open(way, feed.id, None, limit)?.telling(), write))
        };
        let opened: Result<Vec<_>, Crowded> = self.prepared.into_iter().map(open).collect();
        let tasks = opened?.into_iter();
        let tasks = tasks.map(|(outflow, write)| caller.spawn(write(outflow)));
        Ok(Feeding(tasks.collect()))
    }
}

impl fmt::Debug for Feeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeds")
            .field("count", &self.prepared.len())
            .finish_non_exhaustive()
    }
}

/// Sends all of a stream.
async fn feed_all<T: Message>(stream: impl Stream<Item = T>, mut outflow: Outflow) {
    if let Written::Unsent(error) = outflow.write(stream, put_value).await {
        refuse_item(&mut outflow, &error).await;
    }
}

/// Tells the reader of an item that could not be sent.
pub(crate) async fn refuse_item(outflow: &mut Outflow, error: &EncodeError) {
    let refusal = Refusal::Result(error.to_string());
    let body = codec::encode(&refusal, usize::MAX, codec::copy).unwrap_or_default();
    outflow.finish(Finish::Unsent, body).await;
}

/// Streams that are being sent; dropped, they end.
#[derive(Debug, Default)]
pub(super) struct Feeding(Vec<JoinHandle<()>>);

impl Feeding {
    /// The call has ended so: if its method has, they go on without it, for it may have kept one;
    /// one that it has dropped ends by that.
    pub(super) fn after<T, E>(&mut self, answer: &Result<T, CallError<E>>) {
        if matches!(answer, Ok(_) | Err(CallError::Actor(_))) {
            self.0.clear();
        }
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}
