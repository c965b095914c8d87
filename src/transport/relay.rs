//! What the parts of a link ask of the one who carries its records on, where the peer does not see
//! the link's memory.
//!
//! Over shared memory there is none: the peer sees each store. Over a [stream](super::stream) there
//! is one per end.

use std::fmt;

use tokio::sync::Notify;

use super::receiver::LinkError;
use crate::wire::id::CallId;

/// Carries one end's records to the peer, and the peer's records here.
pub(crate) trait Relay: fmt::Debug + Send + Sync {
    /// Something is to go out: a record, or room for the peer's records. What the way has room for
    /// is on it when this returns.
    fn kick(&self);

    /// Nobody wants the answer of `call` any more.
    fn cancel(&self, call: CallId);

    /// Hands over what the caller has cancelled since the last time.
    fn hear_cancels(&self, cancel: &mut dyn FnMut(CallId));

    /// The owner has read so many more bytes of its ring, and will do now what they say.
    fn note_read(&self, bytes: u64);

    /// The peer's owner has read no further than this.
    fn read_at_most(&self) -> u64;

    /// Leaves words for the peer to find when this process is gone.
    fn leave_last_words(&self, words: &[u8]);

    /// What the dead peer has left, if anything, the first time.
    fn take_last_words(&self) -> Option<Vec<u8>>;

    /// What ended the way, if something did that is no death.
    fn fault(&self) -> Option<LinkError>;

    /// Calls `then` once all has come in that the caller had sent when it asked us to stop.
    fn settle(&self, then: Box<dyn FnOnce() + Send>);

    /// Whether all that the owner has sent is on its way, or never will be.
    fn is_flushed(&self) -> bool;

    /// Told when that may have become true.
    fn flushed(&self) -> &Notify;
}
