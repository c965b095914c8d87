//! Where the parts of one ring lie in shared memory. Pure.
//!
//! ```text
//! control: three blocks of 128 B, so that no two sides write one cache line or its neighbour
//!   +0    head     bytes the consumer has released; only the consumer writes it
//!   +128  asleep   1 while the consumer waits for its doorbell; both sides swap it
//!   +256  wanting  1 while the producer waits for room; both sides swap it
//! data: `capacity` bytes, a power of two, full of records:
//!   +0    word     0 = not committed; low half 1 + length, or all ones for padding; high half tag
//!   +8    bytes    as many as the word says, then up to the next multiple of 16
//! ```
//!
//! There is no shared tail: the word of a record is its own signal, so that one cache line brings
//! both the news and the first bytes. The producer clears the next word before it commits one, and
//! the consumer never writes to the data. Everything here that the peer may write is an allegation.

/// Bytes of one word.
pub(crate) const WORD: usize = 8;
/// Records begin at multiples of this many bytes.
pub(crate) const GRAIN: usize = 16;
/// Words of the control blocks of one ring.
pub(crate) const CONTROL_WORDS: usize = 3 * BLOCK_WORDS;

/// The largest ring: a record of a quarter of it is told apart from padding by half a word.
pub(crate) const CAPACITY_MAX: usize = 1 << 31;

/// Words of a block that no other side writes: two cache lines, for the prefetcher fetches pairs.
const BLOCK_WORDS: usize = 128 / WORD;
/// Low half of the word of a record that only fills up the end of the data.
const PADDING: u32 = u32::MAX;

/// The place of one ring within the words of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    control: usize,
    data: usize,
    capacity: usize,
}

impl Place {
    /// A ring whose control blocks begin at word `control` and whose data of `capacity` bytes
    /// begins at word `data`.
    ///
    /// # Panics
    /// When `capacity` is no power of two from four grains to [`CAPACITY_MAX`]: sizes are our own
    /// settings, never a peer's.
    pub(crate) fn new(control: usize, data: usize, capacity: usize) -> Self {
        assert!(
            capacity.is_power_of_two(),
            "a ring's capacity is a power of two"
        );
        assert!(capacity >= 4 * GRAIN, "a ring holds at least four grains");
        assert!(
            capacity <= CAPACITY_MAX,
            "a record's length fits into half a word"
        );
        Self {
            control,
            data,
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    /// The most bytes that one record carries.
    pub(crate) fn record_len_max(&self) -> usize {
        self.capacity / 4 - WORD
    }

    pub(crate) fn head(&self) -> usize {
        self.control
    }

    pub(crate) fn asleep(&self) -> usize {
        self.control + BLOCK_WORDS
    }

    pub(crate) fn wanting(&self) -> usize {
        self.control + 2 * BLOCK_WORDS
    }

    /// The offset within the data of a position that counts bytes from the ring's beginning. Always
    /// a multiple of the grain, whatever the position.
    pub(crate) fn offset(&self, position: u64) -> usize {
        // The mask keeps the value below the capacity, which is a usize.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "masked to less than the capacity"
        )]
        let offset = (position & (self.capacity() - 1)) as usize;
        offset & !(GRAIN - 1)
    }

    /// The index of the word at `offset` of the data.
    pub(crate) fn word(&self, offset: usize) -> usize {
        self.data + offset / WORD
    }

    /// The distance in bytes from the segment's beginning to `offset` of the data.
    pub(crate) fn byte(&self, offset: usize) -> usize {
        self.data * WORD + offset
    }

    /// The first word behind everything of this ring.
    pub(crate) fn end(&self) -> usize {
        self.word(self.capacity).max(self.control + CONTROL_WORDS)
    }
}

/// The bytes that a record of `len` bytes occupies.
pub(crate) fn record_size(len: usize) -> usize {
    (WORD + len).next_multiple_of(GRAIN)
}

/// What the word of a committed record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Nothing is committed here yet.
    Empty,
    /// The data ends here; the next record is at its beginning.
    Padding,
    /// A record of `len` bytes.
    Record {
        /// Bytes behind the word.
        len: usize,
        /// 32 bits that the ring carries and does not read.
        tag: u32,
    },
}

impl Word {
    pub(crate) fn parse(word: u64) -> Self {
        let [low, tag] = halves(word);
        match low {
            0 if tag == 0 => Self::Empty,
            PADDING => Self::Padding,
            // A zero length mark with a tag is a lie of the peer's: no ring is that large.
            0 => Self::Record {
                len: usize::MAX / 2,
                tag,
            },
            low => Self::Record {
                len: low as usize - 1,
                tag,
            },
        }
    }

    pub(crate) fn padding() -> u64 {
        u64::from(PADDING)
    }

    /// The word of a record of `len` bytes. Lengths are below a quarter of the capacity.
    pub(crate) fn record(len: usize, tag: u32) -> u64 {
        ((len as u64 + 1) & u64::from(u32::MAX)) | (u64::from(tag) << 32)
    }
}

/// The low and the high half of a word.
fn halves(word: u64) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "a half is what is wanted")]
    let low = word as u32;
    let high = (word >> 32) as u32;
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record's word says again what was put into it, and is never the empty word.
    #[test]
    fn words_round_trip() {
        for len in [0, 1, 8, 4096, 1 << 24] {
            for tag in [0, 1, u32::MAX] {
                let word = Word::record(len, tag);
                assert_ne!(word, 0);
                assert_eq!(Word::parse(word), Word::Record { len, tag });
            }
        }
        assert_eq!(Word::parse(Word::padding()), Word::Padding);
        assert_eq!(Word::parse(0), Word::Empty);
    }

    /// An offset lies within the data and on a grain for any position that a peer may allege.
    #[test]
    fn offsets_stay_inside() {
        let place = Place::new(0, CONTROL_WORDS, 1024);
        for position in [0, 1, 15, 16, 1023, 1024, u64::MAX, 1 << 63] {
            let offset = place.offset(position);
            assert!(offset < 1024 && offset.is_multiple_of(GRAIN), "{position}");
        }
    }
}
