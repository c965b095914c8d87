//! Streams of items over a link: written at one end, read at the other, with credit.
//!
//! ```text
//!  writer (outflow)                               reader (inflow)
//!    polls the stream while it has credit  ─ Items ─>  gives them out one by one
//!    waits without                        <─ Credit ─  half a window was taken
//!    the stream has ended, or panicked    ─ Finish ─>  the end, or the error
//!    drops the stream                     <─ Close ──  nobody reads any more
//! ```
//!
//! A stream has a number that the link's caller gave it, and one direction; who opens it, and by
//! which call, is not known here. What is written ahead of the reader is bounded in items and in
//! bytes, at both ends: a writer has no credit for more, and a reader that is sent more has a peer
//! that breaks the rules. Frames of a stream that has ended meet nobody; where they could mean that
//! the other end waits, it is told again.

#![forbid(unsafe_code)]

pub(crate) mod window;
pub(crate) mod parcel;
pub(crate) mod large;
pub(crate) mod table;
pub(crate) mod inflow;
pub(crate) mod outflow;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use large::Room;
use table::Flows;
use tokio::runtime::Handle;
pub(crate) use window::{Feed, Finish, Opening, Window};

use crate::transport::sender::SendError;
use crate::wire::attached::Attached;
use crate::wire::codec::{self, Buffer};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

/// The number of a stream on its link; never used again there.
pub(crate) type StreamId = u64;

/// The number of a new stream on a link whose caller we are. It is never used again by this
/// process: which of its links the stream goes over may be open until its call is sent.
pub(crate) fn number() -> StreamId {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the numbers only have to differ, nothing is passed on with them.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// The most streams that are open at once on one link, in both directions together.
pub(crate) const STREAMS_MAX: usize = 256;

/// A frame on its way, when there is room for it.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>;

/// One end of a link, as its streams use it.
pub(crate) trait Way: Send + Sync {
    /// The streams of this end.
    fn flows(&self) -> &Flows;

    /// Where items lie that are too long for a frame, if there is such a place.
    fn room(&self) -> Option<Room> {
        None
    }

    /// Sends a frame now.
    fn try_send(&self, head: &Head, body: &[u8], attached: &Attached) -> Result<(), SendError>;

    /// Sends a frame when there is room.
    fn send(self: Arc<Self>, head: Head, body: Buffer, attached: Attached) -> Sending;

    /// A stream is open: somebody has to look for its frames.
    fn listen(self: Arc<Self>);

    /// It is open no more.
    fn unlisten(&self);

    /// Takes in what has come, where any task may do that.
    fn hear(&self);
}

/// The header of a stream's frame.
pub(crate) fn head(kind: Kind, number: u16, id: StreamId) -> Head {
    Head::new(kind, number, CallId::from_bits(id))
}

/// Sends a frame that must arrive, from where nobody can wait: where it finds no room, a task
/// waits for that.
fn post(way: &Arc<dyn Way>, runtime: Option<&Handle>, head: Head, body: &[u8]) {
    let alone = Attached::default();
    if way.try_send(&head, body, &alone) != Err(SendError::Full) {
        return;
    }
    let runtime = runtime.cloned().or_else(|| Handle::try_current().ok());
    if let Some(runtime) = runtime {
        let sending = Arc::clone(way).send(head, codec::copy(body), alone);
        runtime.spawn(async {
            // A link that has ended needs to know nothing any more.
            let _ = sending.await;
        });
    }
}
