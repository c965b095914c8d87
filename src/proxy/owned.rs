//! A call as a value that is bound to no proxy.

use super::call::Call;

impl<'a, Args, T, E, K> Call<'a, Args, T, E, K> {
    /// The same call, which no longer borrows its proxy: for where it outlives that, as a call of
    /// an [actor's part](crate::actor_part) does whose proxy was made for it alone. It keeps its
    /// actor alive as the proxy does.
    ///
    /// # Examples
    /// Of each member of a pool, and of one of them for each of many values:
    /// ```standalone_crate
    /// use callboard::pool::Pool;
    /// use callboard::prelude::*;
    ///
    /// pub struct Tally(u64);
    ///
    /// #[actor_part]
    /// impl Tally {
    ///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
    /// }
    ///
    /// pub struct Clerk { tally: Tally }
    ///
    /// #[actor(nested(tally: Tally))]
    /// impl Clerk {
    ///     pub fn new() -> Self { Self { tally: Tally(0) } }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let pool = Pool::spawn(2, |_| Clerk::spawn()).await?;
    ///     for sum in pool.broadcast(|clerk| clerk.tally().add(5).into_owned()).await {
    ///         assert_eq!(sum?, 5);
    ///     }
    ///     let sums = pool.map(0..10, |clerk, by| clerk.tally().add(by).into_owned());
    ///     assert_eq!(sums.all().await?.len(), 10);
    ///     pool.shutdown().await
    /// }
    /// ```
    pub fn into_owned(self) -> Call<'static, Args, T, E, K> {
        let caller = self.caller.owned();
        self.turned_to(caller)
    }

    /// The same call, as far as it is, with another type of result or mark.
    pub(super) fn turned<U, L>(self) -> Call<'a, Args, U, E, L> {
        let caller = self.caller.clone();
        self.turned_to(caller)
    }
}
