//! Between one end of a link and a stream of bytes: what goes out, what comes in. Pure.
//!
//! ```text
//!  owner ── sends ──> ring ── Pump ──> bytes ── stream ──> bytes ── Pump ──> ring ──> peer's owner
//!         <─ reads ── ring <─ Pump <── bytes <─ stream <── bytes <─ Pump <── ring <──
//! ```
//!
//! The owner has a link like any other, in private memory; the pump holds the other ends of its two
//! rings. A frame of the stream is a header, and behind a record its bytes:
//!
//! ```text
//!   +0  kind (1), zeros (3)
//!   +4  extra (4): a record's tag
//!   +8  value (8): a record's length, a position, a call
//! ```
//!
//! The content of blobs goes between the records, in pieces: see [`Freight`]. A piece is a header
//! with its length as `extra` and its number as `value`, and its bytes; an offer is followed by
//! what there is of it, in three numbers.
//!
//! A record is sent only when the peer's ring is known to have room for it: both ends have rings of
//! one size, so they agree on each record's position, and the peer tells how far its owner has
//! read. What comes in therefore never waits for the owner, and a cancel never for a full ring.
//!
//! Everything that comes in is the peer's allegation.

use std::sync::Arc;

use super::board::{Geometry, Memory, Side};
use super::freight::{Extent, Freight, Note, PIECE_LEN_MAX};
use super::receiver::LinkError;
use crate::ring::{ClaimError, Consumer, GRAIN, Producer};
use crate::wire::id::CallId;

/// Bytes of a frame's header.
pub(crate) const HEADER_LEN: usize = 16;

/// How much is put out at once, and a record more: the other side opens it while more is sealed.
const OUTPUT_LEN: usize = 24 * 1024;

/// A word of the bits that say whose cancels are still to be told.
const BITS: usize = 64;

