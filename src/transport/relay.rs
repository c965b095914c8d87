//! What the parts of a link ask of the one who carries its records on, where the peer does not see
//! the link's memory.
//!
//! Over shared memory there is none: the peer sees each store. Over a [stream](super::stream) there
//! is one per end.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::farewell::while_it_goes;
use super::receiver::LinkError;
use super::unreached::Unreached;
use crate::wire::id::CallId;

/// How long an actor that ends waits for room for its last answers.
const FLUSHED_WITHIN: Duration = Duration::from_secs(10);

/// How long a remote caller may take nothing of the last answers, and how long it may take to hear
/// that the actor has ended.
const PARTED_WITHIN: Duration = Duration::from_secs(1);

/// How long remote callers may take for the last answers, however they go on: less than an actor
/// has to end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Runs when a stream to a remote peer has ended, and all was taken in that came before.
pub(crate) type OnParting = Box<dyn FnOnce(Parting) + Send>;

/// How a stream to a remote peer has ended.
#[derive(Debug)]
pub(crate) enum Parting {
    /// The actor has ended in order, and said so.
    Bye,
    /// It was this side that ended it.
    Cut,
    /// Without a word.
    Lost(Unreached),
    /// The peer broke the rules.
    Broken(LinkError),
}

/// Carries one end's records to the peer, and the peer's records here.
pub(crate) trait Relay: fmt::Debug + Send + Sync {
    /// Something is to go out: a record, or room for the peer's records. What the way has room for
    /// is on it when this returns.
    fn kick(&self);

    /// Something is to go out that nobody need put on its way at once.
    fn stir(&self);

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

    /// Says to the caller, behind the last answer, that the actor has ended in order.
    fn part(&self);

    /// What the peer calls `time`, on this machine's clock.
    fn local_time(&self, time: u64) -> u64;

    /// Whether nothing goes or comes any more.
    fn is_over(&self) -> bool;

    /// Whether all that the owner has sent is on its way, or never will be.
    fn is_flushed(&self) -> bool;

    /// Told when one of the last two may have become true.
    fn flushed(&self) -> &Notify;
}

/// Waits until all that the owner has sent is on its way, or it is time to go without.
pub(crate) async fn flush(relay: &dyn Relay) {
    let flushed = until(relay, || relay.is_flushed());
    if timeout(FLUSHED_WITHIN, flushed).await.is_err() {
        tracing::warn!("the peer takes no answers; the last ones are lost");
    }
}

/// Lets the last answers go out over a stream to a remote caller, `is_orderly` with the word that
/// they are the last, and waits until the caller has closed it, or it is time to go without.
pub(crate) async fn part(relay: &dyn Relay, is_orderly: bool) {
    let flushing = pin!(until(relay, || relay.is_flushed()));
    let flushing = while_it_goes(PARTED_WITHIN, || relay.read_at_most(), flushing);
    let flushed = timeout(ANSWERED_WITHIN, flushing).await;
    let mut is_heard = flushed.unwrap_or(false);
    if is_heard && is_orderly {
        relay.part();
        // To close it first would throw away what is on its way.
        let over = until(relay, || relay.is_over());
        is_heard = timeout(PARTED_WITHIN, over).await.is_ok();
    }
    if !is_heard {
        tracing::debug!("a remote caller does not take the last answers");
    }
}

async fn until(relay: &dyn Relay, is_so: impl Fn() -> bool) {
    loop {
        let mut told = pin!(relay.flushed().notified());
        told.as_mut().enable();
        if is_so() {
            return;
        }
        told.await;
    }
}
