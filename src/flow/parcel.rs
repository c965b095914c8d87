//! Items as they travel: several archives in one payload.
//!
//! ```text
//!  per item  length (4 bytes) | kind (4) | memory (8) | archive | zeros to a multiple of 16
//! ```
//!
//! Each item is an archive of its own, so its length is known as soon as it is written, and the
//! item itself need not be kept. Only the last one of a payload may have blobs: what the frame has
//! beside it is that item's, and how much memory that is stands before its archive, for it counts.
//! One that is too long for a frame has a payload of its own, which lies in the arena where there
//! is [room](super::large).

use super::large::{Large, Room};
use crate::sys::body::Body;
use crate::wire::attached::Attached;
use crate::wire::codec::{self, ALIGNMENT, Buffer, EncodeError, Message, Script};
use crate::wire::sink::{Spill, Written};

/// What an item has in front of it.
pub(super) const HEAD_LEN: usize = 16;

/// A payload of so many bytes is sent: well beneath what one frame carries, and much longer than
/// what sending it costs.
const FULL_LEN: usize = 8 * 1024;

const VALUE: u32 = 0;
const ERROR: u32 = 1;

/// What an item of a stream of results is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    Value,
    /// The stream's own error.
    Error,
}

/// How an item is written.
#[doc(hidden)]
pub type Put<I> = fn(&I, &mut Parcel) -> Result<(), EncodeError>;

/// Writes an item of a stream of values.
///
/// # Errors
/// [`EncodeError`] when it cannot be archived or is too large.
#[doc(hidden)]
pub fn put_value<T: Message>(item: &T, parcel: &mut Parcel) -> Result<(), EncodeError> {
    parcel.push(VALUE, item)
}

/// Writes an item of a stream of results.
///
/// # Errors
/// [`EncodeError`] when it cannot be archived or is too large.
#[doc(hidden)]
pub fn put_result<T: Message, E: Message>(
    item: &Result<T, E>,
    parcel: &mut Parcel,
) -> Result<(), EncodeError> {
    match item {
        Ok(value) => parcel.push(VALUE, value),
        Err(error) => parcel.push(ERROR, error),
    }
}

/// Items that are about to be sent.
#[doc(hidden)]
#[derive(Debug)]
pub struct Parcel {
    bytes: Buffer,
    count: u16,
    /// What the blobs of the last item lie in, and how much that is.
    attached: Attached,
    beside: u64,
    /// The longest archive of an item.
    item_len_max: usize,
    /// Where items go that are too long for a frame, if anywhere else than with the others.
    room: Option<Room>,
    /// The last item, if it lies there.
    large: Option<Large>,
}

impl Parcel {
    pub(crate) fn new(item_len_max: usize, room: Option<Room>) -> Self {
        Self {
            bytes: empty(),
            count: 0,
            attached: Attached::default(),
            beside: 0,
            item_len_max,
            room,
            large: None,
        }
    }

    fn push<M: Message>(&mut self, kind: u32, item: &M) -> Result<(), EncodeError> {
        let (bytes, limit) = (&mut self.bytes, self.item_len_max);
        let append = |archive: Script<'_>, attached: &Attached| {
            let beside = len_beside(attached);
            bytes.extend_from_slice(&head_of(kind, archive.len(), beside));
            bytes.extend_from_slice(&archive);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            (attached.clone(), beside)
        };
        // A value that is short and has nothing elsewhere is a short archive.
        let may_be_long = const { std::mem::needs_drop::<M>() || size_of::<M>() > HEAD_LEN * 64 };
        let room = self.room.as_ref().filter(|_| may_be_long);
        let mut sheet = room.map(Room::sheet);
        let spill = sheet
            .as_mut()
            .map(|(edge, sheet)| (*edge, sheet as &mut dyn Spill));
        (self.attached, self.beside) = match codec::encode_by(item, limit, spill, append)? {
            Written::Here(attached) => attached,
            Written::There(len, attached) => {
                let beside = len_beside(&attached);
                let head = head_of(kind, len, beside);
                self.large = sheet.and_then(|(_, sheet)| sheet.seal(head, len));
                (attached, beside)
            }
        };
        self.count += 1;
        Ok(())
    }

    /// How many items there are.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// The bytes of those that travel in a frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What its blobs lie in.
    pub(crate) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// How much of the window it takes.
    pub(crate) fn cost(&self) -> u64 {
        let large = self.large.as_ref().map_or(0, Large::len);
        ((self.bytes.len() + large) as u64).saturating_add(self.beside)
    }

    /// Whether it is to be sent as it is.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_LEN
            || self.count == u16::MAX
            || self.large.is_some()
            || !self.attached.is_empty()
    }

    /// The last item, if it goes in a frame of its own, with what goes beside it.
    pub(crate) fn take_large(&mut self) -> Option<(Large, Attached)> {
        let large = self.large.take()?;
        self.count -= 1;
        self.beside = 0;
        Some((large, std::mem::take(&mut self.attached)))
    }

    pub(crate) fn clear(&mut self) {
        (self.count, self.beside) = (0, 0);
        self.attached = Attached::default();
        codec::trim(&mut self.bytes);
        self.bytes.clear();
    }

    /// The payload and what goes beside it, leaving room for the next one.
    pub(crate) fn take(&mut self) -> (Buffer, Attached) {
        (self.count, self.beside) = (0, 0);
        let bytes = std::mem::replace(&mut self.bytes, empty());
        (bytes, std::mem::take(&mut self.attached))
    }
}

