//! Items as they travel: several archives in one payload. Pure.
//!
//! ```text
//!  per item  length (4 bytes) | kind (4) | zeros (8) | archive | zeros to a multiple of 16
//! ```
//!
//! Each item is an archive of its own, so its length is known as soon as it is written, and the
//! item itself need not be kept.

use crate::wire::codec::{self, ALIGNMENT, Buffer, EncodeError, Message};

/// What an item has in front of it.
const HEAD_LEN: usize = 16;

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
    /// The longest archive of an item.
    item_len_max: usize,
}

impl Parcel {
    pub(crate) fn new(item_len_max: usize) -> Self {
        let (bytes, count) = (empty(), 0);
        Self {
            bytes,
            count,
            item_len_max,
        }
    }

    fn push<M: Message>(&mut self, kind: u32, item: &M) -> Result<(), EncodeError> {
        let bytes = &mut self.bytes;
        codec::encode(item, self.item_len_max, |archive| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "messages are bounded far beneath 4 GiB"
            )]
            let len = archive.len() as u32;
            let mut head = [0; HEAD_LEN];
            head[..4].copy_from_slice(&len.to_le_bytes());
            head[4..8].copy_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(archive);
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        })?;
        self.count += 1;
        Ok(())
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is to be sent as it is.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_LEN || self.count == u16::MAX
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        codec::trim(&mut self.bytes);
        self.bytes.clear();
    }

    /// The payload, leaving room for the next one.
    pub(crate) fn take(&mut self) -> Buffer {
        self.count = 0;
        std::mem::replace(&mut self.bytes, empty())
    }
}

fn empty() -> Buffer {
    let mut bytes = codec::spare();
    bytes.clear();
    bytes
}

/// Items that have come, and are given out one by one.
#[derive(Debug, Default)]
pub(crate) struct Items {
    bytes: Buffer,
    at: usize,
    left: u16,
}

/// Bytes that are not so many items.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Items {
    /// Reads a payload of `count` items, and tells how long it is without the last of them.
    ///
    /// # Errors
    /// [`Malformed`] when it is no such payload. The archives are not looked into.
    pub(crate) fn read(bytes: Buffer, count: u16) -> Result<(Self, usize), Malformed> {
        let (mut at, mut before) = (0, 0);
        for _ in 0..count {
            before = at;
            let (len, _) = item_at(&bytes, at)?;
            at += HEAD_LEN + len.next_multiple_of(ALIGNMENT);
        }
        if at != bytes.len() {
            return Err(Malformed);
        }
        let left = count;
        Ok((Self { bytes, at: 0, left }, before))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next item with its archive, and how much it took of the window.
    pub(crate) fn take(&mut self) -> Option<(ItemKind, &[u8], usize)> {
        self.left = self.left.checked_sub(1)?;
        let begin = self.at + HEAD_LEN;
        let (len, kind) = item_at(&self.bytes, self.at).ok()?;
        let cost = HEAD_LEN + len.next_multiple_of(ALIGNMENT);
        self.at += cost;
        Some((kind, &self.bytes[begin..begin + len], cost))
    }

    /// Gives the memory back to be used again.
    pub(crate) fn recycle(self) {
        codec::recycle(self.bytes.into());
    }
}

/// The length and kind of the item there, all of which lies within `bytes`.
fn item_at(bytes: &[u8], at: usize) -> Result<(usize, ItemKind), Malformed> {
    let rest = bytes.get(at..).ok_or(Malformed)?;
    let (head, rest) = rest.split_at_checked(HEAD_LEN).ok_or(Malformed)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = usize::try_from(word(0)).map_err(|_| Malformed)?;
    if len.next_multiple_of(ALIGNMENT) > rest.len() {
        return Err(Malformed);
    }
    match word(4) {
        VALUE => Ok((len, ItemKind::Value)),
        ERROR => Ok((len, ItemKind::Error)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of any lengths come back as they were put, with their kinds and costs.
    #[test]
    fn items_round_trip() {
        let mut parcel = Parcel::new(1 << 20);
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
        let (count, len) = (parcel.count(), parcel.bytes().len());
        let (mut items, before) = Items::read(parcel.take(), count).unwrap();
        assert!(before < len);
        let mut cost = 0;
        for item in &given {
            let (kind, archive, of_this) = items.take().unwrap();
            cost += of_this;
            match kind {
                ItemKind::Value => assert_eq!(&codec::decode(archive).map_err(|_| 0), item),
                ItemKind::Error => assert_eq!(&Err(codec::decode(archive).unwrap()), item),
            }
        }
        assert!(items.is_empty() && items.take().is_none());
        assert_eq!(cost, len);
    }

    /// An item beyond the limit is not put, and leaves nothing behind.
    #[test]
    fn too_large_items_are_refused() {
        let mut parcel = Parcel::new(64);
        put_value(&7_u64, &mut parcel).unwrap();
        let len = parcel.bytes().len();
        put_value(&vec![0_u8; 100], &mut parcel).unwrap_err();
        assert_eq!((parcel.count(), parcel.bytes().len()), (1, len));
    }

    /// Bytes that are no items are refused, whatever they are, and never a panic.
    #[test]
    fn made_up_payloads_are_refused() {
        let mut parcel = Parcel::new(64);
        put_value(&7_u64, &mut parcel).unwrap();
        put_value(&8_u64, &mut parcel).unwrap();
        let good = parcel.take();
        for count in [0, 1, 3, u16::MAX] {
            assert_eq!(Items::read(good.clone(), count).err(), Some(Malformed));
        }
        for at in 0..good.len() {
            for byte in [1, 0x7F, 0xFF] {
                let mut bad = good.clone();
                bad[at] ^= byte;
                if let Ok((mut items, _)) = Items::read(bad, 2) {
                    while items.take().is_some() {}
                }
            }
        }
        for len in 0..good.len() {
            let mut short = good.clone();
            short.resize(len, 0);
            assert!(Items::read(short, 2).is_err());
        }
    }
}
