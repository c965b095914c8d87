//! Answers that need no ring: within one process, who answers puts the answer where its caller
//! looks.
//!
//! ```text
//!  caller ── request ring ──> server        calls wait for the server: they need a queue
//!  caller <──── take_in ───── server        an answer has its place: that of its call
//! ```
//!
//! Nothing waits for room on this way, and no bell is rung for it. Nor is one rung for a call: the
//! server's waker hangs beside the request ring, under the lock that its senders have anyway.

use std::fmt;
use std::task::Waker;

use crate::wire::attached::Attached;
use crate::wire::frame::Head;

/// The calling end of a link within one process, as its serving end sees it.
pub(crate) trait Addressee: Send + Sync {
    /// Takes in a frame, whole, with the memory beside it, and wakes whose it is.
    fn take_in(&self, head: &Head, body: &[u8], attached: &Attached);

    /// Has this task woken by calls that come while the server dozes, in place of its bell.
    fn wake_by_calls(&self, waker: &Waker);

    /// There may be room for calls: who waits for it looks again.
    fn tell_of_room(&self);
}

impl fmt::Debug for dyn Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Addressee")
    }
}
