//! What arenas promise their two ends, and what they say to a peer that lies.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::Link;
use super::arena::Parcel;
use super::board::{Geometry, Ground, Side};
use super::kinds::{ARENA_LIMIT, Dice, arenas, place, send};
use super::receiver::LinkError;
use super::sender::{SendError, Sender};
use crate::ring::{LEASES, Ordering, PAGE_LEN, WORD};
use crate::sys::body::Body;
use crate::wire::codec;
use crate::wire::frame::{Head, Kind, Place};
use crate::wire::id::CallId;
use crate::wire::sink::{Spill, Written};

const LIMIT: usize = ARENA_LIMIT as usize;

fn small() -> Geometry {
    Geometry::new(1 << 16, 8).unwrap()
}

fn ground(side: Side) -> Ground {
    small().with_arenas(ARENA_LIMIT).unwrap().arena_of(side)
}

fn head() -> Head {
    Head::new(Kind::Call, 3, CallId::new(1, 0))
}

/// Sends `bytes` through the arena, and nowhere else.
fn send_placed(sender: &Sender, bytes: &[u8]) {
    let parcel = place(sender, bytes).expect("there is room");
    sender.try_send(&parcel.address(head()), &[]).unwrap();
}

fn recv(link: &mut Link) -> Body {
    let mut body = Body::new();
    assert_eq!(link.receiver.try_recv(&mut body).unwrap(), Some(head()));
    body
}

/// Where bytes lie in the memory of the link that they came by, if they do.
fn offset(link: &Link, bytes: &[u8]) -> Option<usize> {
    let words = link.board.memory().0.words();
    let from = bytes.as_ptr().addr().checked_sub(words.as_ptr().addr())?;
    (from < size_of_val(words)).then_some(from)
}

/// What is sent is read where it was written; given back in any order, the place that came back
/// last is used first.
#[tokio::test]
async fn payloads_lie_where_they_were_written() {
    let (caller, mut server) = arenas(small());
    let within = ground(Side::Caller);
    let bodies: Vec<_> = (0..5_u8)
        .map(|number| {
            send_placed(&caller.sender, &vec![number; 20_000 + usize::from(number)]);
            recv(&mut server)
        })
        .collect();
    let mut places = Vec::new();
    for (number, body) in (0..5_u8).zip(&bodies) {
        assert_eq!(**body, vec![number; 20_000 + usize::from(number)]);
        let at = offset(&server, body).expect("nothing was copied");
        assert!((within.data..within.data + within.len).contains(&at));
        places.push(at);
    }
    let mut bodies: Vec<_> = bodies.into_iter().map(Some).collect();
    for at in [3, 0, 4] {
        bodies[at] = None;
        send_placed(&caller.sender, &[9; 20_000]);
        let again = recv(&mut server);
        assert_eq!(offset(&server, &again), Some(places[at]));
        bodies.push(Some(again));
    }
    assert_eq!(bodies[1].as_deref().unwrap(), vec![1; 20_001]);
}

/// A payload that is not sent leaves nothing behind, sealed or not.
#[tokio::test]
async fn what_is_not_sent_is_forgotten() {
    let (caller, _server) = arenas(small());
    for _ in 0..3 * LEASES {
        drop(place(&caller.sender, &[1; 100_000]).expect("there is room again"));
        let mut draft = caller.sender.draft().expect("there is an arena");
        assert!(draft.extend(0, 100_000).is_some());
    }
    let all: Vec<_> = std::iter::from_fn(|| place(&caller.sender, &[1; 10])).collect();
    assert_eq!(all.len(), LEASES);
}

/// Without room in the arena a payload goes in pieces, in its turn, and back there when there is
/// some again.
#[tokio::test]
async fn a_full_arena_is_no_end() {
    let (caller, mut server) = arenas(small());
    let kept: Vec<_> = std::iter::from_fn(|| {
        let parcel = place(&caller.sender, &vec![7; LIMIT / 4])?;
        caller
            .sender
            .try_send(&parcel.address(head()), &[])
            .unwrap();
        Some(recv(&mut server))
    })
    .collect();
    assert!(
        (3..=4).contains(&kept.len()),
        "{} of a quarter each",
        kept.len()
    );
    let bytes = vec![5; LIMIT / 4];
    let sender = caller.sender;
    let head = head();
    let (sent, received) = tokio::join!(send(&sender, &head, &bytes), async {
        let mut body = Body::new();
        while server.receiver.try_recv(&mut body).unwrap().is_none() {
            // The room that it waits for: nobody hears bells here.
            sender.room_freed();
            tokio::task::yield_now().await;
        }
        body
    });
    sent.unwrap();
    assert!(
        *received == *bytes && offset(&server, &received).is_none(),
        "it came in pieces"
    );
    drop(kept);
    send_placed(&sender, &bytes);
    let placed = recv(&mut server);
    assert!(*placed == *bytes && offset(&server, &placed).is_some());
}

