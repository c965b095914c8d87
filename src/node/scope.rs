//! An actor that lives as long as a block of code.
//!
//! ```text
//! spawn --> enter --> body(proxy) --> leave: stopped and gone --> what the body gave
//!                        └ error, panic, dropped: the same way out
//! ```

use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt as _;

use super::handle::{Proxy, ShutdownError};
use super::spawn::Spawn;
use super::spawn_error::SpawnError;
use crate::wire::codec::Arguments;

/// Starts an actor, runs `body` with its proxy, and ends the actor whatever became of the body.
///
/// # Errors
/// The start's; else the body's own; else that of the end.
///
/// # Panics
/// The body's, after the actor has ended.
pub(crate) async fn run<P, Args, E, T, X>(
    spawn: Spawn<P, Args, E>,
    body: impl AsyncFnOnce(P) -> Result<T, X>,
) -> Result<T, X>
where
    P: Proxy,
    Args: Arguments,
    E: Send + 'static,
    X: From<SpawnError<E>> + From<ShutdownError>,
{
    let inside = Inside::enter(spawn.await?);
    let proxy = inside.0.clone();
    let ran = AssertUnwindSafe(body(proxy)).catch_unwind().await;
    let left = inside.leave().await;
    match ran {
        Ok(Ok(value)) => left.map(|()| value).map_err(X::from),
        Ok(Err(own)) => {
            if let Err(error) = left {
                tracing::warn!(%error, "the actor of a scope that failed did not end in order");
            }
            Err(own)
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// An actor within its scope. Dropped, it ends, whoever else has proxies.
struct Inside<P: Proxy>(P);

impl<P: Proxy> Inside<P> {
    fn enter(proxy: P) -> Self {
        Self(proxy)
    }

    async fn leave(self) -> Result<(), ShutdownError> {
        self.0.stop().await
    }
}

impl<P: Proxy> Drop for Inside<P> {
    fn drop(&mut self) {
        self.0.__handle().ask_to_stop();
    }
}
