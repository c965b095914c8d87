//! What every kind of link does, as one suite that runs over each of them.
//!
//! A kind is a function that makes both ends, in `kinds.rs`. Hostile peers have their own suites.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet, yield_now};

use super::Link;
use super::bell::Ear;
use super::board::Geometry;
use super::kinds::{Dice, MESSAGE_LEN_MAX, Make, send, settle, tells_beside, told};
use super::receiver::{LinkError, Receiver};
use super::sender::{SendError, Sender};
use crate::sys::body::Body;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

/// The smallest rings there are.
fn small() -> Geometry {
    Geometry::new(4096, 8).unwrap()
}

/// The payload of frame `number`: every byte tells the frame and its place in it.
fn body(number: u64, len: usize) -> Vec<u8> {
    let seed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len as u64)
        .map(|at| (seed.wrapping_mul(at + 1) >> 56) as u8)
        .collect()
}

fn head(number: u64) -> Head {
    Head::new(Kind::Call, 7, CallId::new(number, 0))
}

/// A frame of any kind but those that belong to chunks.
fn any_frame(dice: &mut Dice, number: u64, len_max: usize) -> (Head, Vec<u8>) {
    const KINDS: [Kind; 7] = [
        Kind::Call,
        Kind::Tell,
        Kind::Construct,
        Kind::Reply,
        Kind::Failure,
        Kind::Panicked,
        Kind::Refused,
    ];
    let method = u16::try_from(dice.below(1 << 16)).unwrap();
    let mut head = Head::new(
        KINDS[dice.below(7)],
        method,
        CallId::new(number, dice.below(8)),
    );
    head.deadline = (dice.below(2) == 0).then(|| dice.below(1 << 30) as u64);
    let len = if dice.below(4) == 0 {
        dice.below(len_max)
    } else {
        dice.below(200)
    };
    (head, body(number, len))
}

/// The end of a link that reads, waiting as its owner does.
struct Reader {
    receiver: Receiver,
    sender: Arc<Sender>,
    ear: Ear,
}

