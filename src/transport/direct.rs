//! Answers that need no ring: within one process, who answers puts the answer where its caller
//! looks.
//!
//! ```text
//!  caller ── request ring ──> server        calls wait for the server: they need a queue
//!  caller <──── take_in ───── server        an answer has its place: that of its call
//! ```
//!
//! Nothing waits for room on this way, and no bell is rung for it. Nor is one rung for a call: the
//! server's waker hangs beside the request ring, under the lock that its senders have anyway. Who
//! takes an answer in sees there, too, whether the server has read all calls, and promises to wake
//! it for the next one: then it sleeps without a word.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use crate::wire::attached::Attached;
use crate::wire::frame::Head;

/// The calling end of a link within one process, as its serving end sees it.
pub(crate) trait Addressee: Send + Sync {
    /// Takes in a frame, whole, with the memory beside it, and wakes whose it is.
    fn take_in(&self, head: &Head, body: &[u8], attached: &Attached);

    /// Has this task woken by calls that come while the server dozes, in place of its bell.
    fn wake_by_calls(&self, waker: &Waker);

    /// Whether the next call wakes the server's task; there is none before it.
    fn has_promised(&self) -> bool;

    /// Whether the server, whose task hears of calls, may wait for the next one. False: there is
    /// one already.
    fn lets_doze(&self) -> bool;

    /// There may be room for calls: who waits for it looks again.
    fn tell_of_room(&self);
}

/// That a server is woken for the next call. Given and taken back under the lock of those who call;
/// the server may see without it whether the promise still stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise(Arc<AtomicBool>);

impl Promise {
    #[inline]
    pub(crate) fn stands(&self) -> bool {
        // ORDERING: Relaxed; whoever takes it back wakes the server after that, which therefore
        // looks again, whatever it saw here.
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, stands: bool) {
        // ORDERING: Relaxed; only holders of the lock write, and only the server reads without it.
        self.0.store(stands, Ordering::Relaxed);
    }
}

/// The server's task, as those who call it wake it.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) waker: Waker,
    pub(crate) promise: Promise,
}

impl Reader {
    /// Wakes the server, if that was promised: there is a call.
    #[inline]
    pub(super) fn call(&self) {
        if self.promise.stands() {
            self.promise.set(false);
            self.waker.wake_by_ref();
        }
    }

    /// Promises to wake it for the next call, which has not come yet.
    #[inline]
    pub(super) fn promise(&self) {
        self.promise.set(true);
    }
}

impl fmt::Debug for dyn Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addressee")
    }
}
