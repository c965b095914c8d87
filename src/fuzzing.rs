//! Where the fuzzer comes in: each function takes a peer's bytes and must return.
//!
//! It exists only in the fuzzer's builds, and does nothing but bring the input to where a peer's
//! bytes arrive. What is expected of any input: no panic, no endless loop, no access outside the
//! memory.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use rkyv::{Archive, Deserialize, Serialize};

use crate::flow::inflow::{Inflow, Next};
use crate::flow::outflow::Outflow;
use crate::flow::parcel::put_value;
use crate::flow::table::Flows;
use crate::flow::{Sending, Way, Window};
use crate::ring::{AtomicU64, CONTROL_WORDS, Consumer, Glance, Ordering, Place, Producer, Words};
use crate::sys::body::Body;
use crate::sys::memory::Segment;
use crate::sys::pages::Access;
use crate::sys::sealed::BlobBuilder;
use crate::sys::shared::Shared;
use crate::sys::socket::Lifeline;
use crate::transport::auth_key::AuthKey;
use crate::transport::board::{Geometry, Memory, Side};
use crate::transport::freight::Freight;
use crate::transport::noise::{Handshake, MESSAGE_LENS, Preamble, Suite, pair};
use crate::transport::porter::{Heard, Known, LIST_LEN_MAX, Porter};
use crate::transport::pump::Pump;
use crate::transport::receiver::Receiver;
use crate::transport::sender::SendError;
use crate::wire::attached::{Attached, Beside};
use crate::wire::codec::{self, Buffer, Message};
use crate::wire::frame::{Head, Kind};
use crate::wire::hello::{self, Greeting, Hello};
use crate::wire::holding::{Hold, Memory as Held};
use crate::wire::id::CallId;
use crate::wire::lent::Lend;
use crate::wire::obituary::{Inquiry, Obituary};
use crate::wire::passport::{Enter, Passport};
use crate::wire::report::{PanicReport, Refusal};
use crate::wire::view::{Reply, View};
use crate::wire::welcome::{Join, Welcome};

/// Memory that its peer changes between any two looks, as the input says.
struct Restless<'a> {
    words: Box<[AtomicU64]>,
    input: Cell<&'a [u8]>,
}

impl Restless<'_> {
    fn take<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let (taken, rest) = self.input.get().split_at(N.min(self.input.get().len()));
        bytes[..taken.len()].copy_from_slice(taken);
        self.input.set(rest);
        bytes
    }
}

impl Words for &Restless<'_> {
    fn words(&self) -> &[AtomicU64] {
        let [change, low, high] = self.take();
        let index = usize::from(u16::from_le_bytes([low, high])) % self.words.len();
        let value = match change {
            0..=2 => u64::from_le_bytes(self.take()),
            3..=5 => u64::from(change - 3).wrapping_sub(1),
            // A record that may be there: a length and a tag.
            6..=9 => u64::from(self.take::<1>()[0]) + (u64::from(change) << 32),
            _ => return &self.words,
        };
        self.words[index].store(value, Ordering::Relaxed);
        &self.words
    }
}

/// Both ends of a ring whose memory is in a peer's hands, used as the input says.
pub fn ring(input: &[u8]) {
    let Some((&size, input)) = input.split_first() else {
        return;
    };
    let place = Place::new(0, CONTROL_WORDS, 64 << (size % 7));
    let words = (0..place.end()).map(|_| AtomicU64::new(0)).collect();
    let memory = Restless {
        words,
        input: Cell::new(input),
    };
    let mut writer = Producer::new(&memory, place);
    let mut reader = Consumer::new(&memory, place);
    let glance = Glance::new(&memory, place);
    while !memory.input.get().is_empty() {
        let [step, len] = memory.take();
        match step % 8 {
            0 | 1 => {
                if let Ok(mut claim) = writer.claim(usize::from(len)) {
                    claim.write(&[step; 256][..usize::from(len) / 2]);
                    if step < 240 {
                        claim.commit(u32::from(step));
                    }
                }
            }
            2..=4 => {
                if let Ok(Some(record)) = reader.read() {
                    let mut copy = vec![0; record.len()];
                    record.copy_to(0, &mut copy);
                    record.release();
                }
            }
            5 => drop((reader.doze(), reader.wake())),
            6 => drop((
                reader.freed(),
                reader.owes_room(),
                reader.is_empty(),
                glance.is_promising(),
            )),
            _ => drop((writer.announce(), writer.want_room(), writer.released())),
        }
    }
}

