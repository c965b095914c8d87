//! A stream whose other end says what it likes.
//!
//! Shown here: no bytes, cut anywhere, make a pump panic, take more memory than its buffers, or
//! wait for ever; a lie ends the link, and a peer that only goes away ends it too.

use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Handle;

use super::Link;
use super::board::{Geometry, Memory, Side};
use super::pump::{HEADER_LEN, Pump};
use super::receiver::LinkError;
use super::stream::{Pumping, lay};
use crate::sys::body::Body;
use crate::sys::memory::Segment;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

const MESSAGE_LEN_MAX: u64 = 64 * 1024;
const SLOTS: u64 = 8;

fn geometry() -> Geometry {
    Geometry::new(4096, SLOTS).unwrap()
}

fn pump(side: Side) -> Pump {
    let memory = Memory(Arc::new(Segment::private(geometry().segment_len())));
    Pump::new(&memory, geometry(), side)
}

fn frame(kind: u8, extra: u32, value: u64) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend_from_slice(&extra.to_le_bytes());
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

fn record(tag: u32, bytes: &[u8]) -> Vec<u8> {
    [&frame(1, tag, bytes.len() as u64), bytes].concat()
}

/// A frame that is none, or not now, or not from this side, is refused; nothing of it is used.
#[test]
fn lies_are_refused() {
    let both = [Side::Caller, Side::Server];
    let of_no_kind = (0..=u8::MAX).filter(|kind| !(1..=6).contains(kind));
    let lies = of_no_kind.map(|kind| frame(kind, 0, 0)).chain([
        // Too long, at once and in all.
        frame(1, 0, 513),
        frame(1, 0, u64::MAX),
        record(1, &[0; 512]).repeat(8),
        // What was never sent.
        frame(2, 0, 1),
        frame(2, 0, u64::MAX),
        // Not plain.
        frame(2, 1, 0),
        frame(3, 1, 8),
        frame(4, 0, 1),
        frame(5, 0, 1),
        frame(6, 0, 1),
        [&[1, 1, 0, 0], &frame(1, 0, 0)[4..]].concat(),
        [&[2, 0, 0, 9], &frame(2, 0, 0)[4..]].concat(),
        // Slots that there are not.
        frame(3, 0, SLOTS),
        frame(3, 0, u64::MAX),
        // Asked twice, and answered without a question.
        frame(4, 0, 0).repeat(2),
        frame(5, 0, 0),
        // Said twice.
        frame(6, 0, 0).repeat(2),
    ]);
    for lie in lies {
        for side in both {
            let found = pump(side).take_in(&lie, |call| panic!("{call:?} is none"));
            assert!(
                matches!(found, Err(LinkError::Stream(_))),
                "{side:?}: {lie:?}"
            );
        }
    }
    // Right in one direction, wrong in the other one.
    for (right, lie) in [
        (Side::Server, frame(3, 0, 7)),
        (Side::Caller, frame(4, 0, 0)),
        (Side::Caller, frame(6, 0, 0)),
    ] {
        for side in both {
            assert_eq!(
                pump(side).take_in(&lie, drop).is_ok(),
                side == right,
                "{lie:?}"
            );
        }
    }
}

/// A stream may be cut between any two bytes: what is taken in is the same.
#[test]
fn cuts_change_nothing() {
    let mut bytes = Vec::new();
    for len in [0, 1, 8, 100, 500] {
        bytes.extend(record(7, &vec![3; len]));
        bytes.extend(frame(3, 0, 4096 + len as u64 % SLOTS));
    }
    for step in 1..bytes.len() {
        let mut pump = pump(Side::Server);
        let (mut cancels, mut kept) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            kept.extend_from_slice(piece);
            let taken = pump
                .take_in(&kept, |call| cancels.push(call.bits()))
                .unwrap();
            kept.drain(..taken);
            assert!(kept.len() < pump.frame_len_max() && kept.len() < HEADER_LEN + 500);
        }
        assert!(kept.is_empty());
        assert_eq!(cancels, [4096, 4097, 4096, 4100, 4100], "{step}");
    }
}

/// Bytes that mean nothing, and frames with any one byte changed, end in an error or in nothing.
#[test]
fn any_bytes_may_come() {
    let mut dice = 7_u64;
    let mut next = move || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    for round in 0..20_000_u64 {
        let side = [Side::Caller, Side::Server][(round % 2) as usize];
        let mut pump = pump(side);
        let mut bytes = Vec::new();
        while bytes.len() < 300 {
            match next() % 4 {
                0 => bytes.extend(record(next() as u32, &vec![1; (next() % 60) as usize])),
                1 => bytes.extend(frame((next() % 7) as u8, 0, next() % 100)),
                2 => bytes.extend(frame(3, 0, next() % 4096 * 4096 + next() % 9)),
                _ => bytes.extend(frame(2, 0, 0)),
            }
        }
        let at = (next() as usize) % bytes.len();
        bytes[at] = next() as u8;
        let mut output = Vec::new();
        if let Ok(taken) = pump.take_in(&bytes, |call| assert!(call.slot() < 8)) {
            assert!(taken <= bytes.len());
            pump.put_out(&mut output).unwrap();
            assert!(output.len() < 4096);
        }
    }
}

