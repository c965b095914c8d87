//! On whose behalf this thread makes calls: what a method's own calls inherit from the call that it
//! serves.
//!
//! ```text
//!  server: within(serving, method) ── sets ──> this thread's word <── asks ── a new call
//! ```
//!
//! It is set while a method's code runs, and only then: a task that a method starts makes calls
//! of its own. What is inherited: the deadline, because nobody wants the answer later, and the
//! chain of those who wait, so that a call that would wait for itself is an error and no hang.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::{CallError, Outcome};
use crate::sys::clock;
use crate::wire::chain::{ActorKey, Chain, Waiting};
use crate::wire::codec::Buffer;
use crate::wire::frame::Head;

/// A method that runs, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving {
    /// The actor whose method it is.
    pub(crate) actor: ActorKey,
    /// It runs alone.
    pub(crate) exclusive: bool,
    /// When nobody waits for it any more, on the machine's clock.
    pub(crate) deadline: Option<u64>,
}

thread_local! {
    static SERVING: Cell<Option<(Serving, IsChained)>> = const { Cell::new(None) };
    /// Those who wait for the method that serves, if it is chained: few are, and the others pay
    /// nothing for it.
    static CHAIN: RefCell<Option<Chain>> = const { RefCell::new(None) };
}

type IsChained = bool;

/// Runs `method`, whose calls are made on behalf of `serving`, for which those of `chain` wait.
#[inline]
pub(crate) fn within<T>(serving: Serving, chain: Option<&Chain>, method: impl FnOnce() -> T) -> T {
    let _restored = Restored {
        serving: SERVING.replace(Some((serving, chain.is_some()))),
        chain: chain.map(|chain| CHAIN.replace(Some(chain.clone()))),
    };
    method()
}

/// Runs `method` to its end, its calls being made on behalf of `serving`.
pub(crate) async fn within_async<F: Future>(
    serving: Serving,
    chain: Option<&Chain>,
    method: F,
) -> F::Output {
    let mut method = pin!(method);
    poll_fn(|cx| within(serving, chain, || method.as_mut().poll(cx))).await
}

/// Puts back what was set before, also behind a panic.
struct Restored {
    serving: Option<(Serving, IsChained)>,
    /// None: it was not touched.
    chain: Option<Option<Chain>>,
}

impl Drop for Restored {
    #[inline]
    fn drop(&mut self) {
        SERVING.set(self.serving);
        if let Some(chain) = self.chain.take() {
            CHAIN.set(chain);
        }
    }
}

/// What a call inherits.
pub(crate) struct Inherited {
    serving: Serving,
    chain: Option<Chain>,
}

/// What a call that is made now inherits; nothing outside of methods.
#[inline]
pub(crate) fn inherited() -> Option<Inherited> {
    let (serving, is_chained) = SERVING.get()?;
    let chain = if is_chained {
        CHAIN.with_borrow(Option::clone)
    } else {
        None
    };
    Some(Inherited { serving, chain })
}

impl Inherited {
    /// The time that is left for a call that may take `own`.
    ///
    /// # Errors
    /// [`CallError::Timeout`] when there is none.
    pub(crate) fn timeout<E>(
        &self,
        own: Option<Duration>,
    ) -> Result<Option<Duration>, CallError<E>> {
        let Some(deadline) = self.serving.deadline else {
            return Ok(own);
        };
        let left = Duration::from_nanos(deadline.saturating_sub(clock::now()));
        let after = own.map_or(left, |own| own.min(left));
        if after.is_zero() {
            let outcome = Outcome::NotRun;
            return Err(CallError::Timeout { after, outcome });
        }
        Ok(Some(after))
    }

    /// The chain of an awaited call of `callee`, whose method runs alone if `exclusive`.
    ///
    /// # Errors
    /// [`CallError::Cycle`] when the call would wait for itself, [`CallError::TooDeep`].
    pub(crate) fn chain<E>(
        &self,
        (callee, exclusive): (ActorKey, bool),
    ) -> Result<Chain, CallError<E>> {
        let own = Waiting {
            actor: self.serving.actor,
            exclusive: self.serving.exclusive,
            name: name_of(self.serving.actor),
        };
        let before = self.chain.clone().unwrap_or_default();
        let chain = before.and(own).ok_or(CallError::TooDeep)?;
        if chain.closes(callee, exclusive) {
            let mut names = chain.names_from(callee);
            names.extend(names.first().cloned());
            return Err(CallError::Cycle { chain: names });
        }
        Ok(chain)
    }
}

/// A header and payload with the chain behind it.
pub(crate) fn chained(head: Head, mut body: Buffer, chain: &Chain) -> (Head, Buffer) {
    let len = body.len();
    chain.write(|bytes| body.extend_from_slice(bytes));
    let chain_len = (body.len() - len) as u64;
    (Head { chain_len, ..head }, body)
}

/// The names of the actors that this process serves.
static NAMES: Mutex<Option<HashMap<ActorKey, Arc<str>>>> = Mutex::new(None);

fn names() -> MutexGuard<'static, Option<HashMap<ActorKey, Arc<str>>>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of an actor of this process, as long as this lives.
#[derive(Debug)]
pub(crate) struct Named(ActorKey);

impl Named {
    pub(crate) fn new(actor: ActorKey, name: &str) -> Self {
        let mut names = names();
        names.get_or_insert_default().insert(actor, name.into());
        Self(actor)
    }

    pub(crate) fn actor(&self) -> ActorKey {
        self.0
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(names) = &mut *names() {
            names.remove(&self.0);
        }
    }
}

fn name_of(actor: ActorKey) -> Arc<str> {
    let names = names();
    let name = names.as_ref().and_then(|names| names.get(&actor));
    name.map_or_else(|| "?".into(), Arc::clone)
}