impl Reader {
    async fn recv(&mut self) -> Result<(Head, Vec<u8>), LinkError> {
        let mut body = Body::new();
        let Self {
            receiver,
            sender,
            ear,
        } = self;
        poll_fn(|cx| {
            loop {
                if let Some(head) = receiver.try_recv(&mut body)? {
                    if receiver.owes_room() && receiver.freed() {
                        sender.ring();
                    }
                    return Poll::Ready(Ok((head, body.to_vec())));
                }
                if receiver.freed() {
                    sender.ring();
                }
                if receiver.doze() {
                    match ear.poll_rung(cx) {
                        Poll::Ready(rung) => {
                            rung.unwrap();
                            sender.room_freed();
                        }
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        })
        .await
    }

    /// The next frame, if it is there already.
    fn try_recv(&mut self) -> Result<Option<(Head, Vec<u8>)>, LinkError> {
        let mut body = Body::new();
        let head = self.receiver.try_recv(&mut body)?;
        Ok(head.map(|head| (head, body.to_vec())))
    }

    /// Expects frame `number` with a payload of `len` bytes.
    async fn expect(&mut self, number: u64, len: usize) {
        let (found, bytes) = self.recv().await.unwrap();
        assert_eq!(found, head(number));
        assert!(
            bytes == body(number, len),
            "payload {number}: {} bytes, not {len}",
            bytes.len()
        );
    }
}

/// One end, ready to read; nothing hears its bell unless it reads.
fn reader(link: Link) -> Reader {
    Reader {
        receiver: link.receiver,
        sender: Arc::new(link.sender),
        ear: link.ear,
    }
}

/// One end that only sends; a task hears that there is room.
fn writer(mut link: Link) -> Arc<Sender> {
    let sender = Arc::new(link.sender);
    let hearing = Arc::clone(&sender);
    tokio::spawn(async move {
        while poll_fn(|cx| link.ear.poll_rung(cx)).await.is_ok() {
            hearing.room_freed();
        }
    });
    sender
}

/// A task that sends one frame.
fn sending(sender: &Arc<Sender>, number: u64, len: usize) -> JoinHandle<Result<u64, SendError>> {
    let sender = Arc::clone(sender);
    tokio::spawn(async move { sender.send(&head(number), &body(number, len)).await })
}

/// Fills the link with frames of `len` bytes and gives their count.
async fn fill(sender: &Sender, len: usize) -> u64 {
    let mut count = 0;
    loop {
        let before = count;
        loop {
            match sender.try_send(&head(count + 1), &body(count + 1, len)) {
                Ok(_) => count += 1,
                Err(error) => {
                    assert_eq!(error, SendError::Full);
                    break;
                }
            }
        }
        if count == before {
            return count;
        }
        // What carries the frames on makes room here as long as there is some behind it.
        settle().await;
    }
}

async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(30), test)
        .await
        .expect("the test ends in time");
}

macro_rules! over_every_kind {
    ($($(#[$doc:meta])* $test:ident)*) => {
        over_every_kind! { @ over_loopback loopback $($(#[$doc])* $test)* }
        over_every_kind! { @ over_shm shm $($(#[$doc])* $test)* }
        over_every_kind! { @ over_arenas arenas $($(#[$doc])* $test)* }
        over_every_kind! { @ over_a_socket socket $($(#[$doc])* $test)* }
        over_every_kind! { @ over_a_narrow_stream narrow $($(#[$doc])* $test)* }
        over_every_kind! { @ over_tcp tcp $($(#[$doc])* $test)* }
        over_every_kind! { @ over_a_named_socket unix $($(#[$doc])* $test)* }
        over_every_kind! { @ over_tcp_as_in_life tcp_apart $($(#[$doc])* $test)* }
        over_every_kind! { @ over_restless_tcp tcp_restless $($(#[$doc])* $test)* }
        over_every_kind! { @ over_a_restless_socket unix_restless $($(#[$doc])* $test)* }
    };
    (@ $name:ident $make:ident $($(#[$doc:meta])* $test:ident)*) => {
        mod $name {
            $($(#[$doc])* #[tokio::test] async fn $test() {
                super::bounded(super::$test(crate::transport::kinds::$make)).await;
            })*
        }
    };
}

over_every_kind! {
    /// Frames of all kinds and sizes, both ways at once, are what was sent and come in that order.
    frames_arrive_whole_and_in_order
    /// Around the longest payload of one frame, and far beyond it, nothing is lost or added.
    payloads_around_the_inline_limit_arrive
    /// What was refused as Full was not sent, and what was sent before is all there.
    a_full_link_loses_nothing
    /// A sender without room sleeps until the reader has made some.
    senders_wait_for_room
    /// Each of many senders sees its own frames in its order, also beside large ones.
    tasks_keep_their_order
    /// While somebody waits, nobody else gets in, however little he sends.
    who_waits_is_not_overtaken
    /// A large message whose sender went away is forgotten, and what follows is not disturbed.
    a_dropped_large_send_is_aborted
    /// A closed link ends those who wait and those who come.
    closing_ends_all_senders
    /// How far the other end has read is known without its doing anything about it.
    what_was_read_is_known
    /// A cancel is seen at the other end, for the call that it names.
    cancels_cross_over
    /// A cancel and a ring are heard by an end that waits for nothing else.
    cancels_wake_who_sleeps
    /// What a dying end leaves is there for the other, on one machine.
    last_words_cross_over
    /// Frames that come before, while and after the reader falls asleep are all heard of.
    sleepers_are_woken
    /// A message that is announced as too long is refused before any memory is taken for it.
    announced_lengths_are_limited
    /// Pieces without a beginning, beyond the end or mixed with others end the link.
    pieces_that_do_not_fit_are_refused
}

async fn frames_arrive_whole_and_in_order(make: Make) {
    async fn send_all(sender: Arc<Sender>, seed: u64) {
        let mut dice = Dice(seed);
        let len_max = sender.inline_len_max() * 5;
        for number in 0..1000 {
            let (head, body) = any_frame(&mut dice, number, len_max);
            send(&sender, &head, &body).await.unwrap();
        }
    }
    async fn recv_all(mut reader: Reader, seed: u64) {
        let mut dice = Dice(seed);
        let len_max = reader.sender.inline_len_max() * 5;
        for number in 0..1000 {
            let (head, body) = any_frame(&mut dice, number, len_max);
            let (found, bytes) = reader.recv().await.unwrap();
            assert_eq!(found, head, "{number}");
            assert!(bytes == body, "payload {number}");
        }
        // The other end may still wait for its room.
        tokio::spawn(async move { reader.recv().await.map(drop) });
    }
    for geometry in [small(), Geometry::new(1 << 16, 8).unwrap()] {
        let (caller, server) = make(geometry);
        let (caller, server) = (reader(caller), reader(server));
        let (there, back) = (Arc::clone(&caller.sender), Arc::clone(&server.sender));
        tokio::join!(
            send_all(there, 3),
            send_all(back, 4),
            recv_all(server, 3),
            recv_all(caller, 4)
        );
    }
}

async fn payloads_around_the_inline_limit_arrive(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let inline = sender.inline_len_max();
    let around = |len: usize| [len - 1, len, len + 1];
    let sizes = [
        [0, 1, 2],
        around(inline),
        around(2 * inline),
        around(9 * inline),
    ]
    .concat();
    for (number, len) in (1..).zip(sizes.into_iter().chain([3 << 20, MESSAGE_LEN_MAX as usize])) {
        let (head, body) = (head(number), body(number, len));
        let sent = send(&sender, &head, &body);
        tokio::join!(sent, server.expect(number, len)).0.unwrap();
    }
}

async fn a_full_link_loses_nothing(make: Make) {
    for len in [0, 1, 8, 100, 464] {
        let (caller, server) = make(small());
        let mut server = reader(server);
        let mut total = 0_usize;
        for _ in 0..3 {
            let count = fill(&caller.sender, len).await;
            assert!(count >= 4, "{len}: {count}");
            for number in 1..=count {
                server.expect(number, len).await;
            }
            assert_eq!(server.try_recv(), Ok(None));
            total += usize::try_from(count).unwrap();
        }
        assert!(total * (len + 32) >= 2 * 4096, "{len}: {total} are too few");
    }
}

async fn senders_wait_for_room(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let count = fill(&sender, 100).await;
    let waiting: Vec<_> = (1..=5)
        .map(|number| sending(&sender, count + number, 400))
        .collect();
    settle().await;
    assert!(sender.is_waited_on());
    assert!(waiting.iter().all(|task| !task.is_finished()));
    for number in 1..=count {
        server.expect(number, 100).await;
    }
    for number in 1..=5 {
        server.expect(count + number, 400).await;
    }
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert!(!sender.is_waited_on());
}

async fn tasks_keep_their_order(make: Make) {
    const TASKS: usize = 8;
    const FRAMES: u64 = 100;
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let sender = Arc::clone(&sender);
        tasks.spawn(async move {
            let mut dice = Dice(task as u64 + 1);
            for number in 1..=FRAMES {
                let len = dice.below(if number % 10 == 0 { 3000 } else { 300 });
                let head = Head::new(
                    Kind::Tell,
                    u16::try_from(task).unwrap(),
                    CallId::new(number, task),
                );
                send(&sender, &head, &body(number, len)).await.unwrap();
            }
        });
    }
    let mut last = [0; TASKS];
    for _ in 0..TASKS as u64 * FRAMES {
        let (head, bytes) = server.recv().await.unwrap();
        let task = usize::from(head.method);
        last[task] += 1;
        assert_eq!(head.call, CallId::new(last[task], task));
        assert!(bytes == body(last[task], bytes.len()));
    }
    assert_eq!(last, [FRAMES; TASKS]);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

async fn who_waits_is_not_overtaken(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let count = fill(&sender, 0).await;
    let first = sending(&sender, count + 1, 400);
    settle().await;
    let second = sending(&sender, count + 2, 0);
    settle().await;
    // Room for little ones, and not for the one that waits.
    for number in 1..=4 {
        server.expect(number, 0).await;
    }
    assert_eq!(sender.try_send(&head(99), &[]), Err(SendError::Full));
    assert!(!first.is_finished() && !second.is_finished());
    for number in 5..=count {
        server.expect(number, 0).await;
    }
    server.expect(count + 1, 400).await;
    server.expect(count + 2, 0).await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

async fn a_dropped_large_send_is_aborted(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    // Given up before the first piece, after some, and while the pieces wait for their turn.
    for read_before in [0, 1, 3] {
        let filled = if read_before == 0 {
            fill(&sender, 100).await
        } else {
            0
        };
        let large = sending(&sender, 50, 1 << 20);
        let behind = sending(&sender, 51, 2000);
        settle().await;
        for _ in 0..read_before {
            assert_eq!(server.try_recv(), Ok(None), "pieces are no frame");
            settle().await;
        }
        behind.abort();
        large.abort();
        assert!(large.await.unwrap_err().is_cancelled());
        let after = sending(&sender, 52, 2000);
        for number in 1..=filled {
            server.expect(number, 100).await;
        }
        server.expect(52, 2000).await;
        after.await.unwrap().unwrap();
        assert!(sender.try_send(&head(53), b"").is_ok());
        server.expect(53, 0).await;
    }
}

async fn closing_ends_all_senders(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let count = fill(&sender, 0).await;
    let waiting: Vec<_> = [10, 400, 5000].map(|len| sending(&sender, 90, len)).into();
    settle().await;
    sender.close();
    for task in waiting {
        assert_eq!(task.await.unwrap(), Err(SendError::Closed));
    }
    assert_eq!(sender.try_send(&head(99), &[]), Err(SendError::Closed));
    assert_eq!(
        sender.send(&head(99), &[0; 5000]).await,
        Err(SendError::Closed)
    );
    for number in 1..=count {
        server.expect(number, 0).await;
    }
    assert_eq!(server.try_recv(), Ok(None));
}

async fn what_was_read_is_known(make: Make) {
    let (caller, server) = make(small());
    let (sender, mut server) = (writer(caller), reader(server));
    let mut sent = Vec::new();
    // Beyond the ring's end, where a record may be behind padding.
    for number in 1..200 {
        let len = usize::try_from(number).unwrap() * 7 % 300;
        sent.push(
            sender
                .send(&head(number), &body(number, len))
                .await
                .unwrap(),
        );
        if number % 3 == 0 {
            for number in number - 2..=number {
                server
                    .expect(number, usize::try_from(number).unwrap() * 7 % 300)
                    .await;
                let position = sent[usize::try_from(number).unwrap() - 1];
                let released = sender.lock().outbox.released();
                // Where nothing is told beside, what was sent may have been read.
                let is_known = released == position || !tells_beside(make) && released > position;
                assert!(is_known, "{number}");
            }
        }
    }
}

async fn cancels_cross_over(make: Make) {
    let (caller, server) = make(small());
    let call = CallId::new(3, 5);
    assert!(!server.board.is_cancelled(call));
    caller.board.cancel(call);
    told(make, || server.board.is_cancelled(call)).await;
    let (next, other) = (CallId::new(4, 5), CallId::new(3, 4));
    assert!(!server.board.is_cancelled(next), "the slot's next call");
    assert!(!server.board.is_cancelled(other), "another slot");
    caller.board.cancel(CallId::new(9, 4000));
}

async fn cancels_wake_who_sleeps(make: Make) {
    let (caller, mut server) = make(small());
    let call = CallId::new(2, 1);
    let hearing = tokio::spawn(async move {
        while !server.board.is_cancelled(call) {
            poll_fn(|cx| server.ear.poll_rung(cx)).await.unwrap();
        }
    });
    settle().await;
    assert!(!hearing.is_finished());
    caller.board.cancel(call);
    caller.sender.ring();
    hearing.await.unwrap();
}

async fn last_words_cross_over(make: Make) {
    let (caller, server) = make(small());
    assert_eq!(caller.board.read_last_words(), None);
    server.board.leave_last_words(b"no memory left");
    let words = tells_beside(make).then(|| b"no memory left".to_vec());
    assert_eq!(caller.board.read_last_words(), words);
}

async fn sleepers_are_woken(make: Make) {
    let (caller, server) = make(small());
    let sender = writer(caller);
    let mut server = reader(server);
    sender.try_send(&head(1), &[]).unwrap();
    while server.receiver.is_empty() {
        yield_now().await;
    }
    assert!(!server.receiver.doze(), "something is there");
    server.expect(1, 0).await;
    let mut reading = tokio::spawn(async move {
        for number in 2..200 {
            server.expect(number, 3).await;
        }
    });
    let mut dice = Dice(5);
    for number in 2..200 {
        for _ in 0..dice.below(4) {
            yield_now().await;
        }
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sender.send(&head(number), &body(number, 3)).await.unwrap();
    }
    (&mut reading).await.unwrap();
}

async fn announced_lengths_are_limited(make: Make) {
    let limit = u64::from(MESSAGE_LEN_MAX);
    for len in [limit + 1, u64::MAX / 2, u64::MAX] {
        let (caller, server) = make(small());
        let announced = Head {
            total: Some(len),
            ..head(1)
        };
        caller.sender.try_send(&announced, &[0; 8]).unwrap();
        let refused = Err(LinkError::TooLarge { len, limit });
        assert_eq!(reader(server).recv().await, refused);
    }
}

async fn pieces_that_do_not_fit_are_refused(make: Make) {
    let begin = |total| Head {
        total: Some(total),
        ..head(1)
    };
    let piece = Head::new(Kind::Chunk, 0, CallId::NONE);
    let abort = Head::new(Kind::Abort, 0, CallId::NONE);
    let eight: &[u8] = &[0; 8];
    let wrong: [&[(Head, &[u8])]; 8] = [
        &[(piece, eight)],
        &[(begin(4), eight)],
        &[(begin(12), eight), (piece, eight)],
        &[(begin(12), eight), (piece, &[])],
        &[(begin(12), eight), (head(2), eight), (begin(12), eight)],
        &[(begin(12), eight), (begin(12), eight)],
        &[
            (begin(12), eight),
            (
                Head {
                    total: Some(4),
                    ..piece
                },
                &eight[..4],
            ),
        ],
        &[(begin(8), eight), (piece, &eight[..1])],
    ];
    for (at, frames) in wrong.into_iter().enumerate() {
        let (caller, server) = make(small());
        let mut server = reader(server);
        for (head, body) in frames {
            caller.sender.try_send(head, body).unwrap();
        }
        if at == 7 || (at == 4 && !tells_beside(make)) {
            assert!(server.recv().await.is_ok(), "whole, or one between pieces");
        }
        assert_eq!(server.recv().await, Err(LinkError::Chunks), "{at}");
    }
    let (caller, server) = make(small());
    for (head, body) in [
        (abort, &[][..]),
        (begin(12), eight),
        (abort, &[]),
        (head(9), eight),
    ] {
        caller.sender.try_send(&head, body).unwrap();
    }
    let (found, _) = reader(server).recv().await.unwrap();
    assert_eq!(
        found,
        head(9),
        "what was begun before an abort is forgotten"
    );
}
