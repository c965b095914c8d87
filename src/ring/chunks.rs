//! Which parts of an arena are free: chunks of sizes that are powers of two. Pure.
//!
//! ```text
//!  span   [ 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 ]      grains of 32 KiB
//!  order 0  ^ one grain     order 1  ^^^ two, beginning at an even one     order 2 four ..
//! ```
//!
//! Last freed, first used: a chunk that is taken again and again stays in the caches. So a freed
//! chunk is not joined with its neighbour at once, but when nothing large enough is left. A chunk
//! is a range of addresses; how much of it has memory behind it is told in `pages`.
//!
//! All of it is the writer's own: no peer can write here.

/// Bytes of the smallest chunk.
pub(crate) const GRAIN_LEN: usize = 32 * 1024;

/// A chunk: so many grains as two to the power of its order, beginning at a multiple of as many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Chunk {
    grain: u32,
    order: u8,
}

impl Chunk {
    /// Where it begins, in bytes from the beginning of the arena.
    pub(crate) fn offset(self) -> usize {
        self.grain as usize * GRAIN_LEN
    }

    /// How many bytes it has.
    pub(crate) fn len(self) -> usize {
        GRAIN_LEN << self.order
    }

    /// The two halves of it.
    fn halves(self) -> [Self; 2] {
        let order = self.order - 1;
        [self.grain, self.grain + (1 << order)].map(|grain| Self { grain, order })
    }

    /// The chunk of which it and `next` are the halves, if they are.
    fn joined(self, next: Self) -> Option<Self> {
        let size = 1 << self.order;
        let are_halves = self.order == next.order
            && self.grain.is_multiple_of(2 * size)
            && self.grain + size == next.grain;
        are_halves.then_some(Self {
            order: self.order + 1,
            ..self
        })
    }
}

/// The free chunks of one arena.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// By their orders; of each order, the one that was freed last is the last.
    free: Vec<Vec<Chunk>>,
}

impl Chunks {
    /// An arena of `len` bytes, all free.
    ///
    /// # Panics
    /// When the length is no power of two of at least a grain, or beyond 2^32 grains: lengths are
    /// our own settings.
    pub(crate) fn new(len: usize) -> Self {
        assert!(
            len.is_power_of_two() && len >= GRAIN_LEN && (len / GRAIN_LEN) < 1 << 32,
            "an arena is a power of two of grains"
        );
        let order = order_of(len);
        let mut free = vec![Vec::new(); usize::from(order) + 1];
        free[usize::from(order)].push(Chunk { grain: 0, order });
        Self { free }
    }

    /// Takes a chunk of at least `len` bytes; none: no such chunk is free.
    pub(crate) fn take(&mut self, len: usize) -> Option<Chunk> {
        let order = order_of(len.max(1));
        if usize::from(order) >= self.free.len() {
            return None;
        }
        self.take_order(order).or_else(|| {
            self.join();
            self.take_order(order)
        })
    }

    /// Gives a chunk back.
    pub(crate) fn free(&mut self, chunk: Chunk) {
        self.free[usize::from(chunk.order)].push(chunk);
    }

    /// The free chunks, those first that are to be used last.
    pub(crate) fn idle(&self) -> impl Iterator<Item = Chunk> {
        self.free.iter().rev().flatten().copied()
    }

    fn take_order(&mut self, order: u8) -> Option<Chunk> {
        let from = usize::from(order);
        let found = (from..self.free.len()).find(|&at| !self.free[at].is_empty())?;
        let mut chunk = self.free[found].pop()?;
        while chunk.order > order {
            let [first, second] = chunk.halves();
            self.free(second);
            chunk = first;
        }
        Some(chunk)
    }

    /// Joins all halves that are free.
    #[cold]
    fn join(&mut self) {
        for order in 0..self.free.len() - 1 {
            let mut chunks = std::mem::take(&mut self.free[order]);
            chunks.sort_unstable();
            let mut alone = Vec::new();
            let mut rest = chunks.into_iter().peekable();
            while let Some(chunk) = rest.next() {
                match rest.peek().and_then(|next| chunk.joined(*next)) {
                    Some(whole) => {
                        rest.next();
                        self.free(whole);
                    }
                    None => alone.push(chunk),
                }
            }
            // The first ones are used first: what lies together is joined again sooner.
            alone.reverse();
            self.free[order] = alone;
        }
        for chunks in &mut self.free {
            chunks.sort_unstable_by(|one, other| other.cmp(one));
        }
    }
}

/// The order of the smallest chunk of at least `len` bytes.
fn order_of(len: usize) -> u8 {
    let grains = len.div_ceil(GRAIN_LEN).next_power_of_two();
    // At most 63.
    u8::try_from(grains.trailing_zeros()).unwrap_or(u8::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LEN: usize = 64 * GRAIN_LEN;

    /// The chunk that was freed last is the next of its size.
    #[test]
    fn last_freed_first_used() {
        let mut chunks = Chunks::new(LEN);
        let taken: Vec<_> = (0..8).map(|_| chunks.take(GRAIN_LEN).unwrap()).collect();
        for at in [3, 0, 7, 5] {
            chunks.free(taken[at]);
        }
        for at in [5, 7, 0, 3] {
            assert_eq!(chunks.take(1), Some(taken[at]));
        }
    }

    /// What is too long is never there; all of it is there at once, and again after any use.
    #[test]
    fn the_whole_is_there_again() {
        let mut chunks = Chunks::new(LEN);
        assert_eq!(chunks.take(LEN + 1), None);
        assert_eq!(chunks.take(usize::MAX), None);
        let whole = chunks.take(LEN).unwrap();
        assert_eq!((whole.offset(), whole.len()), (0, LEN));
        assert_eq!(chunks.take(1), None);
        chunks.free(whole);
        let mut taken: Vec<_> = (0..64).map(|_| chunks.take(1).unwrap()).collect();
        assert_eq!(chunks.take(1), None);
        // In an order in which neighbours are not freed together.
        taken.sort_by_key(|chunk| (chunk.grain * 37) % 64);
        taken.into_iter().for_each(|chunk| chunks.free(chunk));
        assert_eq!(chunks.take(LEN), Some(whole));
    }

    proptest! {
        /// Whatever is taken and freed in whatever order: chunks are long enough, lie inside, begin
        /// at a multiple of their length, and no two that are taken or free overlap; none is lost.
        #[test]
        fn chunks_never_overlap(steps in vec((0..LEN + LEN / 8, 0..64_usize), 1..200)) {
            let mut chunks = Chunks::new(LEN);
            let mut taken = Vec::new();
            for (len, at) in steps {
                match chunks.take(len) {
                    Some(chunk) => {
                        prop_assert!(chunk.len() >= len && chunk.offset() + chunk.len() <= LEN);
                        prop_assert!(chunk.offset().is_multiple_of(chunk.len()));
                        taken.push(chunk);
                    }
                    None if taken.is_empty() => prop_assert!(len > LEN),
                    None => chunks.free(taken.swap_remove(at % taken.len())),
                }
                let mut all: Vec<_> = chunks.idle().chain(taken.iter().copied()).collect();
                all.sort_by_key(|chunk| chunk.offset());
                let ends = all.iter().map(|chunk| chunk.offset() + chunk.len());
                let begins = all.iter().map(|chunk| chunk.offset());
                prop_assert!(begins.chain([LEN]).eq([0].into_iter().chain(ends)));
            }
        }
    }
}
