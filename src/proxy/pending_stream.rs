//! A started call of a method that returns a stream, as a value.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::failure::CallError;
use super::pending::Pending;
use super::streaming::{Origin, Streaming};
use crate::flow::inflow::Inflow;

/// The stream of a call that runs: await it to read it, or drop it to end it.
///
/// It keeps the actor alive, as a proxy does.
///
/// # Cancel safety
/// Awaiting `&mut pending` may be dropped and taken up again. Dropping the value itself cancels the
/// call: not begun, it is not run; begun, its stream is dropped.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use futures_util::stream;
///
/// pub struct Numbers;
///
/// #[actor]
/// impl Numbers {
///     pub fn new() -> Self { Self }
///     pub fn below(&self, end: u64) -> impl Stream<Item = u64> { stream::iter(0..end) }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let (one, two) = (Numbers::spawn().await?, Numbers::spawn().await?);
///     // Both actors compute, whoever is read first.
///     let (a, b) = (one.below(100).start(), two.below(100).start());
///     let (mut a, mut b) = (a.await?, b.await?);
///     while let (Some(a), Some(b)) = (a.next().await, b.next().await) {
///         assert_eq!(a?, b?);
///     }
///     one.shutdown().await?;
///     two.shutdown().await
/// }
/// ```
#[must_use = "dropping a pending stream cancels its call"]
pub struct PendingStream<T, E = Infallible> {
    pending: Pending<(), E>,
    /// None once it was given, or where there was no place for it.
    opened: Option<(Inflow, Origin<E>)>,
    result: std::marker::PhantomData<fn() -> T>,
}

impl<T, E> PendingStream<T, E> {
    pub(super) fn new(pending: Pending<(), E>, inflow: Option<Inflow>, origin: Origin<E>) -> Self {
        Self {
            pending,
            opened: inflow.map(|inflow| (inflow, origin)),
            result: std::marker::PhantomData,
        }
    }

    /// Whether awaiting would give the stream, or an error, at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.pending.is_ready()
    }

    /// Waits at most `timeout` for the stream to begin; true if it has, or has failed. The call
    /// goes on in either case.
    ///
    /// # Cancel safety
    /// Nothing is lost: the call goes on.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, PendingStream, Streaming};
    /// # use std::time::Duration;
    /// async fn soon(
    ///     mut lines: PendingStream<String>,
    /// ) -> Result<Option<Streaming<String>>, CallError> {
    ///     if lines.wait(Duration::from_millis(10)).await {
    ///         return lines.await.map(Some);
    ///     }
    ///     Ok(None)
    /// }
    /// ```
    pub async fn wait(&mut self, timeout: Duration) -> bool {
        self.pending.wait(timeout).await
    }
}

impl<T, E> Future for PendingStream<T, E> {
    type Output = Result<Streaming<T, E>, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = ready!(Pin::new(&mut this.pending).poll(cx));
        match (this.opened.take(), answer) {
            (Some((inflow, origin)), answer) => Poll::Ready(origin.streaming(answer, inflow)),
            (None, Err(error)) => Poll::Ready(Err(error)),
            (None, Ok(())) => unreachable!("without a place for its stream no call is made"),
        }
    }
}

/// Nothing in it is pinned: its parts are moved freely.
impl<T, E> Unpin for PendingStream<T, E> {}

impl<T, E> fmt::Debug for PendingStream<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingStream")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
