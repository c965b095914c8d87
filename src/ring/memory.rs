//! Copying bytes into and out of memory that another process may write.
//!
//! The words are atomics, so shared references to them are sound; the bytes of a record are moved
//! as a plain copy, because an honest peer does not touch them meanwhile (the word's Release and
//! Acquire order the two sides). A dishonest peer can make the copy hold any bytes, and nothing
//! else: whoever copies checks the copy.

#[cfg(not(loom))]
use std::mem::MaybeUninit;

use super::atomic::AtomicU64;
use super::layout::WORD;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Asks for the cache line of word `index`, and waits for nothing.
#[inline]
pub(super) fn prefetch(words: &[AtomicU64], index: usize) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    if let Some(word) = words.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it reads nothing into the program and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = (words, index);
}

/// Copies `bytes` to byte `at` of the words.
///
/// # Panics
/// When they do not fit.
#[cfg(not(loom))]
pub(crate) fn copy_in(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    assert!(
        holds(words, at, bytes.len()),
        "copies stay inside the words"
    );
    let to = words.as_ptr().cast_mut().cast::<u8>().wrapping_add(at);
    // SAFETY: `to` is valid for `bytes.len()` writes: checked above, and atomics may be written
    // through a shared reference. The regions do not overlap: `bytes` is private memory, of which
    // the words are no part. Nothing in this process reads the room meanwhile: it lies in a claim,
    // which is exclusive.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

/// Copies from byte `at` of the words to where nothing was written yet, and gives what was written.
///
/// # Panics
/// When the words end before.
#[cfg(not(loom))]
pub(super) fn copy_to_new<'a>(
    words: &[AtomicU64],
    at: usize,
    room: &'a mut [MaybeUninit<u8>],
) -> &'a mut [u8] {
    assert!(holds(words, at, room.len()), "copies stay inside the words");
    let (from, len) = (words.as_ptr().cast::<u8>().wrapping_add(at), room.len());
    let to = room.as_mut_ptr().cast::<u8>();
    // SAFETY: as in `copy_out`; what is only written may hold anything before.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    // SAFETY: all of the room was written above, and is borrowed uniquely as long as this is.
    unsafe { std::slice::from_raw_parts_mut(to, len) }
}

/// Copies from byte `at` of the words into `bytes`.
///
/// # Panics
/// When the words end before.
#[cfg(not(loom))]
pub(crate) fn copy_out(words: &[AtomicU64], at: usize, bytes: &mut [u8]) {
    assert!(
        holds(words, at, bytes.len()),
        "copies stay inside the words"
    );
    let from = words.as_ptr().cast::<u8>().wrapping_add(at);
    // SAFETY: `from` is valid for `bytes.len()` reads: checked above. The regions do not overlap:
    // `bytes` is a unique reference to private memory. The producer of this process or of an honest
    // peer does not write a committed record; a dishonest peer changes only which bytes are copied.
    unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
}

/// Whether `len` bytes from byte `at` on lie inside the words.
#[cfg(not(loom))]
fn holds(words: &[AtomicU64], at: usize, len: usize) -> bool {
    at.checked_add(len)
        .is_some_and(|end| end <= words.len() * WORD)
}

/// The copies of a model, word by word. Loom never lets a load see a store of its future, so a
/// relaxed load could not show that a record is overwritten before it is copied out; the
/// unsynchronized load of [`copy_out`] fails the model whenever the ring's orderings do not keep
/// the two sides apart.
#[cfg(loom)]
pub(crate) fn copy_in(words: &[AtomicU64], at: usize, bytes: &[u8]) {
    use super::atomic::Ordering;
    assert!(
        at % WORD == 0 && bytes.len() % WORD == 0,
        "models copy whole words"
    );
    for (index, chunk) in bytes.chunks_exact(WORD).enumerate() {
        let value = u64::from_ne_bytes(chunk.try_into().expect("a chunk is a word"));
        words[at / WORD + index].store(value, Ordering::Relaxed);
    }
}

/// See the `copy_in` of the models.
#[cfg(loom)]
pub(crate) fn copy_out(words: &[AtomicU64], at: usize, bytes: &mut [u8]) {
    assert!(
        at % WORD == 0 && bytes.len() % WORD == 0,
        "models copy whole words"
    );
    for (index, chunk) in bytes.chunks_exact_mut(WORD).enumerate() {
        // SAFETY: loom itself finds, and reports as a failure, whatever is not ordered with this
        // load.
        let value = unsafe { words[at / WORD + index].unsync_load() };
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
}