/// A peer's records: each begins with a byte of its length and the four of its tag.
pub fn frame(input: &[u8]) {
    const MESSAGE_LEN_MAX: u64 = 4096;
    let geometry = Geometry::new(4096, 8).expect("these sizes are possible");
    let memory = Memory(Arc::new(Segment::private(geometry.segment_len())));
    let mut peer = Producer::new(memory.clone(), geometry.requests());
    let mut receiver = Receiver::of(memory, geometry, MESSAGE_LEN_MAX);
    let (mut rest, mut body) = (input, Body::new());
    while let [len, a, b, c, d, after @ ..] = rest {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*len) * 2));
        rest = after;
        let tag = u32::from_le_bytes([*a, *b, *c, *d]);
        if let Ok(head) = Head::decode(tag, bytes) {
            let (again, encoded) = head.encode();
            assert_eq!(Head::decode(again, encoded.as_slice()), Ok(head));
        }
        let Ok(mut claim) = peer.claim(bytes.len()) else {
            return;
        };
        claim.write(bytes);
        claim.commit(tag);
        if receiver.try_recv(&mut body).is_err() {
            return;
        }
        assert!(body.len() as u64 <= MESSAGE_LEN_MAX);
    }
}

/// What somebody sends to a door or from one, without the key and with it: the messages of a
/// handshake, to either side; then records, of which those whose first byte is even are sealed as
/// the peer's.
pub fn noise(input: &[u8]) {
    let key = AuthKey::from([7; 32]);
    let (preamble, rest) = input.split_at(input.len().min(8));
    if let Ok(preamble) = preamble.try_into()
        && let Some(preamble) = Preamble::read(preamble)
    {
        assert_eq!(Preamble::read(preamble.bytes()), Some(preamble));
        if let Ok(mut server) = Handshake::respond(&key, preamble) {
            let first = &rest[..rest.len().min(MESSAGE_LENS[0])];
            if server.read(first).is_ok() {
                drop(server.write());
                // Who has not the key cannot make the third one.
                let third = &rest[first.len()..];
                assert!(server.read(third).is_err(), "let in without the key");
            }
        }
    }
    let mut client = Handshake::initiate(&key, Preamble::new(Suite::AesGcm)).expect("it begins");
    let _ = client.write();
    let _ = client.read(input);
    let (client, server) = pair(&key, Suite::ChaChaPoly);
    let (mut client, mut server) = (client.rekeyed_after(2), server.rekeyed_after(2));
    let mut plain = vec![0; 70_000];
    let mut rest = rest;
    while let [first, len, after @ ..] = rest {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        if first % 2 == 0 {
            let mut sealed = Vec::new();
            client.seal(bytes, &mut sealed).expect("it is short");
            let opened = server
                .open(&sealed[2..], &mut plain)
                .expect("it is the next one");
            assert_eq!(&plain[..opened], bytes);
        } else {
            assert!(server.open(bytes, &mut plain).is_err(), "made up");
            return;
        }
    }
}

