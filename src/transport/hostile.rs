//! A link whose peer has the segment in its hands and writes into it what it likes.
//!
//! Shown here, over private and shared memory: no word of the segment, at any value, makes an end
//! panic or look for ever. The end gets a [`LinkError`] or nothing, or frames that are not what was
//! sent: those are the peer's own. That a reader never reads outside the ring is shown in
//! `ring/hostile.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::Link;
use super::board::{Board, Geometry, Memory, Side};
use super::receiver::LinkError;
use super::sender::SendError;
use super::shm::{Bells, connect};
use crate::ring::{Ordering, Producer, WORD};
use crate::sys::body::Body;
use crate::sys::doorbell::Doorbell;
use crate::sys::memory::Segment;
use crate::wire::frame::{FrameError, Head, Kind};
use crate::wire::id::CallId;

const MESSAGE_LEN_MAX: u64 = 64 * 1024;
const CAPACITY: u64 = 4096;
const SLOTS: usize = 8;

/// Values at the borders of everything that a word can mean to such a link.
const INTERESTING: [u64; 24] = [
    0,
    1,
    2,
    8,
    9,
    16,
    17,
    33,
    512,
    1016,
    1017,
    1018,
    4080,
    4096,
    4097,
    MESSAGE_LEN_MAX + 1,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    (1 << 32) + 9,
    (0x0308 << 32) + 25,
    (0x0009 << 32) + 9,
    1 << 63,
    u64::MAX - 15,
    u64::MAX,
];

fn geometry() -> Geometry {
    Geometry::new(CAPACITY, SLOTS as u64).unwrap()
}

fn private() -> Arc<Segment> {
    Arc::new(Segment::private(geometry().segment_len()))
}

fn shared() -> Arc<Segment> {
    let segment = Segment::create(geometry().segment_len()).unwrap();
    segment.unlink();
    Arc::new(segment)
}

/// One honest end in a segment; its bells ring for nobody.
fn end(segment: &Arc<Segment>, side: Side) -> Link {
    let bells = Bells {
        own: Doorbell::new().unwrap(),
        peer: Doorbell::new().unwrap(),
    };
    connect(
        Arc::clone(segment),
        geometry(),
        side,
        bells,
        MESSAGE_LEN_MAX,
    )
    .unwrap()
}

/// What an end does in a turn, as often as its peer allows. It returns; that is what is tested.
fn live_on(link: &mut Link, frames: usize) -> Result<(), LinkError> {
    let Link {
        sender,
        receiver,
        glance,
        board,
        ..
    } = link;
    let mut body = Body::new();
    for number in 1..=frames {
        let head = Head::new(Kind::Reply, 0, CallId::new(number as u64, number % SLOTS));
        match sender.try_send(&head, &[7; 100][..number % 100]) {
            Ok(_)
            | Err(
                SendError::Full | SendError::Closed | SendError::Unattached | SendError::Unconveyed,
            ) => {}
            Err(SendError::Corrupt(corrupt)) => return Err(corrupt.into()),
        }
        sender.lock().outbox.released();
        glance.is_promising();
        board.is_cancelled(head.call);
        board.read_last_words();
        board.is_stamped();
        // A turn is bounded by what was read: a peer can leave a circle of records.
        for _ in 0..8 {
            if receiver.try_recv(&mut body)?.is_none() {
                break;
            }
            assert!(body.len() as u64 <= MESSAGE_LEN_MAX);
        }
        receiver.owes_room();
        receiver.freed();
        receiver.doze();
    }
    Ok(())
}

/// Each word of the segment with each interesting value, on a fresh link and on one in use.
#[tokio::test]
async fn any_word_may_lie() {
    let words = geometry().segment_len() / WORD;
    // All of the stamp, the controls, the cancels and the first last words; of the data every
    // seventh.
    let interesting = (0..200).chain((200..words).step_by(7));
    for index in interesting {
        for (at, value) in INTERESTING.into_iter().enumerate() {
            let segment = private();
            let side = if index % 2 == at % 2 {
                Side::Caller
            } else {
                Side::Server
            };
            let other = if side == Side::Caller {
                Side::Server
            } else {
                Side::Caller
            };
            let (mut honest, mut peer) = (end(&segment, side), end(&segment, other));
            for _ in 0..at % 3 {
                live_on(&mut peer, 5).unwrap();
                live_on(&mut honest, 5).unwrap();
            }
            segment.words()[index].store(value, Ordering::Relaxed);
            // The first lie that is noticed ends a link, so what comes after it does not count.
            let _may_be_either = live_on(&mut honest, 30);
        }
    }
}

