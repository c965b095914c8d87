//! Large pages behind private memory that is about to be filled.
//!
//! Memory that is touched for the first time comes page by page: of 4 KiB, 64 MiB take longer to
//! come than to be copied. Where the system gives large pages to those who ask (`madvise`, as most
//! do), they come five hundred at a time.

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use rkyv::util::AlignedVec;

use super::body::ALIGNMENT;

/// A large page; where it is larger, the system takes of the advice what fits.
const LEN: usize = 2 << 20;

/// Less than this is not worth a word to the system.
const LEN_MIN: usize = 4 << 20;

/// Asks for large pages behind the whole capacity of `bytes`, if that is much. What is in it stays,
/// and what is not touched still takes no memory.
pub(crate) fn ask(bytes: &mut AlignedVec<ALIGNMENT>) {
    let (begin, capacity) = (bytes.as_mut_ptr(), bytes.capacity());
    let skip = begin.align_offset(LEN);
    let len = capacity.saturating_sub(skip) / LEN * LEN;
    let Some(begin) = NonNull::new(begin.wrapping_add(skip)).filter(|_| len >= LEN_MIN) else {
        return;
    };
    // SAFETY: the range lies within memory that the vector owns, and the advice changes no byte.
    if let Err(error) = unsafe { madvise(begin.cast(), len, MmapAdvise::MADV_HUGEPAGE) } {
        tracing::trace!(%error, "there are no large pages");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the memory stays, whatever its length and wherever it begins.
    #[test]
    fn asking_changes_nothing() {
        for len in [0, 1, LEN, 3 * LEN + 5] {
            let mut bytes = AlignedVec::with_capacity(2 * len);
            bytes.resize(len, 7);
            ask(&mut bytes);
            assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == 7));
            bytes.resize(2 * len, 8);
            assert!(bytes[len..].iter().all(|byte| *byte == 8));
        }
    }
}
