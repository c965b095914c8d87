//! A call that is made on a second member when the first takes too long.

use std::future::IntoFuture as _;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::pools::Pool;
use crate::node::handle::Proxy;
use crate::proxy::call::Call;
use crate::proxy::failure::{CallError, Outcome};
use crate::proxy::retry::Idempotent;
use crate::wire::codec::Arguments;
use crate::wire::view::Reply;

impl<P: Proxy> Pool<P> {
    /// Makes a call on one member, and if that has not answered `after` this time, or dies, on
    /// another one too: the first answer counts, the other call is cancelled (Dean and Barroso,
    /// "The Tail at Scale", 2013). So one slow member does not make the slowest calls of all.
    ///
    /// Only of methods that are `#[idempotent]`, for both members may run it. A method's own error
    /// and a panic are answers. A good time is what nineteen of twenty calls take: then a twentieth
    /// of the calls is made twice. A call of a part is made [`into_owned`](Call::into_owned).
    ///
    /// # Errors
    /// The answer's; if both members fail to give one, the second failure.
    ///
    /// # Cancel safety
    /// Dropped, the calls that run are cancelled.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Store;
    /// # #[actor]
    /// # impl Store {
    /// #     pub fn new() -> Self { Self }
    /// #     #[idempotent]
    /// #     pub fn read(&self, key: String) -> String { key }
    /// # }
    /// use std::time::Duration;
    ///
    /// async fn read(pool: &Pool<StoreProxy>, key: &str) -> Result<String, CallError> {
    ///     pool.hedged(Duration::from_millis(5), |store| store.read(key.into())).await
    /// }
    /// ```
    pub async fn hedged<A, T, E>(
        &self,
        after: Duration,
        call: impl for<'a> Fn(&'a P) -> Call<'a, A, T, E, Idempotent>,
    ) -> Result<T, CallError<E>>
    where
        A: Arguments,
        T: Reply,
    {
        let Some(one) = self.crew.another(None) else {
            // Nobody takes calls: the pool's own proxy knows why.
            return call(self).await;
        };
        let mut first = pin!(call(&one).into_future());
        let early = {
            let late = pin!(tokio::time::sleep(after));
            match select(first.as_mut(), late).await {
                Either::Left((answer, _)) => Some(answer),
                Either::Right(_) => None,
            }
        };
        let failed = match early {
            Some(answer) if is_answer(&answer) => return answer,
            other => other,
        };
        let Some(other) = self.crew.another(Some(&one)) else {
            return match failed {
                Some(failed) => failed,
                None => first.await,
            };
        };
        let mut second = pin!(call(&other).into_future());
        if failed.is_some() {
            return second.await;
        }
        match select(first.as_mut(), second.as_mut()).await {
            Either::Left((answer, _)) if is_answer(&answer) => answer,
            Either::Right((answer, _)) if is_answer(&answer) => answer,
            Either::Left(_) => second.await,
            Either::Right(_) => first.await,
        }
    }
}

/// Whether a member has answered, be it with an error.
fn is_answer<T, E>(result: &Result<T, CallError<E>>) -> bool {
    result
        .as_ref()
        .err()
        .is_none_or(|error| error.outcome() == Outcome::Ran)
}
