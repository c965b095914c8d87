//! What travels as one record: a header of 8 to 48 bytes and a payload. Pure.
//!
//! ```text
//! tag (32 bits, in the record's word)   kind | flags | method
//! +0   call id                          8 bytes
//! +8   deadline                         8 bytes, if flagged
//! +..  total length                     8 bytes, if flagged: the payload goes on in chunks, or
//! +..  place                            8 bytes, if flagged: lies in the arena and not here
//! +..  chain length                     8 bytes, if flagged: so much of the end is a chain
//! +..  memory                           8 bytes, if flagged: what is beside it, or 0: a list of it
//!                                       was the record before
//! +..  payload
//! ```
//!
//! It does not know rings or sockets: a link hands over the tag and the bytes.

use super::id::CallId;

/// The longest header, in bytes.
pub(crate) const HEAD_LEN_MAX: usize = 48;

const DEADLINE: u8 = 1;
const LARGE: u8 = 2;
const CHAINED: u8 = 4;
const PLACED: u8 = 16;
const ATTACHED: u8 = 128;
/// Each says that the header has another word.
const FLAGS: u8 = DEADLINE | LARGE | CHAINED | PLACED | ATTACHED;

/// Says in the place of memory that several were listed.
pub(crate) const LISTED: u64 = 0;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Wants an answer.
    Call = 1,
    /// Wants none.
    Tell = 2,
    /// The first frame to an actor: runs the constructor that `method` names; wants an answer.
    Construct = 3,
    /// The method's result.
    Reply = 4,
    /// The method's own error.
    Failure = 5,
    /// The method panicked; the payload is a report.
    Panicked = 6,
    /// The call was not run; the payload is the reason.
    Refused = 7,
    /// The next piece of a payload that did not fit into one frame.
    Chunk = 8,
    /// The rest of a payload in pieces will not come.
    Abort = 9,
    /// About the memory beside the frames; `method` says what.
    Beside = 10,
    /// Items of the stream that stands in the place of the call; `method` says how many.
    Items = 11,
    /// No more items will come; `method` says why.
    Finish = 12,
    /// The reader of a stream has room for so many more items and bytes.
    Credit = 13,
    /// Nobody reads a stream any more.
    Close = 14,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        const ALL: [Kind; 14] = [
            Kind::Call,
            Kind::Tell,
            Kind::Construct,
            Kind::Reply,
            Kind::Failure,
            Kind::Panicked,
            Kind::Refused,
            Kind::Chunk,
            Kind::Abort,
            Kind::Beside,
            Kind::Items,
            Kind::Finish,
            Kind::Credit,
            Kind::Close,
        ];
        ALL.get(usize::from(byte).wrapping_sub(1)).copied()
    }

    /// Whether it belongs to a stream of items, and not to a call.
    #[inline]
    pub(crate) fn is_flow(self) -> bool {
        self as u8 >= Self::Items as u8
    }
}

/// Where a payload lies in the arena: under which lease, and from which page on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the lease.
    pub(crate) lease: u16,
    /// The number of the page.
    pub(crate) page: u32,
}

impl Place {
    fn bits(self) -> u64 {
        (u64::from(self.lease) << 32) | u64::from(self.page)
    }

    /// None: there is no such place in any arena.
    fn from_bits(bits: u64) -> Option<Self> {
        let [low, high] = [bits & u64::from(u32::MAX), bits >> 32];
        let (lease, page) = (u16::try_from(high).ok()?, u32::try_from(low).ok()?);
        Some(Self { lease, page })
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// What the frame is for.
    pub(crate) kind: Kind,
    /// Which method or constructor; 0 where neither is meant.
    pub(crate) method: u16,
    /// The call it belongs to.
    pub(crate) call: CallId,
    /// Nanoseconds of the machine's monotonic clock after which nobody wants the answer.
    pub(crate) deadline: Option<u64>,
    /// The payload's whole length, where it goes on in chunks or has a place.
    pub(crate) total: Option<u64>,
    /// Where it lies, if in the arena. The frame's own bytes are the chain then.
    pub(crate) place: Option<Place>,
    /// How many bytes at the end of the whole payload are a [chain](super::chain::Chain).
    pub(crate) chain_len: u64,
    /// It has memory with it; which, is for those to say who carry it.
    pub(crate) attached: bool,
}

impl Head {
    /// A header without deadline, of a payload in one piece.
    #[inline]
    pub(crate) fn new(kind: Kind, method: u16, call: CallId) -> Self {
        Self {
            kind,
            method,
            call,
            deadline: None,
            total: None,
            place: None,
            chain_len: 0,
            attached: false,
        }
    }

