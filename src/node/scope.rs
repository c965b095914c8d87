//! An actor that lives as long as a block of code.
//!
//! ```text
//! start --> enter --> body(proxy) --> exit --> leave: stopped and gone --> what the body gave
//!                        └ error, panic: the same way out; dropped: without `exit`
//! ```

use std::fmt;
use std::future::IntoFuture;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt as _;

use super::ending::ShutdownError;
use super::handle::Proxy;
use super::local::Local;
use super::spawn::Spawn;
use super::spawn_error::SpawnError;
use crate::actor::hooks::{Hooks, Moment};
use crate::actor::replies::describe;
use crate::proxy::failure::CallError;
use crate::wire::codec::Arguments;
use crate::wire::interface::{ENTER, EXIT};

/// A start of an actor, in a process or in a task: a scope does not care which.
pub(crate) trait Start<P, E>: IntoFuture<Output = Result<P, SpawnError<E>>> {
    /// What the scope is to tell the actor.
    fn hooks(&self) -> Hooks;
}

impl<P: Proxy, Args: Arguments, E: Send + 'static> Start<P, E> for Spawn<P, Args, E> {
    fn hooks(&self) -> Hooks {
        self.hooks
    }
}

impl<P: Proxy, Args: Arguments, E: Send + 'static> Start<P, E> for Local<P, Args, E> {
    fn hooks(&self) -> Hooks {
        self.hooks
    }
}

/// Starts an actor, runs `body` with its proxy, and ends the actor whatever became of the body.
///
/// # Errors
/// The start's; else the body's own; else that of the end.
///
/// # Panics
/// The body's, after the actor has ended.
pub(crate) async fn run<P, E, T, X>(
    start: impl Start<P, E>,
    body: impl AsyncFnOnce(P) -> Result<T, X>,
) -> Result<T, X>
where
    P: Proxy,
    X: From<SpawnError<E>> + From<ShutdownError> + fmt::Display,
{
    let hooks = start.hooks();
    let inside = Inside {
        proxy: start.await?,
        hooks,
    };
    if let Err(reason) = inside.enter().await {
        if let Err(error) = inside.leave().await {
            tracing::warn!(%error, "the actor of a scope that did not begin ended otherwise");
        }
        return Err(SpawnError::Enter { reason }.into());
    }
    crate::sys::failpoint::at("scope.entered");
    let proxy = inside.proxy.clone();
    let ran = AssertUnwindSafe(body(proxy)).catch_unwind().await;
    let why = match &ran {
        Ok(Ok(_)) => None,
        Ok(Err(own)) => Some(own.to_string()),
        Err(_) => Some("the scope panicked".to_owned()),
    };
    crate::sys::failpoint::at("scope.left");
    let exited = inside.exit(why).await;
    let left = inside.leave().await.and(exited);
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
struct Inside<P: Proxy> {
    proxy: P,
    hooks: Hooks,
}

impl<P: Proxy> Inside<P> {
    /// Runs the hook of the beginning.
    ///
    /// # Errors
    /// What it or its call said.
    async fn enter(&self) -> Result<(), String> {
        if !self.hooks.has(Moment::Enter) {
            return Ok(());
        }
        let handle = self.proxy.__handle();
        let entered = handle.call_fallible::<(), (), String>(ENTER, ()).await;
        entered.map_err(|error| match error {
            CallError::Actor(reason) => reason,
            other => describe(&other.without_own()),
        })
    }

    /// Runs the hook of the end, within the grace. An actor that has ended has none.
    ///
    /// # Errors
    /// What the hook said.
    async fn exit(&self, why: Option<String>) -> Result<(), ShutdownError> {
        if !self.hooks.has(Moment::Exit) {
            return Ok(());
        }
        let handle = self.proxy.__handle();
        let call = handle.call_fallible::<(Option<String>,), (), String>(EXIT, (why,));
        match call.timeout(handle.grace()).await {
            Err(CallError::Actor(reason)) => Err(ShutdownError::Exit { reason }),
            Err(other) => {
                let error = describe(&other.without_own());
                tracing::warn!(error, "`on_exit` was not run");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn leave(self) -> Result<(), ShutdownError> {
        self.proxy.stop().await
    }
}

impl<P: Proxy> Drop for Inside<P> {
    fn drop(&mut self) {
        self.proxy.__handle().ask_to_stop();
    }
}
