//! The same call for each of many values, spread over a pool.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use crate::node::handle::Proxy;
use crate::proxy::call::Call;
use crate::proxy::failure::CallError;
use crate::wire::codec::Arguments;
use crate::wire::view::Reply;

/// A call to be made for each of many values; [`Pool::map`](super::Pool::map) makes one.
///
/// Nothing happens before a result is asked for. Values are taken, and calls made, only as fast as
/// results are.
///
/// # Cancel safety
/// Dropped, the calls that run are cancelled, and no value is taken any more.
#[must_use = "nothing is called before a result is asked for"]
pub struct Map<P, I, F> {
    face: P,
    items: I,
    call: F,
    width: usize,
}

impl<P, I, F> Map<P, I, F> {
    pub(super) fn new(face: P, items: I, call: F, width: usize) -> Self {
        Self {
            face,
            items,
            call,
            width,
        }
    }

    /// At most so many calls at once, at least one. Default: two for each member, so that it finds
    /// the next when it is done with one.
    pub fn width(mut self, calls: usize) -> Self {
        self.width = calls.max(1);
        self
    }

    /// The results in the order in which they come.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Squarer;
    /// # #[actor]
    /// # impl Squarer {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn square(&self, number: u64) -> u64 { number * number }
    /// # }
    /// use futures_util::StreamExt as _;
    ///
    /// async fn sum(pool: &Pool<SquarerProxy>) -> callboard::Result<u64> {
    ///     let mut squares = pool.map(0..1000, |squarer, n| squarer.square(n)).unordered();
    ///     let mut sum = 0;
    ///     while let Some(square) = squares.next().await {
    ///         sum += square?;
    ///     }
    ///     Ok(sum)
    /// }
    /// ```
    pub fn unordered<A, T, E, K>(self) -> impl Stream<Item = Result<T, CallError<E>>>
    where
        P: Proxy,
        I: Iterator,
        F: for<'a> Fn(&'a P, I::Item) -> Call<'a, A, T, E, K>,
        A: Arguments,
        T: Reply,
    {
        let width = self.width;
        Box::pin(stream::iter(self.calls()).buffer_unordered(width))
    }

    /// The results in the order of the values. One that takes long lets at most the
    /// [width](Self::width) of others be done before it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Squarer;
    /// # #[actor]
    /// # impl Squarer {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn square(&self, number: u64) -> u64 { number * number }
    /// # }
    /// use futures_util::StreamExt as _;
    ///
    /// async fn first(pool: &Pool<SquarerProxy>) -> Option<Result<u64, CallError>> {
    ///     pool.map(7..1000, |squarer, n| squarer.square(n)).ordered().next().await
    /// }
    /// ```
    pub fn ordered<A, T, E, K>(self) -> impl Stream<Item = Result<T, CallError<E>>>
    where
        P: Proxy,
        I: Iterator,
        F: for<'a> Fn(&'a P, I::Item) -> Call<'a, A, T, E, K>,
        A: Arguments,
        T: Reply,
    {
        let width = self.width;
        Box::pin(stream::iter(self.calls()).buffered(width))
    }

    /// All results, in the order of the values.
    ///
    /// # Errors
    /// The first that comes; the calls that run then are cancelled.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Squarer;
    /// # #[actor]
    /// # impl Squarer {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn square(&self, number: u64) -> u64 { number * number }
    /// # }
    /// async fn squares(pool: &Pool<SquarerProxy>) -> callboard::Result<Vec<u64>> {
    ///     Ok(pool.map(0..1000, |squarer, n| squarer.square(n)).all().await?)
    /// }
    /// ```
    pub async fn all<A, T, E, K>(self) -> Result<Vec<T>, CallError<E>>
    where
        P: Proxy,
        I: Iterator,
        F: for<'a> Fn(&'a P, I::Item) -> Call<'a, A, T, E, K>,
        A: Arguments,
        T: Reply,
    {
        self.ordered().try_collect().await
    }

    fn calls<A, T, E, K>(
        self,
    ) -> impl Iterator<Item = impl Future<Output = Result<T, CallError<E>>>>
    where
        P: Proxy,
        I: Iterator,
        F: for<'a> Fn(&'a P, I::Item) -> Call<'a, A, T, E, K>,
        A: Arguments,
        T: Reply,
    {
        let Self {
            face, items, call, ..
        } = self;
        let call = Arc::new(call);
        items.map(move |item| {
            let (face, call) = (face.clone(), Arc::clone(&call));
            async move { call(&face, item).await }
        })
    }
}

impl<P, I, F> fmt::Debug for Map<P, I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}
