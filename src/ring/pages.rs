//! Which pages of an arena have memory behind them. Pure.
//!
//! It only keeps account: who asks the system for pages, and gives them back, says so here.

use std::ops::Range;

/// Bytes of a page, in which this keeps account.
pub(crate) const PAGE_LEN: usize = 4096;

/// One bit for each page of an arena.
#[derive(Debug)]
pub(crate) struct Pages {
    bits: Vec<u64>,
    count: usize,
}

impl Pages {
    /// An arena of `len` bytes without memory.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            bits: vec![0; len.div_ceil(PAGE_LEN).div_ceil(64)],
            count: 0,
        }
    }

    /// How many bytes have memory.
    pub(crate) fn len(&self) -> usize {
        self.count * PAGE_LEN
    }

    /// The pages that `range` touches and lack memory, from the first to the last of them. Some
    /// between may have it.
    pub(crate) fn lacking(&self, range: Range<usize>) -> Option<Range<usize>> {
        let pages = pages_of(range);
        let first = self.first_lacking(&pages)?;
        let mut rest = (first..pages.end).rev();
        let last = rest.find(|&page| !self.has(page)).unwrap_or(first);
        Some(first * PAGE_LEN..(last + 1) * PAGE_LEN)
    }

    /// Notes that all pages of `range` have memory, or that none has.
    pub(crate) fn note(&mut self, range: Range<usize>, have: bool) {
        for page in pages_of(range) {
            if self.has(page) != have {
                self.bits[page / 64] ^= 1 << (page % 64);
                self.count = if have { self.count + 1 } else { self.count - 1 };
            }
        }
    }

    /// Where the pages that have memory end, those from `at` on.
    pub(crate) fn end_from(&self, at: usize, end: usize) -> usize {
        let lacking = self.first_lacking(&pages_of(at..end));
        lacking.map_or(end, |page| page * PAGE_LEN)
    }

    /// The last pages with memory in `range` that lie together.
    pub(crate) fn last_run(&self, range: Range<usize>) -> Option<Range<usize>> {
        let mut pages = pages_of(range).rev().skip_while(|&page| !self.has(page));
        let last = pages.next()?;
        let first = pages.take_while(|&page| self.has(page)).last();
        Some(first.unwrap_or(last) * PAGE_LEN..(last + 1) * PAGE_LEN)
    }

    /// The first of `pages` that lacks memory: every message asks, so 64 of them at a time.
    fn first_lacking(&self, pages: &Range<usize>) -> Option<usize> {
        let mut page = pages.start;
        while page < pages.end {
            let lacking = !self.bits.get(page / 64).copied().unwrap_or(0) >> (page % 64);
            if lacking != 0 {
                page += lacking.trailing_zeros() as usize;
                return (page < pages.end).then_some(page);
            }
            page = (page / 64 + 1) * 64;
        }
        None
    }

    fn has(&self, page: usize) -> bool {
        self.bits
            .get(page / 64)
            .is_some_and(|bits| bits >> (page % 64) & 1 == 1)
    }
}

/// The pages that a range of bytes touches.
fn pages_of(range: Range<usize>) -> Range<usize> {
    range.start / PAGE_LEN..range.end.div_ceil(PAGE_LEN)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const P: usize = PAGE_LEN;

    proptest! {
        /// What is found 64 pages at a time is what is found page by page.
        #[test]
        fn all_pages_are_looked_at(
            noted in vec((0..300_usize, 0..90_usize, any::<bool>()), 1..12),
            (from, count) in (0..300_usize, 0..200_usize),
        ) {
            let mut pages = Pages::new(300 * P);
            for (from, count, have) in noted {
                pages.note(from * P..(from + count).min(300) * P, have);
            }
            let to = (from + count).min(300);
            let mut lacking = (from..to).filter(|&page| !pages.has(page));
            let first = lacking.next();
            let last = lacking.next_back().or(first);
            let expected = first.zip(last).map(|(first, last)| first * P..(last + 1) * P);
            prop_assert_eq!(pages.lacking(from * P..to * P), expected);
            prop_assert_eq!(pages.end_from(from * P, to * P), first.unwrap_or(to) * P);
            let held = (0..300).filter(|&page| pages.has(page)).count();
            prop_assert_eq!(pages.len(), held * P);
        }
    }

    /// What was noted is known, page by page, and counted once.
    #[test]
    fn accounts_are_right() {
        let mut pages = Pages::new(200 * P);
        assert_eq!(pages.lacking(P..P), None);
        assert_eq!(pages.lacking(1..2 * P + 1), Some(0..3 * P));
        pages.note(P..130 * P, true);
        pages.note(2 * P..3 * P, true);
        assert_eq!(pages.len(), 129 * P);
        assert_eq!(pages.lacking(P..130 * P), None);
        assert_eq!(pages.lacking(0..140 * P), Some(0..140 * P));
        assert_eq!(pages.lacking(64 * P..131 * P), Some(130 * P..131 * P));
        assert_eq!(pages.end_from(P, 200 * P), 130 * P);
        assert_eq!(pages.end_from(P, 100 * P), 100 * P);
        assert_eq!(pages.end_from(0, 9 * P), 0);
        assert_eq!(pages.last_run(0..200 * P), Some(P..130 * P));
        pages.note(64 * P..66 * P, false);
        assert_eq!(pages.len(), 127 * P);
        assert_eq!(pages.last_run(0..200 * P), Some(66 * P..130 * P));
        assert_eq!(pages.last_run(0..66 * P), Some(P..64 * P));
        assert_eq!(pages.last_run(130 * P..200 * P), None);
    }
}