/// An honest end whose peer is a test.
fn end(side: Side) -> (Link, Pumping, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(4096);
    let laid = lay(ours, (geometry(), side), None, &Handle::current());
    let (laid, pumping) = laid;
    (laid.connect(MESSAGE_LEN_MAX), pumping, theirs)
}

/// The next frame or error, waiting as the link's owner does.
async fn next(link: &mut Link) -> Result<Head, LinkError> {
    let mut body = Body::new();
    loop {
        if let Some(head) = link.receiver.try_recv(&mut body)? {
            return Ok(head);
        }
        if link.receiver.doze() {
            std::future::poll_fn(|cx| link.ear.poll_rung(cx))
                .await
                .unwrap();
        }
    }
}

/// What came before a lie arrives, then the lie is told to the owner, who was asleep.
#[tokio::test]
async fn a_lie_reaches_the_owner() {
    let (mut link, _pumping, mut peer) = end(Side::Server);
    let head = Head::new(Kind::Call, 3, CallId::new(1, 1));
    let (tag, encoded) = head.encode();
    peer.write_all(&record(tag, encoded.as_slice()))
        .await
        .unwrap();
    assert_eq!(next(&mut link).await, Ok(head));
    peer.write_all(&record(tag, encoded.as_slice()))
        .await
        .unwrap();
    peer.write_all(&frame(99, 0, 0)).await.unwrap();
    assert_eq!(next(&mut link).await, Ok(head));
    assert!(matches!(next(&mut link).await, Err(LinkError::Stream(_))));
    assert!(matches!(next(&mut link).await, Err(LinkError::Stream(_))));
}

/// A peer that closes the stream and does not die has broken the rules, after some seconds.
#[tokio::test(start_paused = true)]
async fn a_closed_stream_reaches_the_owner() {
    for bytes in [&[][..], &[1, 0, 0], &frame(1, 0, 90)] {
        let (mut link, _pumping, mut peer) = end(Side::Caller);
        peer.write_all(bytes).await.unwrap();
        drop(peer);
        assert_eq!(next(&mut link).await, Err(LinkError::Closed));
    }
}

/// The end of a process is told when what it had sent is taken in, also if its stream stays open.
#[tokio::test(start_paused = true)]
async fn what_was_sent_comes_before_the_end() {
    for stays_open in [false, true] {
        let (mut link, pumping, mut peer) = end(Side::Caller);
        let head = Head::new(Kind::Reply, 0, CallId::new(1, 1));
        let (tag, encoded) = head.encode();
        for _ in 0..50 {
            peer.write_all(&record(tag, encoded.as_slice()))
                .await
                .unwrap();
        }
        let kept = stays_open.then_some(peer);
        let (ended, mut end) = tokio::sync::oneshot::channel();
        pumping.finish(Box::new(move || ended.send(()).unwrap()));
        (&mut end).await.unwrap();
        let mut body = Body::new();
        for _ in 0..50 {
            assert_eq!(link.receiver.try_recv(&mut body), Ok(Some(head)));
        }
        drop(kept);
    }
}

/// Without a way beside the stream cancels travel in it, overtake what waits, and the last one of a
/// slot counts.
#[tokio::test]
async fn cancels_travel_in_the_stream() {
    let (caller, server) = tokio::io::duplex(64);
    let link = |stream, side| {
        let laid = lay(stream, (geometry(), side), None, &Handle::current());
        let (laid, pumping) = laid;
        (laid.connect(MESSAGE_LEN_MAX), pumping)
    };
    let ((caller, _one), (server, _other)) =
        (link(caller, Side::Caller), link(server, Side::Server));
    let head = Head::new(Kind::Call, 0, CallId::NONE);
    while caller.sender.try_send(&head, &[0; 100]).is_ok() {
        tokio::task::yield_now().await;
    }
    for sequence in 1..=3 {
        caller.board.cancel(CallId::new(sequence, 5));
    }
    while !server.board.is_cancelled(CallId::new(3, 5)) {
        tokio::task::yield_now().await;
    }
    assert!(!server.board.is_cancelled(CallId::new(4, 5)));
    // What was sent counts as read, where nothing tells more.
    let sent = caller.sender.lock().outbox.released();
    assert!(sent > 3000, "{sent}");
}
