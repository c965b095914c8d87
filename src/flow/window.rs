//! What is said about a stream before and behind its items. Pure.

use rkyv::{Archive, Deserialize, Serialize};

use super::StreamId;

/// How far a writer may be ahead of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) items: u32,
    pub(crate) bytes: u32,
}

impl Window {
    /// Some parcels of 8 KiB, so that neither end waits for the other while both are quick.
    pub(crate) const USUAL: Self = Self {
        items: 1024,
        bytes: 256 * 1024,
    };

    /// The most that may be asked for: a window is memory of the reader's.
    pub(crate) const MAX: Self = Self {
        items: 1 << 20,
        bytes: 64 * 1024 * 1024,
    };

    pub(crate) fn with_items(self, items: usize) -> Self {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        Self {
            items: items.clamp(1, Self::MAX.items),
            ..self
        }
    }

    pub(crate) fn with_bytes(self, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            bytes: bytes.clamp(1, Self::MAX.bytes),
            ..self
        }
    }
}

/// What goes with a call that opens a stream: its number, and the first credit.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug)]
#[rkyv(archived = ArchivedOpening)]
pub struct Opening {
    pub(crate) id: StreamId,
    pub(crate) items: u32,
    pub(crate) bytes: u32,
}

/// What goes with a call in place of a stream that it takes.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug)]
#[rkyv(archived = ArchivedFeed)]
pub struct Feed {
    pub(crate) id: StreamId,
}

/// Why no more items come, as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Finish {
    /// The stream has ended.
    Done = 0,
    /// It panicked; the payload is a report.
    Panicked = 1,
    /// An item could not be sent; the payload is a refusal.
    Unsent = 2,
    /// It was dropped before its end.
    Dropped = 3,
}

impl Finish {
    pub(super) fn parse(number: u16) -> Option<Self> {
        const ALL: [Finish; 4] = [
            Finish::Done,
            Finish::Panicked,
            Finish::Unsent,
            Finish::Dropped,
        ];
        ALL.get(usize::from(number)).copied()
    }
}
