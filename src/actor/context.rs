//! What a method can know of the call that it serves, and of its own actor.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::inbox::Post;
use super::legacy::{CheckpointError, StateOf};
use super::server::Work;
use super::signals::Signals;
use crate::sys::clock;
use crate::transport::board::Board;
use crate::wire::chain::{ActorKey, Chain};
use crate::wire::codec::Message;
use crate::wire::id::CallId;
use crate::wire::interface::Interface;

/// The call that a method serves, and the actor that it is a method of.
///
/// A method gets it where its signature asks for a `&Context`, at any place; its callers never see
/// it.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Search;
///
/// #[actor]
/// impl Search {
///     pub fn new() -> Self { Self }
///
///     pub async fn best(&self, context: &Context, of: u64) -> u64 {
///         let mut best = 0;
///         for candidate in 0..of {
///             if context.is_cancelled() {
///                 break; // nobody waits any more
///             }
///             best = best.max(candidate);
///             tokio::task::yield_now().await;
///         }
///         best
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let search = Search::spawn().await?;
///     assert_eq!(search.best(100).await?, 99);
///     search.shutdown().await
/// }
/// ```
pub struct Context {
    call: CallId,
    deadline: Option<u64>,
    chain: Option<Chain>,
    board: Board,
    itself: Itself,
}

/// Whose method it is.
#[derive(Clone)]
pub(crate) struct Itself {
    pub(crate) actor: ActorKey,
    pub(crate) interface: &'static Interface,
    pub(crate) message_len_max: usize,
    pub(crate) signals: Signals,
}

impl Context {
    pub(super) fn new(work: &Work, post: Post<'_>) -> Self {
        Self {
            call: work.head.call,
            deadline: work.head.deadline,
            chain: work.chain().cloned(),
            board: work.board(post).clone(),
            itself: Itself {
                actor: post.actor,
                interface: post.interface,
                message_len_max: post.main.message_len_max(),
                signals: post.signals.clone(),
            },
        }
    }

    /// Whose method it is.
    pub(crate) fn itself(&self) -> &Itself {
        &self.itself
    }

    /// How much time is left until nobody wants the answer any more; none if the call has no bound
    /// that travels.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// fn is_worth_it(context: &callboard::Context) -> bool {
    ///     context.remaining().is_none_or(|left| left > Duration::from_millis(10))
    /// }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(Duration::from_nanos(deadline.saturating_sub(clock::now())))
    }

    /// When nobody wants the answer any more; none if the call has no bound that travels.
    ///
    /// # Examples
    /// ```
    /// fn is_late(context: &callboard::Context) -> bool {
    ///     context.deadline().is_some_and(|deadline| deadline < std::time::Instant::now())
    /// }
    /// ```
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.remaining()?)
    }

    /// Whether nobody wants the answer any more: the call was dropped, or its time is over.
    ///
    /// # Examples
    /// ```
    /// fn goes_on(context: &callboard::Context) -> bool {
    ///     !context.is_cancelled()
    /// }
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let is_late = self
            .deadline
            .is_some_and(|deadline| deadline < clock::now());
        is_late || self.board.is_cancelled(self.call)
    }

    /// Waits until the caller has given the call up.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    ///
    /// # Examples
    /// ```
    /// async fn until_cancelled(context: &callboard::Context) {
    ///     tokio::select! {
    ///         () = context.cancelled() => {}
    ///         () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
    ///     }
    /// }
    /// ```
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + '_ {
        self.itself.signals.cancels().watch(&self.board, self.call)
    }

    /// The names of the actors whose methods await this call, the first caller first. A caller that
    /// is no actor, and one that does not wait, has no name.
    ///
    /// # Examples
    /// ```
    /// fn describe(context: &callboard::Context) -> String {
    ///     format!("called by {}", context.callers().join(" -> "))
    /// }
    /// ```
    #[must_use]
    pub fn callers(&self) -> Vec<String> {
        self.chain.as_ref().map(Chain::names).unwrap_or_default()
    }

    /// Asks this actor to end, as its owner's [`stop`](crate::Proxy::stop) does: what has come in
    /// is still done.
    ///
    /// # Examples
    /// ```
    /// fn enough(context: &callboard::Context, done: u64) {
    ///     if done == 1000 {
    ///         context.stop();
    ///     }
    /// }
    /// ```
    pub fn stop(&self) {
        self.itself.signals.stop();
    }

    /// Leaves `state` to the actor's next life, if a [supervisor](crate::supervision) or a
    /// [pool](crate::pool) starts it again: that one's hook `#[on_restart]` is given it. `A` is the
    /// actor's own type.
    ///
    /// It lies with who starts the actor again, and so outlives any end of this process, SIGKILL
    /// among them. Each state takes the place of the one before, and is given to all lives that
    /// follow until another one does. What `#[on_failure]` or `#[on_stop]` return is left the same
    /// way.
    ///
    /// It costs a few system calls and a copy, not a wait; of an actor that nobody starts again,
    /// nothing.
    ///
    /// # Errors
    /// [`CheckpointError`]; then what was left before still is.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::prelude::*;
    /// use callboard::supervision::{Strategy, Supervisor};
    ///
    /// pub struct Counter(u64);
    ///
    /// #[actor]
    /// impl Counter {
    ///     pub fn new() -> Self { Self(0) }
    ///
    ///     pub fn add(&mut self, context: &Context, by: u64) -> u64 {
    ///         self.0 += by;
    ///         if let Err(error) = context.checkpoint::<Self>(&self.0) {
    ///             eprintln!("{error}");
    ///         }
    ///         self.0
    ///     }
    ///
    ///     pub fn crash(&self) { std::process::abort() }
    ///
    ///     #[on_restart]
    ///     fn resume(&mut self, count: u64) { self.0 = count; }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    ///     let counter = supervisor.spawn(Counter::spawn).await?;
    ///     let mut monitor = counter.monitor();
    ///     assert_eq!(counter.add(5).await?, 5);
    ///     assert!(counter.crash().await.is_err());
    ///     monitor.down().await;
    ///     monitor.next().await;
    ///     assert_eq!(counter.add(2).await?, 7);
    ///     supervisor.stop().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn checkpoint<A>(
        &self,
        state: &(impl StateOf<A> + Message),
    ) -> Result<(), CheckpointError> {
        let legacy = self.itself.signals.legacy();
        legacy.map_or(Ok(()), |legacy| legacy.leave(state))
    }

    /// Starts a task of this actor: it runs beside the methods, and is dropped when the actor ends.
    ///
    /// The calls that it makes are its own: they have no part in this call's bound.
    ///
    /// # Panics
    /// When the actor has ended.
    ///
    /// # Examples
    /// ```
    /// fn log_later(context: &callboard::Context, text: String) {
    ///     context.spawn(async move {
    ///         tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ///         println!("{text}");
    ///     });
    /// }
    /// ```
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.itself.signals.spawn(task)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("remaining", &self.remaining())
            .field("callers", &self.callers())
            .finish_non_exhaustive()
    }
}
