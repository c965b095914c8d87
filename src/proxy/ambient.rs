//! On whose behalf this thread makes calls: what a method's own calls inherit from the call that it
//! serves.
//!
//! ```text
//!  server: within(serving, method) ── sets ──> this thread's word <── asks ── a call that is made
//! ```
//!
//! It is set while a method's code runs, and only then: a task that a method starts makes calls of
//! its own. What is inherited: the deadline, because nobody wants the answer later, and the chain of
//! those who wait, so that a call that would wait for itself is an error and no hang.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::clock;
use crate::wire::chain::{ActorKey, Chain, Waiting};

/// A method that runs, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// The actor whose method it is.
    pub(crate) actor: ActorKey,
    /// It runs alone.
    pub(crate) exclusive: bool,
    /// When nobody waits for it any more, on the machine's clock.
    pub(crate) deadline: Option<u64>,
    /// Those who wait for it.
    pub(crate) chain: Option<Chain>,
}

thread_local! {
    static SERVING: RefCell<Option<Serving>> = const { RefCell::new(None) };
}

/// Runs `method`, whose calls are made on behalf of `serving`.
#[inline]
pub(crate) fn within<T>(serving: Serving, method: impl FnOnce() -> T) -> T {
    let _restored = Restored(SERVING.replace(Some(serving)));
    method()
}

/// Runs `method` to its end, its calls being made on behalf of `serving`.
pub(crate) async fn within_async<F: Future>(serving: Serving, method: F) -> F::Output {
    let mut method = pin!(method);
    poll_fn(|cx| within(serving.clone(), || method.as_mut().poll(cx))).await
}

/// Puts back what was set before, also behind a panic.
struct Restored(Option<Serving>);

impl Drop for Restored {
    fn drop(&mut self) {
        SERVING.set(self.0.take());
    }
}

/// What a call inherits.
pub(crate) struct Inherited(Serving);

/// A call that would wait for itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    /// Who waits for whom; the first is the last.
    pub(crate) names: Vec<String>,
}

/// What a call that is made now inherits; nothing outside of methods.
#[inline]
pub(crate) fn inherited() -> Option<Inherited> {
    SERVING.with_borrow(|serving| serving.clone().map(Inherited))
}

impl Inherited {
    /// The time that is left for a call that may take `own`.
    pub(crate) fn timeout(&self, own: Option<Duration>) -> Option<Duration> {
        let Some(deadline) = self.0.deadline else {
            return own;
        };
        let left = Duration::from_nanos(deadline.saturating_sub(clock::now()));
        Some(own.map_or(left, |own| own.min(left)))
    }

    /// The chain of an awaited call of `callee`, whose method runs alone if `exclusive`; none if
    /// it is too deep to go on.
    ///
    /// # Errors
    /// [`Circle`] when the call would wait for itself.
    pub(crate) fn chain(&self, callee: ActorKey, exclusive: bool) -> Result<Option<Chain>, Circle> {
        let own = Waiting {
            actor: self.0.actor,
            exclusive: self.0.exclusive,
            name: name_of(self.0.actor),
        };
        let before = self.0.chain.clone().unwrap_or_default();
        let Some(chain) = before.and(own) else {
            return Ok(None);
        };
        if chain.closes(callee, exclusive) {
            let mut names = chain.names_from(callee);
            names.extend(names.first().cloned());
            return Err(Circle { names });
        }
        Ok(Some(chain))
    }
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