    /// The tag and the header's bytes.
    #[inline]
    pub(crate) fn encode(&self) -> (u32, HeadBytes) {
        let mut bytes = HeadBytes {
            bytes: [0; HEAD_LEN_MAX],
            len: 0,
        };
        let mut flags = 0;
        bytes.push(self.call.bits());
        if let Some(deadline) = self.deadline {
            flags |= DEADLINE;
            bytes.push(deadline);
        }
        if let Some(total) = self.total {
            flags |= LARGE;
            bytes.push(total);
        }
        if let Some(place) = self.place {
            flags |= PLACED;
            bytes.push(place.bits());
        }
        if self.chain_len != 0 {
            flags |= CHAINED;
            bytes.push(self.chain_len);
        }
        if self.attached {
            flags |= ATTACHED;
            bytes.push(LISTED);
        }
        let [low, high] = self.method.to_le_bytes();
        (
            u32::from_le_bytes([self.kind as u8, flags, low, high]),
            bytes,
        )
    }

    /// The header of a frame with this tag that says which call it belongs to and nothing else, as
    /// those of most calls and answers do; `call` reads that. None: it says more, is of a piece, or
    /// is none.
    #[inline]
    pub(crate) fn plain(tag: u32, call: impl FnOnce() -> u64) -> Option<Self> {
        let [kind, flags, low, high] = tag.to_le_bytes();
        if flags != 0 {
            return None;
        }
        let kind = match Kind::parse(kind)? {
            Kind::Chunk | Kind::Abort | Kind::Beside => return None,
            kind => kind,
        };
        let method = u16::from_le_bytes([low, high]);
        Some(Self::new(kind, method, CallId::from_bits(call())))
    }

    /// The same for one that also says what memory is beside it, and so has two words.
    #[inline]
    pub(crate) fn plain_attached(
        tag: u32,
        words: impl FnOnce() -> [u64; 2],
    ) -> Option<(Self, u64)> {
        let [kind, flags, low, high] = tag.to_le_bytes();
        if flags != ATTACHED {
            return None;
        }
        let mut memory = LISTED;
        let head = Self::plain(u32::from_le_bytes([kind, 0, low, high]), || {
            let [call, beside] = words();
            memory = beside;
            call
        })?;
        let attached = true;
        Some((Self { attached, ..head }, memory))
    }

    /// The tag of a header that says which call it belongs to and nothing else. None: it says more.
    #[inline]
    pub(crate) fn plain_tag(&self) -> Option<u32> {
        let is_plain = self.deadline.is_none()
            && self.total.is_none()
            && self.place.is_none()
            && self.chain_len == 0
            && !self.attached;
        let [low, high] = self.method.to_le_bytes();
        is_plain.then(|| u32::from_le_bytes([self.kind as u8, 0, low, high]))
    }

    /// How many header bytes a frame with this tag has.
    pub(crate) fn len_of(tag: u32) -> usize {
        let [_, flags, ..] = tag.to_le_bytes();
        8 + 8 * (flags & FLAGS).count_ones() as usize
    }

    /// What a header with this tag says of the memory beside it; `bytes` are those of the header.
    pub(crate) fn memory(tag: u32, bytes: &[u8]) -> u64 {
        let [_, flags, ..] = tag.to_le_bytes();
        let last = bytes.last_chunk().filter(|_| flags & ATTACHED != 0);
        last.map_or(LISTED, |word| u64::from_le_bytes(*word))
    }

    /// Reads a header; `bytes` are the first [`Head::len_of`] bytes of the frame.
    ///
    /// # Errors
    /// [`FrameError`] for what no version of this library writes.
    pub(crate) fn decode(tag: u32, bytes: &[u8]) -> Result<Self, FrameError> {
        let [kind, flags, low, high] = tag.to_le_bytes();
        // What has a place has a length.
        if flags & !FLAGS != 0 || flags & (PLACED | LARGE) == PLACED {
            return Err(FrameError::Flags(flags));
        }
        let kind = Kind::parse(kind).ok_or(FrameError::Kind(kind))?;
        let mut words = bytes.chunks_exact(8).map(|word| {
            let mut le = [0; 8];
            le.copy_from_slice(word);
            u64::from_le_bytes(le)
        });
        let mut next = || words.next().ok_or(FrameError::Short(bytes.len()));
        let call = CallId::from_bits(next()?);
        let deadline = if flags & DEADLINE == 0 {
            None
        } else {
            Some(next()?)
        };
        let total = if flags & LARGE == 0 {
            None
        } else {
            Some(next()?)
        };
        let place = if flags & PLACED == 0 {
            None
        } else {
            Some(Place::from_bits(next()?).ok_or(FrameError::Place)?)
        };
        let chain_len = if flags & CHAINED == 0 { 0 } else { next()? };
        let attached = flags & ATTACHED != 0;
        if attached {
            next()?;
        }
        Ok(Self {
            kind,
            method: u16::from_le_bytes([low, high]),
            call,
            deadline,
            total,
            place,
            chain_len,
            attached,
        })
    }
}

/// The bytes of an encoded header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadBytes {
    bytes: [u8; HEAD_LEN_MAX],
    len: usize,
}