fn empty() -> Buffer {
    let mut bytes = codec::spare();
    bytes.clear();
    bytes
}

/// The room that an archive of so many bytes takes.
pub(super) fn padded(archive_len: usize) -> usize {
    archive_len.next_multiple_of(ALIGNMENT)
}

/// What an item has in front of it.
fn head_of(kind: u32, archive_len: usize, beside: u64) -> [u8; HEAD_LEN] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "messages are bounded far beneath 4 GiB"
    )]
    let len = archive_len as u32;
    let mut head = [0; HEAD_LEN];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&kind.to_le_bytes());
    head[8..].copy_from_slice(&beside.to_le_bytes());
    head
}

/// How much memory goes beside an item.
fn len_beside(attached: &Attached) -> u64 {
    let lens = attached.holds().map(|hold| {
        hold.sealed()
            .map_or(0, |sealed| sealed.bytes().len() as u64)
    });
    lens.fold(0, u64::saturating_add)
}

/// Items that have come, and are given out one by one.
#[derive(Debug, Default)]
pub(crate) struct Items {
    bytes: Body,
    /// What the blobs of the last one lie in.
    attached: Attached,
    /// Where the next one begins, and what stands there.
    at: usize,
    next: Option<Found>,
    left: u16,
}

/// How much of the window a payload takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Of all items but the last one, which may go beyond the window.
    pub(crate) before_last: u64,
    pub(crate) whole: u64,
}

/// One item that has come.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) kind: ItemKind,
    pub(crate) archive: &'a [u8],
    pub(crate) attached: Attached,
    /// How much it took of the window.
    pub(crate) cost: u64,
}

/// Bytes that are not so many items.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Items {
    /// Reads a payload of `count` items with what has come beside it, and tells what it costs.
    ///
    /// # Errors
    /// [`Malformed`] when it is no such payload. The archives are not looked into.
    pub(crate) fn read(
        bytes: Body,
        count: u16,
        attached: Attached,
    ) -> Result<(Self, Cost), Malformed> {
        let (mut at, mut before_last, mut beside) = (0, 0, 0);
        // Of several, what stands before them is read twice. The peer may write where it has put
        // them, but honest ones put one alone there.
        let bytes = match count {
            1 => bytes,
            _ => bytes.into_private().into(),
        };
        let mut next = None;
        for _ in 0..count {
            before_last = at as u64;
            if beside > 0 {
                return Err(Malformed);
            }
            let found = item_at(&bytes, at)?;
            beside = found.beside;
            at += HEAD_LEN + padded(found.len);
            next.get_or_insert(found);
        }
        if at != bytes.len() || (count == 0 && !attached.is_empty()) {
            return Err(Malformed);
        }
        let whole = beside.checked_add(at as u64).ok_or(Malformed)?;
        let items = Self {
            bytes,
            attached,
            at: 0,
            next,
            left: count,
        };
        let cost = Cost { before_last, whole };
        Ok((items, cost))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next item.
    pub(crate) fn take(&mut self) -> Option<Item<'_>> {
        self.left = self.left.checked_sub(1)?;
        let begin = self.at + HEAD_LEN;
        let Found { kind, len, beside } = self.next.take()?;
        let whole = HEAD_LEN + padded(len);
        self.at += whole;
        if self.left > 0 {
            self.next = item_at(&self.bytes, self.at).ok();
        }
        Some(Item {
            kind,
            archive: &self.bytes[begin..begin + len],
            attached: if self.left == 0 {
                std::mem::take(&mut self.attached)
            } else {
                Attached::default()
            },
            cost: beside.saturating_add(whole as u64),
        })
    }

    /// Gives the memory back to be used again.
    pub(crate) fn recycle(self) {
        codec::recycle(self.bytes);
    }
}

/// What stands before an archive.
#[derive(Debug)]
struct Found {
    kind: ItemKind,
    len: usize,
    beside: u64,
}