/// A peer of another family gets a copy, and the place is free at once.
#[tokio::test]
async fn foreign_bytes_are_copied_first() {
    let (caller, mut server) = arenas(small());
    server.receiver.distrust();
    for number in 0..3 * LEASES {
        let bytes = vec![number.to_le_bytes()[0]; 50_000];
        send_placed(&caller.sender, &bytes);
        let body = recv(&mut server);
        assert!(*body == *bytes && offset(&server, &body).is_none());
    }
}

/// A peer of another family that writes into a chunk after it was looked at changes nothing of what
/// was taken; what it has read to begin with is what was there.
#[tokio::test]
async fn who_rewrites_a_chunk_reaches_no_copy() {
    let (caller, mut server) = arenas(small());
    server.receiver.distrust();
    let bytes = vec![7; 50_000];
    let memory = Arc::clone(&caller.board.memory().0);
    let rewrite = |value: u64| {
        let begin = ground(Side::Caller).words;
        // Behind the leases lies what was written.
        for word in &memory.words()[begin..] {
            if word.load(Ordering::Relaxed) == u64::from_ne_bytes([7; 8]) {
                word.store(value, Ordering::Relaxed);
            }
        }
    };
    let mut bodies = Vec::new();
    for _ in 0..5 {
        send_placed(&caller.sender, &bytes);
        bodies.push(recv(&mut server));
        rewrite(u64::MAX);
    }
    assert!(bodies.iter().all(|body| **body == *bytes));
    // Before it was looked at, it is what it is: the peer's own.
    send_placed(&caller.sender, &bytes);
    rewrite(u64::MAX);
    assert!(recv(&mut server).iter().all(|byte| *byte == 255));
}

/// What is read in place may outlive both ends of its link.
#[tokio::test]
async fn what_is_read_outlives_the_link() {
    let (caller, mut server) = arenas(small());
    send_placed(&caller.sender, &[8; 1 << 20]);
    let body = recv(&mut server);
    drop((caller, server));
    assert!(body.iter().all(|byte| *byte == 8));
}

/// An archive is the same wherever it is written, and however often it outgrows its place; so it is
/// where there is no room half-way.
#[tokio::test]
async fn archives_grow_in_their_place() {
    let mut dice = Dice(11);
    for scarce in [false, true] {
        let (caller, mut server) = arenas(small());
        for round in 0..30 {
            let count = 1 + dice.below(1 << (5 + round % 10));
            let texts: Vec<String> = (0..count).map(|_| "x".repeat(dice.below(200))).collect();
            let message = (texts, vec![round as u64; dice.below(50_000)]);
            let expected = codec::encode(&message, usize::MAX, codec::copy).unwrap();
            // What is taken up meanwhile: the archive may outgrow its place and find no other.
            let others: Vec<Parcel> = if scarce {
                let rest = LIMIT - dice.below(LIMIT / 4);
                place(&caller.sender, &vec![0; rest]).into_iter().collect()
            } else {
                Vec::new()
            };
            let mut draft = caller.sender.draft().unwrap();
            let spill = Some((1000, &mut draft as &mut dyn Spill));
            let written = codec::encode_by(&message, usize::MAX, spill, |here, _| here.to_vec());
            let written = written.unwrap();
            match written {
                Written::Here(bytes) => {
                    assert!(scarce || bytes.len() <= 1000);
                    assert!(*bytes == *expected, "{} bytes", bytes.len());
                }
                Written::There(len, _) => {
                    let parcel = draft.seal(len).unwrap();
                    caller
                        .sender
                        .try_send(&parcel.address(head()), &[])
                        .unwrap();
                    assert!(*recv(&mut server) == *expected, "{len} bytes");
                }
            }
            drop(others);
        }
    }
}

/// A message that may not travel is told as too long, with both sizes, wherever it was begun.
#[tokio::test]
async fn too_long_is_too_long_in_an_arena_too() {
    let (caller, _server) = arenas(small());
    for len in [60_000_usize, 1 << 20, 4 * LIMIT] {
        let message = vec![vec![7_u8; 1000]; len / 1000];
        let mut draft = caller.sender.draft().unwrap();
        let spill = Some((1000, &mut draft as &mut dyn Spill));
        let error = codec::encode_by(&message, 50_000, spill, |_, _| ()).unwrap_err();
        let codec::EncodeError::TooLarge { len: found, limit } = error else {
            panic!("{error}");
        };
        assert!(found > len && limit == 50_000, "{found}");
    }
    let whole = place(&caller.sender, &vec![1; LIMIT - PAGE_LEN]);
    assert!(whole.is_some(), "nothing was left of them");
}