/// What a frame of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A record of the ring.
    Record = 1,
    /// How far the sender's owner has released what came in.
    Released = 2,
    /// Nobody wants the answer of this call any more. From the caller.
    Cancel = 3,
    /// Asks to be told when all records that are there by now are out. From the server.
    Settle = 4,
    /// They are. From the caller.
    Settled = 5,
    /// The actor has ended in order: all that it will ever answer came before. From the server.
    Bye = 6,
    /// The content of a blob follows in pieces; how much that is stands behind the header.
    Offer = 7,
    /// A piece of it.
    Piece = 8,
    /// The rest of it will not come.
    Withdraw = 9,
    /// There is no room for it. From who is to have it.
    Refused = 10,
    /// So many bytes of content were taken in.
    Taken = 11,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Record,
            Self::Released,
            Self::Cancel,
            Self::Settle,
            Self::Settled,
            Self::Bye,
            Self::Offer,
            Self::Piece,
            Self::Withdraw,
            Self::Refused,
            Self::Taken,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a request for quiet is: see [`Kind::Settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quiet {
    /// Nobody has asked.
    No,
    /// To be put out.
    Due,
    /// The server waits for the caller's word.
    Asked,
    /// It is done.
    Settled,
}

/// Where the server's last word is: see [`Kind::Bye`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// Nobody thinks of it.
    No,
    /// To be put out behind the last answer.
    Due,
    /// It was said, or heard.
    Done,
}

/// The far ends of one end's rings.
#[derive(Debug)]
pub(crate) struct Pump {
    side: Side,
    outgoing: Consumer<Memory>,
    incoming: Producer<Memory>,
    capacity: u64,
    record_len_max: usize,
    /// Behind the last record that was put out, in bytes of the ring.
    sent: u64,
    /// How far the peer's owner has released, as the peer says.
    acked: u64,
    /// How far our owner's release was told.
    reported: u64,
    /// The next record waits for the peer's owner.
    blocked: bool,
    /// A bit for each slot whose cancel is still to be told, and the latest call of each.
    cancelled: Box<[u64]>,
    cancels: Box<[CallId]>,
    quiet: Quiet,
    parting: Parting,
    /// The content of blobs, where it goes this way.
    freight: Option<Arc<Freight>>,
}

impl Pump {
    /// The far ends of the rings in `memory`, whose owner is on `side`.
    pub(crate) fn new(memory: &Memory, geometry: Geometry, side: Side) -> Self {
        let (out, back) = match side {
            Side::Caller => (geometry.requests(), geometry.replies()),
            Side::Server => (geometry.replies(), geometry.requests()),
        };
        let slots = geometry.slots();
        Self {
            side,
            outgoing: Consumer::new(memory.clone(), out),
            incoming: Producer::new(memory.clone(), back),
            capacity: out.capacity(),
            record_len_max: geometry.frame_len_max(),
            sent: 0,
            acked: 0,
            reported: 0,
            blocked: false,
            cancelled: vec![0; slots.div_ceil(BITS)].into(),
            cancels: vec![CallId::NONE; slots].into(),
            quiet: Quiet::No,
            parting: Parting::No,
            freight: None,
        }
    }

    /// Carries the content of blobs, too.
    pub(crate) fn carry(&mut self, freight: Arc<Freight>) {
        self.freight = Some(freight);
    }

    /// Which end its owner is.
    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// The longest frame that [`Self::take_in`] may need whole.
    pub(crate) fn frame_len_max(&self) -> usize {
        let piece_len_max = self.freight.as_ref().map_or(0, |_| PIECE_LEN_MAX);
        HEADER_LEN + self.record_len_max.max(piece_len_max)
    }

    /// Puts what is to go out behind `output`, until there is enough.
    ///
    /// # Errors
    /// [`LinkError::Ring`] when our own owner breaks the rules of its ring.
    pub(crate) fn put_out(&mut self, output: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.is_report_due() {
            self.reported = self.incoming.released();
            frame(output, Kind::Released, 0, self.reported);
        }
        if self.side == Side::Server && self.quiet == Quiet::Due {
            frame(output, Kind::Settle, 0, 0);
            self.quiet = Quiet::Asked;
        }
        self.put_out_cancels(output);
        put_out_notes(self.freight.as_deref(), output);
        self.blocked = false;
        while output.len() < OUTPUT_LEN {
            let Some(record) = self.outgoing.read()? else {
                if self.side == Side::Caller && self.quiet == Quiet::Due {
                    frame(output, Kind::Settled, 0, 0);
                    self.quiet = Quiet::Settled;
                }
                if self.side == Side::Server && self.parting == Parting::Due {
                    frame(output, Kind::Bye, 0, 0);
                    self.parting = Parting::Done;
                    crate::sys::failpoint::at("pump.bye.put");
                }
                break;
            };
            let end = record.end();
            // What the peer's claim will ask for, see `Producer::claim`.
            if end - self.acked + GRAIN as u64 > self.capacity {
                self.blocked = true;
                break;
            }
            // It may say that what was withdrawn is forgotten: what was noted before it goes first.
            put_out_notes(self.freight.as_deref(), output);
            let len = record.len();
            frame(output, Kind::Record, record.tag(), len as u64);
            let at = output.len();
            output.resize(at + len, 0);
            record.copy_to(0, &mut output[at..]);
            record.release();
            self.sent = end;
        }
        Ok(())
    }

    /// Puts a piece of a blob out, if there is one.
    pub(crate) fn put_out_piece(&self, output: &mut Vec<u8>) {
        if let Some(freight) = &self.freight {
            put_out_notes(Some(freight), output);
            freight.put_piece(|number, piece| {
                // A piece is shorter than any number of 32 bits.
                let len = u32::try_from(piece.len()).unwrap_or_default();
                frame(output, Kind::Piece, len, number);
                output.extend_from_slice(piece);
                crate::sys::failpoint::at("pump.piece.put");
            });
        }
    }

    /// Whether there are pieces to be put out.
    pub(crate) fn has_pieces(&self) -> bool {
        let freight = self.freight.as_ref();
        freight.is_some_and(|freight| freight.has_pieces())
    }

    /// Whether no blob is on its way.
    pub(crate) fn is_light(&self) -> bool {
        let freight = self.freight.as_ref();
        freight.is_none_or(|freight| freight.is_idle())
    }

    /// Whether the owner waits for its bell.
    pub(crate) fn is_owner_asleep(&self) -> bool {
        self.incoming.is_awaited()
    }

    /// Nothing goes or comes any more.
    pub(crate) fn end(&self) {
        if let Some(freight) = &self.freight {
            freight.end();
        }
    }

    /// Takes in the whole frames that `input` begins with, and gives their length.
    ///
    /// # Errors
    /// [`LinkError`] when the peer breaks the rules; the stream is then of no more use.
    pub(crate) fn take_in(
        &mut self,
        input: &[u8],
        mut cancel: impl FnMut(CallId),
    ) -> Result<usize, LinkError> {
        let mut rest = input;
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() {
            let (kind, extra, value) = parse(header)?;
            rest = behind;
            match (kind, self.side) {
                (Kind::Record, _) => {
                    let len = usize::try_from(value).unwrap_or(usize::MAX);
                    if len > self.record_len_max {
                        return Err(LinkError::Stream("a record longer than any"));
                    }
                    let Some((bytes, behind)) = behind.split_at_checked(len) else {
                        rest = &input[input.len() - behind.len() - HEADER_LEN..];
                        break;
                    };
                    self.commit(extra, bytes)?;
                    rest = behind;
                }
                (Kind::Released, _) => {
                    if value < self.acked || value > self.sent {
                        return Err(LinkError::Stream("a release of what was not sent"));
                    }
                    self.acked = value;
                }
                (Kind::Cancel, Side::Server) => {
                    let call = CallId::from_bits(value);
                    if call.slot() >= self.cancels.len() {
                        return Err(LinkError::Stream("a cancel of no slot"));
                    }
                    cancel(call);
                }
                (Kind::Settle, Side::Caller) if self.quiet == Quiet::No => {
                    self.quiet = Quiet::Due;
                }
                (Kind::Settled, Side::Server) if self.quiet == Quiet::Asked => {
                    self.quiet = Quiet::Settled;
                }
                (Kind::Bye, Side::Caller) if self.parting == Parting::No => {
                    self.parting = Parting::Done;
                    crate::sys::failpoint::at("pump.bye.taken");
                }
                (Kind::Offer | Kind::Piece | Kind::Withdraw | Kind::Refused | Kind::Taken, _) => {
                    let Some(len) = self.take_in_content((kind, extra, value), behind)? else {
                        rest = &input[input.len() - behind.len() - HEADER_LEN..];
                        break;
                    };
                    rest = &behind[len..];
                }
                (Kind::Cancel | Kind::Settle | Kind::Settled | Kind::Bye, _) => {
                    return Err(LinkError::Stream("a frame of the wrong direction or time"));
                }
            }
        }
        Ok(input.len() - rest.len())
    }

    /// Behind the last record that was taken in, in bytes of the ring.
    pub(crate) fn received(&self) -> u64 {
        self.incoming.position()
    }

    /// Whether the owner sleeps and must be rung for what was taken in.
    pub(crate) fn announce(&self) -> bool {
        self.incoming.announce()
    }

    /// Whether the owner has left so much unread that the peer may soon find no room. It may have
    /// nobody who looks, for all its calls were dropped, and must be rung then though it does not
    /// wait for its bell: the peer cannot ring here.
    pub(crate) fn is_crowded(&self) -> bool {
        let unread = self.received().saturating_sub(self.incoming.released());
        unread >= self.capacity / 4
    }

    /// Whether the owner waits for room that was made, and must be rung.
    pub(crate) fn freed(&mut self) -> bool {
        self.outgoing.freed()
    }

    /// Announces that nobody looks until the owner rings. False: something is to go out.
    ///
    /// While records wait for the peer nothing is announced: there the peer's word wakes us.
    pub(crate) fn doze(&mut self) -> bool {
        // As much came in as the peer should hear of: then our owner rings when it has read it.
        if self.incoming.position() - self.reported >= self.capacity / 4 {
            self.incoming.want_room();
        }
        !self.is_report_due() && (self.blocked || self.outgoing.doze())
    }

    /// Behind the last record that was put out, in bytes of the ring.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the owner's ring is empty: nothing waits to go out.
    pub(crate) fn is_empty(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Has the peer told that nobody wants the answer of `call` any more.
    pub(crate) fn cancel(&mut self, call: CallId) {
        if let Some(latest) = self.cancels.get_mut(call.slot()) {
            *latest = call;
            self.cancelled[call.slot() / BITS] |= 1 << (call.slot() % BITS);
        }
    }

    /// Asks the caller to tell when all is out that is there by now. Once.
    pub(crate) fn settle(&mut self) {
        if self.quiet == Quiet::No {
            self.quiet = Quiet::Due;
        }
    }

    /// Whether the caller has told so.
    pub(crate) fn is_settled(&self) -> bool {
        self.quiet == Quiet::Settled
    }

    /// Says, once all answers are out, that no more will come. Once.
    pub(crate) fn part(&mut self) {
        if self.parting == Parting::No {
            self.parting = Parting::Due;
        }
    }

    /// Whether that was said, or heard.
    pub(crate) fn is_parted(&self) -> bool {
        self.parting == Parting::Done
    }

    /// Whether `peer` has all that it could get, and has told how far its owner has read.
    #[cfg(test)]
    pub(crate) fn is_still_beside(&self, peer: &Self) -> bool {
        let is_told = self.acked == peer.reported && !peer.is_report_due();
        let is_out = self.blocked || self.outgoing.is_empty();
        is_told && is_out && self.sent == peer.received()
    }

    fn is_report_due(&self) -> bool {
        self.incoming.released().saturating_sub(self.reported) >= self.capacity / 4
    }

    fn put_out_cancels(&mut self, output: &mut Vec<u8>) {
        for (word, bits) in self.cancelled.iter_mut().enumerate() {
            while *bits != 0 {
                let slot = word * BITS + bits.trailing_zeros() as usize;
                *bits &= *bits - 1;
                frame(output, Kind::Cancel, 0, self.cancels[slot].bits());
            }
        }
    }

    /// Takes in what belongs to the content of blobs; gives how many bytes behind the header that
    /// were. None: they are not all there.
    fn take_in_content(
        &self,
        (kind, extra, number): (Kind, u32, u64),
        behind: &[u8],
    ) -> Result<Option<usize>, LinkError> {
        let unasked = LinkError::Stream("the content of a blob, which does not come this way");
        let freight = self.freight.as_ref().ok_or(unasked)?;
        match kind {
            Kind::Piece => {
                let len = usize::try_from(extra).unwrap_or(usize::MAX);
                if len > PIECE_LEN_MAX {
                    return Err(LinkError::Stream("a piece longer than any"));
                }
                let Some(piece) = behind.get(..len) else {
                    return Ok(None);
                };
                freight.take_in(number, piece)?;
                crate::sys::failpoint::at("pump.piece.taken");
                return Ok(Some(len));
            }
            Kind::Offer => {
                let Some(extent) = behind.first_chunk() else {
                    return Ok(None);
                };
                freight.hear(Note::Offer(number, Extent::from_bytes(extent)))?;
                crate::sys::failpoint::at("pump.offer.taken");
                return Ok(Some(Extent::LEN));
            }
            Kind::Withdraw => freight.hear(Note::Withdraw(number))?,
            Kind::Refused => freight.hear(Note::Refused(number))?,
            _ => freight.hear(Note::Taken(number))?,
        }
        Ok(Some(0))
    }

    fn commit(&mut self, tag: u32, bytes: &[u8]) -> Result<(), LinkError> {
        let mut claim = self
            .incoming
            .claim(bytes.len())
            .map_err(|error| match error {
                ClaimError::Corrupt(corrupt) => LinkError::Ring(corrupt),
                ClaimError::Full | ClaimError::TooLong { .. } => {
                    LinkError::Stream("a record that there was no room for")
                }
            })?;
        claim.write(bytes);
        claim.commit(tag);
        Ok(())
    }
}

/// Puts out all that is to be said of transfers.
fn put_out_notes(freight: Option<&Freight>, output: &mut Vec<u8>) {
    while let Some(note) = freight.and_then(Freight::next_note) {
        match note {
            Note::Offer(number, extent) => {
                frame(output, Kind::Offer, 0, number);
                output.extend_from_slice(&extent.to_bytes());
                crate::sys::failpoint::at("pump.offer.put");
            }
            Note::Withdraw(number) => frame(output, Kind::Withdraw, 0, number),
            Note::Refused(number) => frame(output, Kind::Refused, 0, number),
            Note::Taken(sum) => frame(output, Kind::Taken, 0, sum),
        }
    }
}

fn frame(output: &mut Vec<u8>, kind: Kind, extra: u32, value: u64) {
    output.extend_from_slice(&[kind as u8, 0, 0, 0]);
    output.extend_from_slice(&extra.to_le_bytes());
    output.extend_from_slice(&value.to_le_bytes());
}

fn parse(header: &[u8; HEADER_LEN]) -> Result<(Kind, u32, u64), LinkError> {
    let [kind, zeros @ .., a, b, c, d] = *header.first_chunk::<8>().expect("it has sixteen");
    let value = u64::from_le_bytes(*header.last_chunk::<8>().expect("it has sixteen"));
    let extra = u32::from_le_bytes([a, b, c, d]);
    let kind = Kind::of(kind).ok_or(LinkError::Stream("a frame of no kind"))?;
    let is_plain = zeros == [0; 3] && (matches!(kind, Kind::Record | Kind::Piece) || extra == 0);
    let is_bare = !matches!(kind, Kind::Settle | Kind::Settled | Kind::Bye) || value == 0;
    if is_plain && is_bare {
        Ok((kind, extra, value))
    } else {
        Err(LinkError::Stream("a frame that is not plain"))
    }
}
