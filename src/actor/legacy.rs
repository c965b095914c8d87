//! What one life of an actor leaves to the next.
//!
//! ```text
//!  checkpoint ─┐
//!  on_failure ─┼─> archive ─> sealed memory ─> who starts it again ─> the next life: on_restart
//!  on_stop ────┘
//! ```
//!
//! Whoever keeps it is another process, or at least not the actor: what was left is there however
//! the actor ends. The last that was left counts, also for the lives after the next.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::sys::sealed::{BlobBuilder, BlobError, Sealed};
use crate::wire::codec::{self, EncodeError, Message};

/// The longest archive of a state in bytes.
const STATE_LEN_MAX: usize = 64 << 20;

/// What the next life of an `A` may be given: the type that its `#[on_restart]` takes.
///
/// `#[actor]` implements it. See [`Context::checkpoint`](crate::Context::checkpoint).
///
/// # Examples
/// ```
/// use callboard::StateOf;
/// use callboard::prelude::*;
///
/// pub struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     pub fn new() -> Self { Self(0) }
///     #[on_restart]
///     fn resume(&mut self, count: u64) { self.0 = count; }
/// }
///
/// fn is_state<S: StateOf<Counter>>(_: &S) {}
/// is_state(&7_u64);
/// ```
#[diagnostic::on_unimplemented(
    message = "the next life of a `{A}` is not given a `{Self}`",
    label = "not what its `#[on_restart]` takes",
    note = "an actor's hook `#[on_restart]` says what it is given: \
            `#[on_restart] fn resume(&mut self, state: {Self}) {{ .. }}`"
)]
pub trait StateOf<A> {}

/// A state could not be left to the next life; what was left before still is.
///
/// # Examples
/// ```
/// fn is_the_states_fault(error: &callboard::CheckpointError) -> bool {
///     matches!(error, callboard::CheckpointError::Encode(_))
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// It is longer than 64 MiB, has blobs in it, or its own archiving fails.
    #[error("the state cannot be archived")]
    Encode(#[source] EncodeError),
    /// The system has no memory or no descriptors for it.
    #[error("there is no room for the state")]
    Resources(#[source] BlobError),
    /// Who keeps it has not taken it within three seconds, or is gone.
    #[error("nobody has taken the state")]
    Refused(#[source] io::Error),
}

/// Hands a state to whoever keeps it.
pub(crate) type Keep = Box<dyn Fn(&Sealed) -> io::Result<()> + Send + Sync>;

/// Where an actor leaves its state, and finds that of the life before.
pub(crate) struct Legacy {
    left: Mutex<Option<Sealed>>,
    keep: Keep,
}

impl Legacy {
    /// What was `left` by the life before, and where this one's goes.
    pub(crate) fn new(left: Option<Sealed>, keep: Keep) -> Self {
        Self {
            left: Mutex::new(left),
            keep,
        }
    }

    /// What the life before has left; asked once.
    pub(super) fn take(&self) -> Option<Sealed> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.take()
    }

    /// Leaves `state` to the next life.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub(super) fn leave<M: Message>(&self, state: &M) -> Result<(), CheckpointError> {
        let sealed = codec::encode(state, STATE_LEN_MAX, |bytes| {
            let mut memory = BlobBuilder::alloc(bytes.len())?;
            memory.as_mut_slice().copy_from_slice(bytes);
            memory.into_sealed()
        });
        let sealed = sealed.map_err(CheckpointError::Encode)?;
        let sealed = sealed.map_err(CheckpointError::Resources)?;
        (self.keep)(&sealed).map_err(CheckpointError::Refused)
    }
}

impl fmt::Debug for Legacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Legacy").finish_non_exhaustive()
    }
}

/// What the life before has left, as the hook is given it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Left<'a>(pub(super) &'a Sealed);

impl Left<'_> {
    /// The state.
    ///
    /// # Errors
    /// What is wrong with it: another program has left it.
    pub fn read<M: Message>(self) -> Result<M, String> {
        let read = codec::decode(self.0.bytes());
        read.map_err(|error| format!("what the life before has left cannot be read: {error}"))
    }
}

/// Who is left what a last hook returns, if there is anybody.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Heir<'a>(pub(super) Option<&'a Legacy>);

impl Heir<'_> {
    /// Leaves the state of an `A`.
    ///
    /// # Errors
    /// What went wrong.
    pub fn leave<A>(self, state: &(impl StateOf<A> + Message)) -> Result<(), String> {
        let Some(legacy) = self.0 else { return Ok(()) };
        let left = legacy.leave(state);
        left.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })
    }
}