/// What a peer sends over the stream beneath a link: to either side, whose owner sends and reads in
/// between, in pieces of the length that the first byte says.
pub fn stream(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let side = [Side::Caller, Side::Server][usize::from(first % 2)];
    let geometry = Geometry::new(4096, 8).expect("these sizes are possible");
    let memory = Memory(Arc::new(Segment::private(geometry.segment_len())));
    let mut pump = Pump::new(&memory, geometry, side);
    pump.carry(Freight::new(1 << 20));
    let (out, back) = match side {
        Side::Caller => (geometry.requests(), geometry.replies()),
        Side::Server => (geometry.replies(), geometry.requests()),
    };
    let mut writer = Producer::new(memory.clone(), out);
    let mut reader = Consumer::new(memory, back);
    let (mut kept, mut output) = (Vec::new(), Vec::new());
    for piece in input.chunks(usize::from(first / 2) + 1) {
        kept.extend_from_slice(piece);
        let Ok(taken) = pump.take_in(&kept, |call| assert!(call.slot() < 8)) else {
            return;
        };
        kept.drain(..taken);
        assert!(kept.len() < pump.frame_len_max());
        // The owner's turn.
        if let Ok(claim) = writer.claim(usize::from(piece[0])) {
            claim.commit(7);
        }
        if let Some(record) = reader.read().expect("what was let in is a record") {
            record.release();
        }
        output.clear();
        pump.put_out(&mut output).expect("the owner is honest");
        pump.put_out_piece(&mut output);
        pump.doze();
    }
}

/// What a packet says, if anything, is said by another one that is made of it.
fn repeat<M: Message + PartialEq + fmt::Debug>(packet: &[u8]) -> Option<M> {
    let said: M = hello::decode(packet).ok()?;
    let again = hello::encode(&said).expect("what came fits again");
    assert_eq!(hello::decode(&again).ok().as_ref(), Some(&said));
    Some(said)
}

/// A first packet of either side of a start, of a network, or of who enters by a proxy in a message
/// and is told something there; with any preamble or with the right one.
pub fn hello(input: &[u8]) {
    let Some((&any, input)) = input.split_first() else {
        return;
    };
    let preamble = hello::encode(&()).expect("nothing always fits");
    let packet = [if any == 0 { &[] } else { &*preamble }, input].concat();
    repeat::<Hello>(&packet);
    drop(hello::decode::<Greeting>(&packet));
    repeat::<Welcome>(&packet);
    if let Some(join) = repeat::<Join>(&packet) {
        // Whatever it says of its clock, and whatever ours says.
        let _ = [0, 1, u64::MAX].map(|ours| (join.skew(ours, 0), join.skew(ours, u64::MAX)));
    }
    repeat::<Enter>(&packet);
    repeat::<Passport>(&packet);
    repeat::<Obituary>(&packet);
    repeat::<Inquiry>(&packet);
}

/// A message with one of everything that users send.
#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
enum Any {
    Nothing,
    Number(i64, u8),
    Text {
        text: String,
        more: Option<Box<str>>,
    },
    Lists(Vec<Vec<u16>>),
    Inner(Result<Inner, String>),
    Sorted(BTreeMap<String, u32>),
}

#[derive(Archive, Serialize, Deserialize, Debug, PartialEq)]
enum Inner {
    Char(char),
    Bool([bool; 3]),
    Pairs(Vec<(String, Option<u128>)>),
}

/// An archive of one of several types, chosen by the first byte.
pub fn archive(input: &[u8]) {
    let Some((&kind, input)) = input.split_first() else {
        return;
    };
    // With overflow checks rkyv panics at some archives of hash maps. The library catches that; the
    // fuzzer stops before it could. `cargo fuzz run -O archive` runs them without these checks.
    let kinds = if cfg!(debug_assertions) { 7 } else { 9 };
    match kind % kinds {
        0 => decode::<(u64, String, Vec<u8>)>(input),
        1 => decode::<Any>(input),
        2 => decode::<Vec<Any>>(input),
        3 => decode::<Vec<Vec<String>>>(input),
        4 => decode::<BTreeMap<u32, Vec<String>>>(input),
        5 => decode::<Result<PanicReport, Refusal>>(input),
        6 => borrow(input),
        7 => decode::<HashMap<String, Vec<u32>>>(input),
        _ => decode::<(HashMap<u8, HashMap<u16, bool>>, Option<Any>)>(input),
    }
}