/// An arena that nobody uses gives its memory back, and is as before when it is used again.
#[tokio::test(start_paused = true)]
async fn idle_arenas_shrink() {
    let (caller, mut server) = arenas(small());
    for round in 0..3 {
        let bytes = vec![round; LIMIT / 2];
        send_placed(&caller.sender, &bytes);
        let kept = recv(&mut server);
        let arena = caller.sender.arena().expect("there is one");
        assert!(arena.backed() >= LIMIT / 2);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(arena.backed() >= LIMIT / 2, "it is being read");
        assert!(*kept == *bytes);
        drop(kept);
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(arena.backed() <= 1 << 20, "{} bytes", arena.backed());
    }
}

/// Places that no arena has end the link, and are not looked at.
#[tokio::test]
async fn lies_about_places_are_refused() {
    let last = u32::try_from(ground(Side::Caller).len / PAGE_LEN).unwrap() - 1;
    let page = PAGE_LEN as u64;
    let lies: &[(u16, u32, u64)] = &[
        (0, 0, 0),
        (0, last, page + 1),
        (0, last + 1, 1),
        (0, u32::MAX, 1),
        (0, 1, u64::MAX),
        (0, 1, u64::MAX - page + 1),
        (0, 0, 1 << 63),
        (LEASES as u16, 0, 1),
        (u16::MAX, 0, 1),
    ];
    let with = |lease, page, total| Head {
        total: Some(total),
        place: Some(Place { lease, page }),
        ..head()
    };
    for &(lease, page, total) in lies {
        let (caller, mut server) = arenas(small());
        caller
            .sender
            .lock()
            .outbox
            .lie(&with(lease, page, total), &[]);
        let found = server.receiver.try_recv(&mut Body::new());
        let is_refused = matches!(found, Err(LinkError::Arena | LinkError::TooLarge { .. }));
        assert!(is_refused, "{lease} {page} {total}: {found:?}");
    }
    // A chain of another length than is said, a piece with a place, a place amid pieces.
    let fine = with(0, 0, 10);
    let chained = Head {
        chain_len: 8,
        ..fine
    };
    let piece = Head {
        kind: Kind::Chunk,
        ..fine
    };
    let begun = Head {
        total: Some(20),
        ..head()
    };
    type Sent<'a> = &'a [(Head, &'a [u8])];
    let wrong: [(Sent<'_>, LinkError); 4] = [
        (&[(fine, &[1])], LinkError::Arena),
        (&[(chained, &[1; 7])], LinkError::Arena),
        (&[(piece, &[])], LinkError::Arena),
        (&[(begun, &[1; 10]), (fine, &[])], LinkError::Chunks),
    ];
    for (frames, expected) in wrong {
        let (caller, mut server) = arenas(small());
        for (head, body) in frames {
            caller.sender.lock().outbox.lie(head, body);
        }
        let found = server.receiver.try_recv(&mut Body::new());
        assert_eq!(found, Err(expected));
    }
}

/// A peer that gives back what it does not have is found out by the next large message.
#[tokio::test]
async fn lies_about_leases_end_the_link() {
    let lies = [1, 2, 1 << 32, u64::MAX];
    for (at, lie) in lies.into_iter().enumerate() {
        let (caller, _server) = arenas(small());
        let is_out = at % 2 == 0;
        let kept = is_out.then(|| place(&caller.sender, &[1; 100]).unwrap());
        let words = caller.board.memory().0.words();
        words[ground(Side::Caller).words].store(lie, Ordering::Relaxed);
        assert!(place(&caller.sender, &[1; 100]).is_none());
        let large = vec![1; caller.sender.inline_len_max() + 1];
        let refused = caller.sender.try_send(&head(), &large);
        assert!(matches!(refused, Err(SendError::Corrupt(_))), "{refused:?}");
        assert!(place(&caller.sender, &[1; 100]).is_none(), "it stays so");
        drop(kept);
    }
}

/// Leases that change under every look make no end panic, and cost the peer its link.
#[tokio::test]
async fn leases_may_change_at_any_time() {
    let (caller, mut server) = arenas(small());
    let memory = Arc::clone(&caller.board.memory().0);
    let over = AtomicBool::new(false);
    let at = ground(Side::Caller).words;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice(3);
            while !over.load(Ordering::Relaxed) {
                let word = &memory.words()[at + dice.below(LEASES)];
                word.store(dice.below(3) as u64, Ordering::Relaxed);
            }
        });
        let until = Instant::now() + Duration::from_secs(20);
        let mut body = Body::new();
        let large = vec![1; caller.sender.inline_len_max() + 1];
        loop {
            assert!(Instant::now() < until, "the lies are noticed");
            if let Some(parcel) = place(&caller.sender, &large) {
                let sent = caller.sender.try_send(&parcel.address(head()), &[]);
                assert!(matches!(sent, Ok(_) | Err(SendError::Full)));
            } else if let Err(SendError::Corrupt(_)) = caller.sender.try_send(&head(), &large) {
                break;
            }
            server.receiver.try_recv(&mut body).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(
        at * WORD < small().rings_len(),
        "the words have memory from the beginning"
    );
}
