//! How a frame says which memory goes with it, and how the peer is shown what is new.

use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;

use super::{EVICTED, LIST_LEN_MAX, Porter, SHOWN_MAX, Way, YOURS, packet};
use crate::transport::sender::SendError;
use crate::wire::attached::Attached;
use crate::wire::holding::{Hold, lock};

/// What was named last, for who names it again: without a look into the tables.
///
/// It is right as long as nothing has changed. Until then the tables keep the memory, so that no
/// other one lies at its address. And a number may be named until the peer was told that it will
/// not be: that is told by the same sender, after the change.
#[derive(Debug, Default)]
pub(crate) struct Known {
    changes: u64,
    /// Its address.
    memory: usize,
    entry: u64,
}

impl Porter {
    /// What a frame says of `attached`, if one number says it: that of a single memory, which is
    /// shown to the peer if it is new. None: they need a [list](Self::list).
    ///
    /// # Errors
    /// As `list`.
    #[inline]
    pub(crate) fn name(
        &self,
        attached: &Attached,
        known: &mut Known,
    ) -> Result<Option<u64>, SendError> {
        if let Some(lying) = &self.here {
            let mut lying = lock(lying);
            lying.next += 1;
            let ticket = lying.next;
            lying.lists.insert(ticket, attached.clone());
            return Ok(Some(ticket));
        }
        let Some((hold, used)) = attached.only() else {
            return Ok(None);
        };
        // Relaxed: what changes is said to the peer under the lock of who names, and later.
        let changes = self.changes.load(Ordering::Relaxed);
        if (known.changes, known.memory) == (changes, hold.address()) {
            return Ok(Some(known.entry));
        }
        let entry = self.number_of(hold, &used)?;
        // To another machine it is asked each time, whether all has arrived.
        if !self.is_remote() {
            *known = Known {
                changes,
                memory: hold.address(),
                entry,
            };
        }
        Ok(Some(entry))
    }

    /// The frame was not sent that was to name it.
    #[cold]
    pub(crate) fn take_back(&self, ticket: u64) {
        if let Some(lying) = &self.here {
            let taken_back = lock(lying).lists.remove(&ticket);
            drop(taken_back);
        }
    }

    /// Writes down what `attached` is to the peer, and shows it what is new; gives the length of
    /// the list.
    ///
    /// # Errors
    /// [`SendError::Full`] when the peer has got too many, or the way is full;
    /// [`SendError::Closed`] when all was let go.
    pub(crate) fn list(
        &self,
        attached: &Attached,
        list: &mut [u8; LIST_LEN_MAX],
    ) -> Result<usize, SendError> {
        let mut len = 0;
        for (place, (hold, used)) in list.chunks_exact_mut(8).zip(attached.used()) {
            place.copy_from_slice(&self.number_of(hold, &used)?.to_le_bytes());
            len += 8;
        }
        Ok(len)
    }

    fn number_of(&self, hold: &Hold, used: &Range<usize>) -> Result<u64, SendError> {
        let identity = hold.identity();
        let mut tables = lock(&self.tables);
        if let Some(theirs) = tables.theirs.get(&identity) {
            return Ok(theirs << 1 | YOURS);
        }
        if let Some(ours) = tables.number(identity, used) {
            return match &tables.way {
                Way::Freight(freight) if freight.is_under_way(ours) => Err(SendError::Unconveyed),
                _ => Ok(ours << 1),
            };
        }
        let socket = match &tables.way {
            Way::Socket(socket) => socket,
            // Its content is still on its way, or was not thought of.
            Way::Freight(_) => return Err(SendError::Unconveyed),
            Way::None => return Err(SendError::Closed),
        };
        if tables.shown.len() >= SHOWN_MAX {
            tables.evict(EVICTED);
            self.note_due(&tables);
            drop(tables);
            self.wake();
            return Err(SendError::Full);
        }
        let number = tables.last + 1;
        let packet = packet(number, hold.pages().len() as u64, hold.access());
        match socket.send(&packet, &[hold.pages().as_fd()]) {
            Ok(()) => {}
            // The dead are told of by others.
            Err(error) if is_gone(&error) => {}
            // Who makes room for descriptors of this user that are on their way may be nobody of
            // ours: the peer learns that there was none.
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                socket.send(&packet, &[]).map_err(|_| SendError::Full)?;
            }
            // The way is full until the peer takes something: it rings then. Or the system has no
            // memory just now: the caller's clock has it tried again.
            Err(_) => return Err(SendError::Full),
        }
        tables.show(number, (hold.keep(), None), 0);
        drop(tables);
        hold.note_shown(self.own.clone());
        Ok(number << 1)
    }
}

/// Whether the peer's end is closed.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}