/// What a method borrows is what it would own, and lies within the message.
fn borrow(bytes: &[u8]) {
    type Arguments = (String, u64, Vec<u8>, Any);
    let message = codec::copy(bytes);
    let borrowed = codec::read::<Arguments, _>(&message, |arguments| {
        let text = <str as Lend>::see(&arguments.0);
        let bytes = <[u8] as Lend>::see(&arguments.2);
        let any = <Any as Lend>::see(&arguments.3);
        Ok((
            text,
            codec::own::<u64>(&arguments.1)?,
            bytes,
            codec::own::<Any>(any)?,
        ))
    });
    match (borrowed, codec::decode::<Arguments>(&message)) {
        (Err(_), Err(_)) => {}
        (Ok(borrowed), Ok(owned)) => {
            let (text, number, bytes, any) = owned;
            assert!(borrowed == (&text, number, &bytes, any));
            let within = message.as_ptr_range();
            let lies_within = |at: &[u8]| at.is_empty() || within.contains(&at.as_ptr());
            assert!(lies_within(borrowed.0.as_bytes()) && lies_within(borrowed.2));
        }
        (borrowed, owned) => panic!("{} and {}", borrowed.is_ok(), owned.is_ok()),
    }
}

/// What could be read can be written and read again, and is the same then.
fn decode<M: Message + PartialEq>(bytes: &[u8]) {
    let viewed = View::<M>::__read(codec::copy(bytes).into());
    let Ok(value) = codec::decode::<M>(&codec::copy(bytes)) else {
        assert!(!viewed.is_ok_and(|view| view.deserialize().is_ok()));
        return;
    };
    let viewed = viewed.and_then(|view| view.deserialize());
    assert!(viewed.is_ok_and(|viewed| viewed == value));
    let again = codec::encode(&value, usize::MAX, codec::copy).expect("what came can go");
    let read = codec::decode::<M>(&again).expect("what was written can be read");
    assert!(read == value);
}

/// Descriptors that a peer may send: right ones and wrong ones.
struct Descriptors {
    all: Vec<OwnedFd>,
}

