//! What a message says of a blob or an array in it: where it lies in the memory beside it. Pure.

use std::ops::Range;

use rkyv::{Archive, Deserialize, Place, Serialize};

use super::attached::{Attached, Beside, Lost};
use super::holding::Hold;

/// A part of a memory beside the message.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Debug)]
#[rkyv(
    archived = ArchivedPart,
    resolver = PartResolver,
    attr(
        doc = "What a message says of a [`Blob`](crate::Blob) or an [`Array`](crate::Array): where \
            it lies beside the message. Deserialised it is the blob or the array.",
        derive(Debug)
    )
)]
pub struct Part {
    /// Which of the memories beside the message.
    pub(super) memory: u32,
    /// From which byte on.
    pub(super) begin: u64,
    /// How many bytes.
    pub(super) len: u64,
}

impl Part {
    /// Writes down that it lies at `place` of that memory.
    pub(super) fn write(memory: u32, place: &Range<usize>, out: Place<ArchivedPart>) {
        let part = Self {
            memory,
            begin: place.start as u64,
            len: place.len() as u64,
        };
        let nothing = PartResolver {
            memory: (),
            begin: (),
            len: (),
        };
        part.resolve(nothing, out);
    }
}

/// What a message says lies beside it does not.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartError {
    /// It names memory that did not come with it.
    #[error("its memory did not come with it")]
    NotHere,
    /// It did, and could not be kept.
    #[error(transparent)]
    Lost(Lost),
    /// It names a part of memory that there is not.
    #[error("it reaches beyond its memory")]
    Beyond,
}

impl ArchivedPart {
    /// The memory beside the message that this thread reads, and the place in it.
    ///
    /// # Errors
    /// [`PartError`].
    pub(super) fn find(&self) -> Result<(Hold, Range<usize>), PartError> {
        let hold = match Attached::at(self.memory.into()) {
            Some(Beside::Here(hold)) => hold,
            Some(Beside::Lost(lost)) => return Err(PartError::Lost(lost)),
            None => return Err(PartError::NotHere),
        };
        let place = || {
            let begin = usize::try_from(self.begin.to_native()).ok()?;
            let end = begin.checked_add(usize::try_from(self.len.to_native()).ok()?)?;
            (end <= hold.pages().len()).then_some(begin..end)
        };
        let place = place().ok_or(PartError::Beyond)?;
        Ok((hold, place))
    }
}
