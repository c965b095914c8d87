//! An item that is too long for a frame: written where it is read, in the arena of its link.
//!
//! Its payload there is what others are in a frame: the head of an item, its archive, and zeros to
//! the end.

use super::parcel::{HEAD_LEN, padded};
use crate::sys::span::Span;
use crate::transport::arena::{Arena, Draft, Parcel};
use crate::transport::sender::Sender;
use crate::wire::frame::Head;
use crate::wire::sink::Spill;

/// Where items of one stream go that are longer than a frame may be.
#[derive(Debug)]
pub(crate) struct Room {
    /// The longest payload of a frame.
    edge: usize,
    arena: Arena,
}

/// An item that is being written there, if it is long enough. Dropped before it is sealed, it
/// leaves no trace.
pub(super) struct Sheet<'a> {
    draft: Draft<'a>,
    has_begun: bool,
}

/// An item that is written there. Dropped before it was sent, it is forgotten.
#[derive(Debug)]
pub(crate) struct Large {
    place: Parcel,
    len: usize,
}

impl Room {
    /// That of the link by which `sender` sends, if it has one.
    pub(crate) fn of<T>(sender: &Sender<T>) -> Option<Self> {
        let arena = sender.arena().cloned()?;
        let edge = sender.inline_len_max();
        Some(Self { edge, arena })
    }

    /// Where an item may go, and beyond which length it does.
    pub(super) fn sheet(&self) -> (usize, Sheet<'_>) {
        let draft = self.arena.draft();
        let has_begun = false;
        let edge = self.edge.saturating_sub(HEAD_LEN);
        (edge, Sheet { draft, has_begun })
    }
}

impl Sheet<'_> {
    /// Ends the writing of an item with this head and an archive of so many bytes.
    pub(super) fn seal(self, head: [u8; HEAD_LEN], archive_len: usize) -> Option<Large> {
        let (end, len) = (HEAD_LEN + archive_len, HEAD_LEN + padded(archive_len));
        self.draft.write(0, &head);
        // What was there before is no business of the reader's.
        self.draft.write(end, &[0; HEAD_LEN][..len - end]);
        let place = self.draft.seal(len)?;
        Some(Large { place, len })
    }
}

impl Spill for Sheet<'_> {
    fn extend(&mut self, used: usize, len: usize) -> Option<Span> {
        let used = if self.has_begun { HEAD_LEN + used } else { 0 };
        let span = self
            .draft
            .extend(used, HEAD_LEN.checked_add(padded(len))?)?;
        self.has_begun = true;
        Some(span.behind(HEAD_LEN))
    }
}

impl Large {
    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The header of its frame.
    pub(super) fn address(&self, head: Head) -> Head {
        self.place.address(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::head as head_of;
    use crate::flow::parcel::{self, Items, put_value};
    use crate::sys::body::Body;
    use crate::sys::sealed::BlobBuilder;
    use crate::transport::board::Geometry;
    use crate::transport::{Link, loopback};
    use crate::wire::attached::Attached;
    use crate::wire::blob::Blob;
    use crate::wire::codec::{self, Message};
    use crate::wire::frame::Kind;

    /// The memory of each arena.
    const LIMIT: usize = 4 << 20;

    fn links() -> (Link, Link, Room) {
        let geometry = Geometry::new(1 << 16, 8).unwrap();
        let (near, far) = loopback::pair(geometry.with_arenas(LIMIT as u64).unwrap(), 1 << 24);
        let room = Room::of(&near.sender).unwrap();
        (near, far, room)
    }

    fn item_of<T: Message>(items: &mut Items) -> T {
        let item = items.take().unwrap();
        let read = item.attached.within(|| codec::decode(item.archive));
        read.unwrap()
    }

    /// Sends what is in the parcel's large item, and gives it as it is read.
    fn pass(near: &Link, far: &mut Link, parcel: &mut parcel::Parcel) -> Items {
        let (large, attached) = parcel.take_large().unwrap();
        let head = large.address(head_of(Kind::Items, 1, 7));
        near.sender.try_send_with(&head, &[], &attached).unwrap();
        drop(large);
        let mut body = Body::new();
        let head = far.receiver.try_recv(&mut body).unwrap().unwrap();
        assert_eq!((head.kind, head.method), (Kind::Items, 1));
        let attached = far.receiver.take_attached();
        let (items, cost) = Items::read(body, 1, attached).unwrap();
        assert_eq!(cost.before_last, 0);
        items
    }

    /// A long item lies in the arena, behind the short ones before it; its blobs go with it; and
    /// its room is used again when it was read, or was not sent.
    #[tokio::test]
    async fn long_items_lie_in_the_arena() {
        let (near, mut far, room) = links();
        let mut parcel = parcel::Parcel::new(1 << 24, Some(room));
        // More than the arena holds at once.
        for round in 0..20_u8 {
            let len = 500_000 + usize::from(round);
            put_value(&vec![1_u8; 100], &mut parcel).unwrap();
            assert!(!parcel.is_full());
            let before = parcel.cost();
            put_value(&vec![round; len], &mut parcel).unwrap();
            assert!(parcel.is_full() && parcel.cost() > before + len as u64);
            assert_eq!((parcel.count(), parcel.bytes().len() as u64), (2, before));
            let mut items = pass(&near, &mut far, &mut parcel);
            assert_eq!((parcel.count(), parcel.cost()), (1, before));
            assert!(item_of::<Vec<u8>>(&mut items) == vec![round; len]);
            assert!(items.is_empty());
            parcel.clear();
            put_value(&vec![round; len], &mut parcel).unwrap();
            assert!(parcel.take_large().is_some(), "and it is not sent");
        }
        let mut builder = BlobBuilder::alloc(100_000).unwrap();
        builder.as_mut_slice().fill(7);
        let blob: Blob = builder.seal().unwrap();
        put_value(&(vec![2_u64; 9000], blob.clone()), &mut parcel).unwrap();
        assert!(parcel.cost() > 172_000);
        let mut items = pass(&near, &mut far, &mut parcel);
        let (numbers, found) = item_of::<(Vec<u64>, Blob)>(&mut items);
        assert!(numbers == [2; 9000] && *found == *blob);
    }

    /// Where the arena has no room the item is with the others; and one beyond the limit is
    /// refused, wherever it was begun.
    #[tokio::test]
    async fn what_has_no_room_is_with_the_others() {
        let (_near, _far, room) = links();
        let mut parcel = parcel::Parcel::new(2 * LIMIT, Some(room));
        put_value(&vec![3_u8; LIMIT], &mut parcel).unwrap();
        assert!(parcel.take_large().is_none() && parcel.bytes().len() > LIMIT);
        let (bytes, _) = parcel.take();
        let (mut items, _) = Items::read(bytes.into(), 1, Attached::default()).unwrap();
        assert!(item_of::<Vec<u8>>(&mut items) == vec![3; LIMIT]);
        put_value(&vec![3_u8; 2 * LIMIT], &mut parcel).unwrap_err();
        assert!(parcel.take_large().is_none() && parcel.count() == 0);
        put_value(&vec![4_u8; LIMIT / 2], &mut parcel).unwrap();
        assert!(parcel.take_large().is_some());
    }
}