impl Descriptors {
    fn new() -> io::Result<Self> {
        let mut words = BlobBuilder::alloc(16).map_err(io::Error::other)?;
        words.as_mut_slice()[3] = 7;
        let words = words.into_sealed().map_err(io::Error::other)?;
        let numbers = Shared::alloc(16).map_err(io::Error::other)?;
        let (reader, writer) = io::pipe()?;
        let unsealed =
            nix::sys::memfd::memfd_create(c"unsealed", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        let all = vec![
            words.pages().as_fd().try_clone_to_owned()?,
            numbers.pages().as_fd().try_clone_to_owned()?,
            unsealed,
            reader.into(),
            writer.into(),
            std::fs::File::open("/dev/null")?.into(),
        ];
        Ok(Self { all })
    }
}

/// What a peer sends beside a link: descriptors, words and lists of any kind, in any order, while
/// we send blobs and arrays of our own, forget them, and read what messages say lies beside them.
pub fn attached(input: &[u8]) {
    static DESCRIPTORS: LazyLock<Descriptors> =
        LazyLock::new(|| Descriptors::new().expect("the fuzzer has descriptors"));
    let Ok((porter, fd)) = Porter::pair() else {
        return;
    };
    let peer = Lifeline::from(fd);
    peer.set_nonblocking(true).expect("it is a socket");
    let mut ours: Vec<Hold> = Vec::new();
    let mut came: Vec<Attached> = Vec::new();
    let mut known = Known::default();
    let mut rest = input;
    while let Some((&step, after)) = rest.split_first() {
        let (bytes, after) = after.split_at(after.len().min(usize::from(step >> 4) * 4));
        rest = after;
        match step & 15 {
            0..=3 => send(&peer, &DESCRIPTORS.all, bytes),
            4..=8 => match hear(&porter, bytes) {
                Some(Heard::Attached(attached)) => came.push(attached),
                Some(Heard::Room | Heard::Nothing) => {}
                None => break,
            },
            9 | 10 => ours.push(own(step & 1 == 1)),
            11 => {
                let beside: Attached = ours.iter().cloned().map(Beside::Here).collect();
                let mut list = [0; LIST_LEN_MAX];
                // The peer takes nothing, so the way may be full.
                if matches!(porter.name(&beside, &mut known), Ok(None)) {
                    let _ = porter.list(&beside, &mut list);
                }
                while peer.recv(&mut [0; 64]).is_ok_and(|packet| packet.len > 0) {}
            }
            12 => drop(ours.pop()),
            13 => drop(came.pop()),
            14 => {
                while porter.next_due().is_some() {
                    porter.done();
                }
            }
            _ => look(came.last(), bytes),
        }
        ours.truncate(8);
        came.truncate(8);
    }
    porter.let_go();
    assert!(
        porter.next_due().is_none(),
        "nothing is said of what was let go"
    );
}

/// A packet as its bytes say, with the descriptors that the first of them chooses.
fn send(peer: &Lifeline, all: &[OwnedFd], bytes: &[u8]) {
    let Some((&chosen, bytes)) = bytes.split_first() else {
        return;
    };
    let mut packet = [0; 24];
    // Small numbers, so that lists can speak of them.
    for (word, byte) in packet.chunks_exact_mut(8).zip(bytes) {
        word[0] = *byte;
    }
    let fds: Vec<_> = match usize::from(chosen) {
        200..=219 => all.iter().take(2).map(|fd| fd.as_fd()).collect(),
        220.. => Vec::new(),
        index => vec![all[index % all.len()].as_fd()],
    };
    let len = if chosen == 255 {
        bytes.len().min(24)
    } else {
        24
    };
    // A full way is the peer's own trouble.
    let _ = peer.send(&packet[..len], &fds);
}

/// A word with its number or list; none: the link has ended.
fn hear(porter: &Porter, bytes: &[u8]) -> Option<Heard> {
    let (&word, bytes) = bytes.split_first()?;
    let number = u64::from(bytes.first().copied().unwrap_or_default());
    if word % 7 == 6 {
        // A frame that names a single one.
        let (named, _) = porter.take_named(number).ok()?;
        return Some(Heard::Attached(named));
    }
    let call = CallId::from_bits(number);
    let head = Head::new(Kind::Beside, u16::from(word % 7), call);
    let mut list: Vec<u8> = bytes
        .iter()
        .flat_map(|entry| u64::from(*entry).to_le_bytes())
        .collect();
    if word >= 240 {
        list.pop();
    }
    porter.hear(&head, &list).ok()
}

/// Memory of ours.
fn own(is_array: bool) -> Hold {
    let memory = if is_array {
        Held::enter(Shared::alloc(8).expect("there is memory"))
    } else {
        let builder = BlobBuilder::alloc(8).expect("there is memory");
        Held::enter(builder.into_sealed().expect("it can be sealed"))
    };
    memory.hold()
}

/// Reads a message of blobs and arrays whose archive is these bytes.
fn look(attached: Option<&Attached>, bytes: &[u8]) {
    type Message = (crate::Blob, crate::Blob<[u16]>, crate::Array<u32>);
    let attached = attached.cloned().unwrap_or_default();
    for holds in attached.holds() {
        assert_eq!(holds.sealed().is_some(), holds.access() == Access::Read);
    }
    attached.within(|| {
        // Each alone, for all three at once are rarely right.
        let message = codec::copy(bytes);
        if let Ok(blob) = codec::decode::<crate::Blob>(&message) {
            assert!(
                blob.len() <= 16 && blob.iter().map(|byte| usize::from(*byte)).sum::<usize>() <= 7
            );
        }
        if let Ok(array) = codec::decode::<crate::Array<u16>>(&message) {
            array.fill(3);
            assert!(array.to_vec().iter().all(|number| *number == 3));
        }
        drop(codec::decode::<crate::Blob<String>>(&message));
        drop(codec::decode::<Message>(&message));
    });
}

/// A link whose frames nobody takes.
#[derive(Default)]
struct Nowhere(Flows);

impl Way for Nowhere {
    fn flows(&self) -> &Flows {
        &self.0
    }