/// The item there, all of which lies within `bytes`.
fn item_at(bytes: &[u8], at: usize) -> Result<Found, Malformed> {
    let rest = bytes.get(at..).ok_or(Malformed)?;
    let (head, rest) = rest.split_at_checked(HEAD_LEN).ok_or(Malformed)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = usize::try_from(word(0)).map_err(|_| Malformed)?;
    if padded(len) > rest.len() {
        return Err(Malformed);
    }
    let kind = match word(4) {
        VALUE => ItemKind::Value,
        ERROR => ItemKind::Error,
        _ => return Err(Malformed),
    };
    let beside = u64::from(word(8)) | u64::from(word(12)) << 32;
    Ok(Found { kind, len, beside })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sealed::BlobBuilder;
    use crate::wire::blob::Blob;

    /// Items of any lengths come back as they were put, with their kinds and costs.
    #[test]
    fn items_round_trip() {
        let mut parcel = Parcel::new(1 << 20, None);
        let given: Vec<Result<String, u8>> = (0..40)
            .map(|n| {
                if n % 7 == 3 {
                    Err(n)
                } else {
                    Ok("x".repeat(usize::from(n)))
                }
            })
            .collect();
        for item in &given {
            put_result(item, &mut parcel).unwrap();
        }
        let (count, len) = (parcel.count(), parcel.cost());
        let (bytes, attached) = parcel.take();
        let (mut items, cost) = Items::read(bytes.into(), count, attached).unwrap();
        assert!(cost.before_last < len && cost.whole == len);
        let mut sum = 0;
        for item in &given {
            let Item {
                kind,
                archive,
                cost,
                ..
            } = items.take().unwrap();
            sum += cost;
            match kind {
                ItemKind::Value => assert_eq!(&codec::decode(archive).map_err(|_| 0), item),
                ItemKind::Error => assert_eq!(&Err(codec::decode(archive).unwrap()), item),
            }
        }
        assert!(items.is_empty() && items.take().is_none());
        assert_eq!(sum, len);
    }

    /// An item with a blob is the last one of its payload, takes what that lies in along, and
    /// counts as much.
    #[test]
    fn blobs_travel_with_their_item() {
        let mut builder = BlobBuilder::alloc(100_000).unwrap();
        builder.as_mut_slice().fill(7);
        let blob: Blob = builder.seal().unwrap();
        let mut parcel = Parcel::new(64, None);
        put_value(&Some(blob.clone()), &mut parcel).unwrap();
        assert!(parcel.is_full() && parcel.cost() > 100_000);
        let alone = parcel.take();
        assert!(parcel.attached().is_empty() && parcel.cost() == 0 && !parcel.is_full());
        put_value(&None::<Blob>, &mut parcel).unwrap();
        assert!(!parcel.is_full());
        put_value(&Some(blob.clone()), &mut parcel).unwrap();
        let (cost, (bytes, attached)) = (parcel.cost(), parcel.take());
        let (mut items, found) = Items::read(bytes.into(), 2, attached).unwrap();
        assert!(found.whole == cost && found.before_last < 100);
        for expected in [None, Some(blob)] {
            let Item {
                archive, attached, ..
            } = items.take().unwrap();
            let item = attached.within(|| codec::decode::<Option<Blob>>(archive));
            assert_eq!(item.unwrap().as_deref(), expected.as_deref());
        }
        let mut two = alone.0.clone();
        two.extend_from_slice(&alone.0);
        assert_eq!(
            Items::read(two.into(), 2, alone.1.clone()).err(),
            Some(Malformed)
        );
        let none = Items::read(Buffer::new().into(), 0, alone.1.clone());
        assert_eq!(none.err(), Some(Malformed));
        let mut endless = alone.0;
        endless[8..16].fill(0xFF);
        assert_eq!(
            Items::read(endless.into(), 1, alone.1).err(),
            Some(Malformed)
        );
    }

    /// An item beyond the limit is not put, and leaves nothing behind.
    #[test]
    fn too_large_items_are_refused() {
        let mut parcel = Parcel::new(64, None);
        put_value(&7_u64, &mut parcel).unwrap();
        let len = parcel.bytes().len();
        put_value(&vec![0_u8; 100], &mut parcel).unwrap_err();
        assert_eq!((parcel.count(), parcel.bytes().len()), (1, len));
    }

    /// Bytes that are no items are refused, whatever they are, and never a panic.
    #[test]
    fn made_up_payloads_are_refused() {
        let mut parcel = Parcel::new(64, None);
        put_value(&7_u64, &mut parcel).unwrap();
        put_value(&8_u64, &mut parcel).unwrap();
        let (good, _) = parcel.take();
        let read = |bytes: Buffer, count| Items::read(bytes.into(), count, Attached::default());
        for count in [0, 1, 3, u16::MAX] {
            assert_eq!(read(good.clone(), count).err(), Some(Malformed));
        }
        for at in 0..good.len() {
            for byte in [1, 0x7F, 0xFF] {
                let mut bad = good.clone();
                bad[at] ^= byte;
                if let Ok((mut items, _)) = read(bad, 2) {
                    while items.take().is_some() {}
                }
            }
        }
        for len in 0..good.len() {
            let mut short = good.clone();
            short.resize(len, 0);
            assert!(read(short, 2).is_err());
        }
    }
}
