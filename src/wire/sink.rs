//! Where an archive goes while it is written: into memory of the thread, and what is long straight
//! to where it will be read.

use std::fmt;

use rkyv::ser::{Positional, Writer};

use super::attached::Attached;
use super::codec::Buffer;
use crate::sys::large_pages;
use crate::sys::span::Span;

/// The least that a thread's memory for encoding grows by.
const GROWTH_LEN_MIN: usize = 1024;

/// How much of it is made ready at once, so that short pieces are written without a look at how
/// much there is.
const ZEROS_LEN_MAX: usize = 64 * 1024;

/// Collects an archive up to a limit, and counts what is beyond it.
#[doc(hidden)]
pub struct Sink<'a> {
    /// Memory of this thread, all of it initialised; it grows with the archive.
    bytes: &'a mut Buffer,
    /// Up to this length it goes there.
    edge: usize,
    /// The most that may travel.
    limit: usize,
    /// The archive's length so far, also beyond the limit.
    len: usize,
    /// Where it goes beyond the edge.
    spill: Option<&'a mut dyn Spill>,
    /// What it has got from there.
    span: Option<Span>,
    /// Whether the archive lies there. It is told outside, so that the sink need not be moved to be
    /// asked.
    is_there: &'a mut bool,
}

/// Has room for archives that are too long to be copied.
pub(crate) trait Spill {
    /// Room for at least `len` bytes and a few more, in which the first `used` of the last span
    /// are already, if there was one. None: the archive goes elsewhere from here on.
    fn extend(&mut self, used: usize, len: usize) -> Option<Span>;
}

/// Where an archive was written.
#[derive(Debug)]
pub(crate) enum Written<R> {
    /// Into memory of the thread: this is what was made of it.
    Here(R),
    /// There, with this length, and this beside it.
    There(usize, Attached),
}

impl<'a> Sink<'a> {
    /// Collects in `bytes` up to `limit`, or up to a length and what is longer in a spill, which it
    /// tells in `is_there`.
    #[inline]
    pub(super) fn new(
        bytes: &'a mut Buffer,
        limit: usize,
        spill: Option<(usize, &'a mut (dyn Spill + '_))>,
        is_there: &'a mut bool,
    ) -> Self {
        let mut sink = Self {
            bytes,
            edge: limit,
            limit,
            len: 0,
            spill: None,
            span: None,
            is_there,
        };
        if let Some((edge, spill)) = spill {
            sink.edge = edge.min(limit);
            sink.spill = Some(spill);
        }
        sink
    }

    /// Writes what goes beyond the thread's memory, which grows with it.
    #[cold]
    fn grow(&mut self, begin: usize, bytes: &[u8]) {
        // What is large is written once, and not as zeros before.
        self.bytes.resize(begin, 0);
        let end = begin + bytes.len();
        if end > self.bytes.capacity() {
            let ample = (end + GROWTH_LEN_MIN).max(2 * begin);
            self.bytes.reserve_exact(ample - begin);
            large_pages::ask(self.bytes);
        }
        self.bytes.extend_from_slice(bytes);
        let zeros = (self.bytes.capacity() - end).min(ZEROS_LEN_MAX);
        self.bytes.resize(end + zeros, 0);
    }

    /// Writes what goes beyond the edge.
    fn write_beyond(&mut self, begin: usize, bytes: &[u8]) {
        match &self.span {
            Some(span) if self.len <= span.len() => span.write(begin, bytes),
            _ => self.overflow(begin, bytes),
        }
    }

    #[cold]
    fn overflow(&mut self, begin: usize, bytes: &[u8]) {
        if self.len > self.limit {
            return;
        }
        let spill = self.spill.as_mut();
        if let Some(span) = spill.and_then(|spill| spill.extend(begin, self.len)) {
            if self.span.is_none() {
                span.write(0, &self.bytes[..begin]);
            }
            span.write(begin, bytes);
            self.span = Some(span);
            *self.is_there = true;
            return;
        }
        // No more room there: it goes on here.
        (self.spill, self.edge) = (None, self.limit);
        if let Some(span) = self.span.take() {
            if begin > self.bytes.len() {
                self.bytes.resize(begin, 0);
            }
            span.read_back(&mut self.bytes[..begin]);
            *self.is_there = false;
        }
        self.write_here(begin, bytes);
    }

    #[inline]
    fn write_here(&mut self, begin: usize, bytes: &[u8]) {
        match self.bytes.get_mut(begin..self.len) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.grow(begin, bytes),
        }
    }
}

impl fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("limit", &self.limit)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Positional for Sink<'_> {
    #[inline]
    fn pos(&self) -> usize {
        self.len
    }
}

impl<E> Writer<E> for Sink<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        let begin = self.len;
        self.len += bytes.len();
        if self.len <= self.edge {
            self.write_here(begin, bytes);
        } else {
            self.write_beyond(begin, bytes);
        }
        Ok(())
    }
}