impl HeadBytes {
    fn push(&mut self, word: u64) {
        self.bytes[self.len..self.len + 8].copy_from_slice(&word.to_le_bytes());
        self.len += 8;
    }

    /// Says that this one memory is beside the frame, whose header speaks of some.
    pub(crate) fn set_memory(&mut self, memory: u64) {
        self.bytes[self.len - 8..self.len].copy_from_slice(&memory.to_le_bytes());
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The peer sent a frame that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// No kind has this number.
    #[error("a frame of kind {0}")]
    Kind(u8),
    /// A flag that has no meaning.
    #[error("a frame with flags {0:#x}")]
    Flags(u8),
    /// Less than a header.
    #[error("a frame of {0} bytes")]
    Short(usize),
    /// A place that no arena has.
    #[error("a frame that lies in no arena")]
    Place,
    /// The end of its payload is no chain.
    #[error("a frame whose chain of callers is none")]
    Chain,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every header comes back as it was written, with each set of optional fields.
    #[test]
    fn heads_round_trip() {
        for kind in 1..=14 {
            let kind = Kind::parse(kind).unwrap();
            for deadline in [None, Some(0), Some(u64::MAX)] {
                let place = Place {
                    lease: 127,
                    page: u32::MAX,
                };
                let large = Some(1 << 26);
                for (total, place, chain_len) in
                    [(None, None, 0), (large, None, 7), (large, Some(place), 7)]
                {
                    let head = Head {
                        deadline,
                        total,
                        place,
                        chain_len,
                        attached: chain_len == 0,
                        ..Head::new(kind, 0xBEEF, CallId::new(9, 3))
                    };
                    let (tag, mut bytes) = head.encode();
                    assert_eq!(bytes.as_slice().len(), Head::len_of(tag));
                    assert_eq!(Head::decode(tag, bytes.as_slice()), Ok(head));
                    assert_eq!(Head::memory(tag, bytes.as_slice()), LISTED);
                    if head.attached {
                        bytes.set_memory(77);
                        assert_eq!(Head::decode(tag, bytes.as_slice()), Ok(head));
                        assert_eq!(Head::memory(tag, bytes.as_slice()), 77);
                    }
                    assert!(head.plain_tag().is_none_or(|plain| plain == tag));
                }
            }
        }
    }

    /// The short ways give what the long ones give, and are taken where a header has one word.
    #[test]
    fn plain_heads_are_heads() {
        for tag in 0..=u32::from(u16::MAX) {
            let bytes = 77_u64.to_le_bytes();
            let decoded = Head::decode(tag, &bytes);
            let Some(head) = Head::plain(tag, || 77) else {
                let is_missed = matches!(
                    decoded,
                    Ok(head) if head.plain_tag().is_some()
                        && !matches!(head.kind, Kind::Chunk | Kind::Abort | Kind::Beside)
                );
                assert!(!is_missed, "{tag:#x}");
                continue;
            };
            assert_eq!(decoded, Ok(head));
            assert_eq!(head.plain_tag(), Some(tag));
            let (long, word) = head.encode();
            assert_eq!((long, word.as_slice()), (tag, &bytes[..]));
        }
    }

    /// The short way of what has one memory with it gives what the long one gives.
    #[test]
    fn plain_attached_heads_are_heads() {
        for tag in 0..=u32::from(u16::MAX) {
            let words = [77, 78];
            let decoded = Head::decode(tag, words.map(u64::to_le_bytes).as_flattened());
            if let Some((head, memory)) = Head::plain_attached(tag, || words) {
                assert_eq!(decoded, Ok(head));
                assert!(head.attached && memory == 78 && Head::plain(tag, || 77).is_none());
                assert_eq!(head.encode().0, tag);
            } else {
                let is_missed = matches!(
                    decoded,
                    Ok(head) if head.attached && Head::len_of(tag) == 16
                        && !matches!(head.kind, Kind::Chunk | Kind::Abort | Kind::Beside)
                );
                assert!(!is_missed, "{tag:#x}");
            }
        }
    }

    /// Unknown kinds and flags and short headers are errors, never panics.
    #[test]
    fn strange_heads_are_refused() {
        for tag in (0..=u32::from(u16::MAX)).chain([u32::MAX]) {
            for len in [0, 7, 8, 24, 32, 40, 48] {
                let flags = (tag >> 8) as u8;
                let fits = flags & !FLAGS == 0 && flags & (PLACED | LARGE) != PLACED;
                let known = Kind::parse((tag & 0xFF) as u8).is_some() && fits;
                let long_enough = len >= Head::len_of(tag);
                assert_eq!(
                    Head::decode(tag, &[0; 48][..len]).is_ok(),
                    known && long_enough
                );
            }
        }
    }
}
