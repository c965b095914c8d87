//! Making a call again: only of methods for which that changes nothing.

use std::time::Duration;

use super::call::{Call, Once};
use super::failure::CallError;
use crate::wire::codec::Arguments;
use crate::wire::view::Reply;

/// The first pause between two attempts; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The methods that say `#[idempotent]`: running one twice does the same as running it once.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Store(u64);
///
/// #[actor]
/// impl Store {
///     pub fn new() -> Self { Self(0) }
///
///     #[idempotent]
///     pub fn set(&mut self, value: u64) -> u64 { self.0 = value; self.0 }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let store = Store::spawn().await?;
///     assert_eq!(store.set(5).retry(3).await?, 5);
///     store.shutdown().await
/// }
/// ```
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a mark on a type: it has no values"
)]
pub enum Idempotent {}

impl<'a, Args, T, E> Call<'a, Args, T, E, Once> {
    /// The same call, of a method that is idempotent.
    #[doc(hidden)]
    pub fn idempotent(self) -> Call<'a, Args, T, E, Idempotent> {
        self.turned()
    }
}

impl<Args: Arguments + Clone, T: Reply, E> Call<'_, Args, T, E, Idempotent> {
    /// Makes the call, and makes it again, at most `times`, if no answer came although the actor
    /// may still be there: after [`CallError::Timeout`], [`CallError::Unreachable`], and
    /// [`CallError::Full`] and [`CallError::Dropped`] of its mailbox. Other errors, the method's
    /// own among them, are answers.
    ///
    /// A [timeout](Call::timeout) holds for each attempt. Before the second attempt there is a
    /// pause of 10 ms, and before each later one twice the last pause, up to a second.
    ///
    /// # Errors
    /// That of the last attempt.
    ///
    /// # Cancel safety
    /// Dropped, the attempt that runs is cancelled. Earlier ones may have run.
    ///
    /// # Examples
    /// Calls of other methods have no such thing:
    /// ```compile_fail
    /// # use callboard::{Call, CallError};
    /// async fn surely(call: Call<'_, (u64,), u64>) -> Result<u64, CallError> {
    ///     call.retry(5).await
    /// }
    /// ```
    ///
    /// ```
    /// # use callboard::{Call, CallError, Idempotent};
    /// # use std::time::Duration;
    /// # use std::convert::Infallible;
    /// async fn surely(
    ///     call: Call<'_, (u64,), u64, Infallible, Idempotent>,
    /// ) -> Result<u64, CallError> {
    ///     call.timeout(Duration::from_millis(100)).retry(5).await
    /// }
    /// ```
    pub async fn retry(self, times: u32) -> Result<T, CallError<E>> {
        let mut pause = PAUSE_MIN;
        for _ in 0..times {
            match self.again().await {
                Err(
                    CallError::Timeout { .. }
                    | CallError::Unreachable { .. }
                    | CallError::Full { .. }
                    | CallError::Dropped { .. },
                ) => {}
                settled => return settled,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.await
    }
}