/// A segment that changes under every look, in every word, for a while.
#[tokio::test]
async fn all_words_may_change_at_any_time() {
    for (segment, seed) in [(private(), 1), (shared(), 2)] {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| scribble(&segment, seed, &over));
            let until = Instant::now() + Duration::from_millis(700);
            let mut lies = 0;
            while Instant::now() < until {
                for side in [Side::Caller, Side::Server] {
                    lies += u32::from(live_on(&mut end(&segment, side), 200).is_err());
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(lies > 0, "the lies were noticed");
        });
    }
}

fn scribble(segment: &Segment, seed: u64, over: &AtomicBool) {
    let mut dice = seed;
    let words = segment.words();
    while !over.load(Ordering::Relaxed) {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let index = (dice >> 20) as usize % words.len();
        let value = match dice % 4 {
            0 => dice,
            1 => (dice & 0xFF) + 1 + (dice >> 40 << 32),
            _ => INTERESTING[(dice >> 9) as usize % INTERESTING.len()],
        };
        words[index].store(value, Ordering::Relaxed);
    }
}

/// A server that gets one record with this tag and these bytes, and nothing else.
fn recv_raw(tag: u32, bytes: &[u8]) -> Result<Option<Head>, LinkError> {
    let segment = private();
    let mut server = end(&segment, Side::Server);
    let mut peer = Producer::new(Memory(Arc::clone(&segment)), geometry().requests());
    let Ok(mut claim) = peer.claim(bytes.len()) else {
        unreachable!("the ring is empty")
    };
    claim.write(bytes);
    claim.commit(tag);
    server.receiver.try_recv(&mut Body::new())
}

/// Kinds and flags without a meaning, and heads cut short, end the link.
#[tokio::test]
async fn strange_frames_are_refused() {
    for byte in 0..=u8::MAX {
        let known = (1..=14).contains(&byte);
        let found = recv_raw(u32::from(byte), &[0; 32]);
        match byte {
            8 => assert_eq!(found, Err(LinkError::Chunks)),
            9 => assert_eq!(found, Ok(None)),
            10 => assert_eq!(
                found,
                Err(LinkError::Unexpected),
                "nobody is there to hear it"
            ),
            _ if known => assert!(found.unwrap().is_some()),
            _ => assert_eq!(found, Err(FrameError::Kind(byte).into())),
        }
        let found = recv_raw(1 | u32::from(byte) << 8, &[0; 48]);
        match byte {
            0 | 1 | 4 | 5 => assert!(found.unwrap().is_some()),
            2 | 3 | 6 | 7 => assert_eq!(
                found,
                Err(LinkError::Chunks),
                "of no length, and with bytes"
            ),
            128..136 => assert!(
                matches!(found, Err(LinkError::Blob(_) | LinkError::Chunks)),
                "with memory that was not listed"
            ),
            18 | 19 | 22 | 23 => assert_eq!(found, Err(LinkError::Arena), "there is none"),
            146 | 147 | 150 | 151 => assert!(
                matches!(found, Err(LinkError::Arena | LinkError::Blob(_))),
                "neither a place nor memory that was listed"
            ),
            _ => assert_eq!(found, Err(FrameError::Flags(byte).into())),
        }
    }
    for len in 0..8 {
        assert_eq!(
            recv_raw(1, &[0; 8][..len]),
            Err(FrameError::Short(len).into())
        );
    }
    assert_eq!(
        recv_raw(0x0301, &[0; 23]),
        Err(FrameError::Short(23).into())
    );
}

/// A stamp that differs in any word is no stamp of ours.
#[tokio::test]
async fn each_word_of_the_stamp_counts() {
    for segment in [private(), shared()] {
        let board = Board::new(Memory(Arc::clone(&segment)), geometry());
        board.stamp();
        for index in 0..4 {
            let word = &segment.words()[index];
            let honest = word.load(Ordering::Relaxed);
            for value in INTERESTING.into_iter().chain([honest ^ 1]) {
                word.store(value, Ordering::Relaxed);
                assert_eq!(
                    board.is_stamped(),
                    value == honest,
                    "word {index}, {value:#x}"
                );
            }
            word.store(honest, Ordering::Relaxed);
        }
        assert!(board.is_stamped());
    }
}