    fn try_send(&self, _: &Head, _: &[u8], _: &Attached) -> Result<(), SendError> {
        Ok(())
    }

    fn send(self: Arc<Self>, _: Head, _: Buffer, _: Attached) -> Sending {
        Box::pin(async { Ok(()) })
    }

    fn listen(self: Arc<Self>) {}

    fn unlisten(&self) {}

    fn hear(&self) {}
}

/// What a peer sends of two streams, of which we read one and write the other: items in payloads of
/// any form, with blobs beside them or not, credit, ends; while we read and write on.
pub fn items(input: &[u8]) {
    const READ: u64 = 1;
    const WRITTEN: u64 = 2;
    let way = Arc::new(Nowhere::default());
    let window = Window::USUAL.with_items(5).with_bytes(600);
    let open = || Arc::clone(&way) as Arc<dyn Way>;
    let mut reader = Inflow::open(open(), READ, window, None).expect("there is a place");
    let mut writer = Outflow::open(open(), WRITTEN, None, 64).expect("there is a place");
    let numbers = futures_util::stream::iter(0_u64..);
    let mut writing = std::pin::pin!(writer.write(numbers, put_value).fuse());
    let mut cx = Context::from_waker(Waker::noop());
    let (mut rest, mut given) = (input, 0_u64);
    while let [step, number, len, after @ ..] = rest {
        let (bytes, after) = after.split_at(after.len().min(usize::from(*len)));
        rest = after;
        let (kind, id, mut body) = match step % 8 {
            0 | 1 => (Kind::Items, READ, payload(bytes)),
            2 => (Kind::Items, READ, codec::copy(bytes)),
            3 => (Kind::Finish, READ, codec::copy(bytes)),
            4 => (Kind::Credit, WRITTEN, codec::copy(bytes)),
            5 => (Kind::Close, WRITTEN, Buffer::new()),
            6 => (Kind::Items, u64::from(*number % 4), codec::copy(bytes)),
            _ => {
                while let Poll::Ready(Next::Item) = reader.poll_next(&mut cx) {
                    given += 1;
                    reader.take(|_, archive| {
                        drop(codec::decode::<Vec<u8>>(archive));
                        drop(codec::decode::<crate::Blob>(archive));
                        drop(codec::decode::<(u64, String)>(archive));
                    });
                }
                let _ = writing.as_mut().poll(&mut cx);
                continue;
            }
        };
        let attached = match step >> 6 {
            0 => Attached::default(),
            _ => [Beside::Here(own(false))].into_iter().collect(),
        };
        let head = Head::new(kind, u16::from(*number), CallId::from_bits(id));
        let body = &mut std::mem::take(&mut body).into();
        if way.0.take(head, body, attached).is_err() {
            break;
        }
    }
    assert!(given <= input.len() as u64, "an item has a head at least");
}

/// Items as they travel: of each byte an item of so many zeros, mostly with a length that is right.
fn payload(bytes: &[u8]) -> Buffer {
    let mut payload = Buffer::new();
    for byte in bytes {
        let len = u32::from(byte % 50);
        let shown = if *byte == 255 { len + 1 } else { len };
        payload.extend_from_slice(&shown.to_le_bytes());
        payload.extend_from_slice(&u32::from(*byte > 200).to_le_bytes());
        payload.extend_from_slice(&u64::from(*byte > 240).to_le_bytes());
        let end = payload.len() + len.next_multiple_of(16) as usize;
        payload.resize(end, 0);
    }
    payload
}
