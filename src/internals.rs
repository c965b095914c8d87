//! Where the benches come in: the ring and the codec, which users meet only through calls.
//!
//! Each function is one step of the room behind it, and does nothing of its own. Nothing here is
//! stable.

use std::sync::Arc;

use crate::ring::{CONTROL_WORDS, Consumer, Place, Producer, WORD};
use crate::sys::memory::Segment;
use crate::transport::board::Memory;
use crate::wire::codec;
use crate::{DecodeError, EncodeError, Message};

/// The two ends of a ring of `capacity` bytes in this process's memory.
///
/// # Panics
/// When `capacity` is no power of two of at least 64.
#[must_use]
pub fn ring(capacity: usize) -> (Writer, Reader) {
    let place = Place::new(0, CONTROL_WORDS, capacity);
    let memory = Memory(Arc::new(Segment::private(place.end() * WORD)));
    (
        Writer(Producer::new(memory.clone(), place)),
        Reader(Consumer::new(memory, place)),
    )
}

/// A ring's writing end.
#[derive(Debug)]
pub struct Writer(Producer<Memory>);

impl Writer {
    /// Claims, writes and commits one record; false if the ring is full.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        let Ok(mut claim) = self.0.claim(bytes.len()) else {
            return false;
        };
        claim.write(bytes);
        claim.commit(0);
        true
    }

    /// Says whether the reader sleeps and must be rung.
    #[inline]
    #[must_use]
    pub fn announce(&self) -> bool {
        self.0.announce()
    }
}

/// A ring's reading end.
#[derive(Debug)]
pub struct Reader(Consumer<Memory>);

impl Reader {
    /// Reads and releases the next record, if there is one. It must be as long as `bytes`.
    ///
    /// # Panics
    /// When it is shorter.
    #[inline]
    pub fn read(&mut self, bytes: &mut [u8]) -> bool {
        let Ok(Some(record)) = self.0.read() else {
            return false;
        };
        record.copy_to(0, bytes);
        record.release();
        true
    }
}

/// Encodes `message` into memory of this thread and hands the archive to `use_bytes`.
///
/// # Errors
/// [`EncodeError`] when the type cannot be archived.
#[inline]
pub fn encode<M: Message, R>(
    message: &M,
    use_bytes: impl FnOnce(&[u8]) -> R,
) -> Result<R, EncodeError> {
    codec::encode(message, usize::MAX, use_bytes)
}

/// Checks `bytes`, which begin at a multiple of 16, and copies the value out of them.
///
/// # Errors
/// [`DecodeError`] when they are no archive of `M`.
#[inline]
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    codec::decode(bytes)
}
