//! Tests of what goes beside a link, step by step.

use std::fs::File;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;
use crate::sys::body::Body;
use crate::sys::sealed::BlobBuilder;
use crate::transport::board::Geometry;
use crate::transport::sender::SendError;
use crate::transport::{Link, kinds};
use crate::wire::holding::Hold;

/// Both ends of a socket, with every step of the way in the test's hands.
struct Ends {
    near: Arc<Porter>,
    far: Arc<Porter>,
}

impl Ends {
    fn new() -> Self {
        let (near, fd) = Porter::pair().unwrap();
        let far = Porter::from_fd(fd).unwrap();
        Self { near, far }
    }

    /// Carries what is due to the other side until nothing is.
    fn settle(&self) {
        for _ in 0..4 {
            for (from, to) in [(&self.near, &self.far), (&self.far, &self.near)] {
                while let Some(head) = from.next_due() {
                    from.done();
                    to.hear(&head, &[]).unwrap();
                }
            }
        }
    }

    fn sizes(&self) -> [usize; 4] {
        [&self.near, &self.far]
            .map(|end| {
                let tables = lock(&end.tables);
                assert!(tables.numbers.len() <= tables.shown.len());
                assert!(tables.theirs.len() <= tables.taken.len());
                [tables.shown.len(), tables.taken.len()]
            })
            .as_flattened()
            .try_into()
            .unwrap()
    }
}

fn hold(byte: u8) -> Hold {
    let mut builder = BlobBuilder::alloc(10).unwrap();
    builder.as_mut_slice().fill(byte);
    Memory::enter(builder.into_sealed().unwrap()).hold()
}

fn attached(holds: &[&Hold]) -> Attached {
    let beside = holds.iter().map(|hold| Beside::Here((*hold).clone()));
    beside.collect()
}

fn listed(from: &Porter, attached: &Attached) -> Vec<u8> {
    let mut list = [0; LIST_LEN_MAX];
    let len = from.list(attached, &mut list).unwrap();
    list[..len].to_vec()
}

fn took(to: &Porter, list: &[u8]) -> Attached {
    match to.hear(&Word::Attach.head(0), list).unwrap() {
        Heard::Attached(attached) => attached,
        other => panic!("{other:?}"),
    }
}

fn is_one(attached: &Attached, hold: &Hold) -> bool {
    let only = attached.only();
    only.is_some_and(|(only, _)| only.is_same(hold))
}

fn refused(to: &Porter, head: &Head, list: &[u8]) -> &'static str {
    match to.hear(head, list) {
        Err(LinkError::Blob(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// What is shown is known from then on, by both sides, until nobody at the side that has shown it
/// uses it; then both let it go.
#[test]
fn memory_is_shown_once_and_let_go() {
    let ends = Ends::new();
    let (one, two) = (hold(1), hold(2));
    let first = listed(&ends.near, &attached(&[&one, &two]));
    assert_eq!(first, listed(&ends.near, &attached(&[&one, &two])));
    let there = took(&ends.far, &first);
    let seen: Vec<_> = there.holds().collect();
    assert!(
        seen[0].is_same(&one) && seen[1].is_same(&two),
        "in one process it is one"
    );
    // The other side speaks of it by the same number.
    let back = listed(&ends.far, &attached(&[&two]));
    assert_eq!(back, (2_u64 << 1 | YOURS).to_le_bytes());
    assert!(is_one(&took(&ends.near, &back), &two));
    assert_eq!(ends.sizes(), [2, 0, 0, 2]);
    assert!(ends.near.next_due().is_none() && !ends.near.listens() && ends.far.listens());
    drop((one, there));
    assert!(ends.near.is_due() && ends.near.listens());
    ends.settle();
    assert_eq!(ends.sizes(), [1, 0, 0, 1]);
    drop(two);
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
    assert!(!ends.near.listens() && !ends.far.listens() && !ends.far.is_due());
}

/// What is to be let go may still be named by those who have not heard it, on either side, and is
/// shown anew if it is used again.
#[test]
fn words_cross_each_other() {
    let ends = Ends::new();
    let one = hold(1);
    let memory = one.keep();
    let list = listed(&ends.near, &attached(&[&one]));
    drop(one);
    // The list lies in the ring before the word that it is over.
    let there = took(&ends.far, &list);
    let back = listed(&ends.far, &there);
    let forget = ends.near.next_due().unwrap();
    ends.near.done();
    assert_eq!(forget, Word::Forget.head(1));
    let anew = memory.hold();
    assert_eq!(
        listed(&ends.near, &attached(&[&anew])),
        (2_u64 << 1).to_le_bytes()
    );
    ends.far.hear(&forget, &[]).unwrap();
    // This was sent before the far side has heard.
    assert!(is_one(&took(&ends.near, &back), &anew));
    ends.settle();
    took(&ends.far, &(2_u64 << 1).to_le_bytes());
    assert_eq!(ends.sizes(), [1, 0, 0, 1]);
    drop((anew, there));
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
    // What was shown for a frame that never came is let go as well.
    let unsent = hold(3);
    listed(&ends.near, &attached(&[&unsent]));
    drop(unsent);
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
}

/// Of too many the oldest are let go, and there is room when they are.
#[test]
fn too_many_make_room() {
    let ends = Ends::new();
    let holds: Vec<_> = (0..=SHOWN_MAX).map(|_| hold(0)).collect();
    let mut list = [0; LIST_LEN_MAX];
    for hold in &holds[..SHOWN_MAX] {
        let one = attached(&[hold]);
        assert_eq!(ends.near.list(&one, &mut list), Ok(8));
        took(&ends.far, &list[..8]);
    }
    let last = attached(&[&holds[SHOWN_MAX]]);
    for _ in 0..3 {
        assert_eq!(ends.near.list(&last, &mut list), Err(SendError::Full));
    }
    let heads: Vec<_> = std::iter::from_fn(|| {
        let head = ends.near.next_due()?;
        ends.near.done();
        Some(head)
    })
    .collect();
    assert_eq!(heads.len(), EVICTED, "once");
    heads
        .iter()
        .for_each(|head| drop(ends.far.hear(head, &[]).unwrap()));
    ends.settle();
    assert_eq!(
        ends.sizes(),
        [SHOWN_MAX - EVICTED, 0, 0, SHOWN_MAX - EVICTED]
    );
    took(&ends.far, &listed(&ends.near, &last));
    took(&ends.far, &listed(&ends.near, &attached(&[&holds[0]])));
    drop(holds);
    drop(last);
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
}

/// Lists that are none, numbers that nobody has given, and words at the wrong time break the rules.
#[test]
fn made_up_words_are_refused() {
    let ends = Ends::new();
    let one = hold(1);
    took(&ends.far, &listed(&ends.near, &attached(&[&one])));
    let attach = Word::Attach.head(0);
    for list in [&[][..], &[0; 7], &[0; 12], &[0; LIST_LEN_MAX + 8]] {
        assert_eq!(refused(&ends.far, &attach, list), "a list that is none");
    }
    let entry = |number: u64, yours: u64| (number << 1 | yours).to_le_bytes();
    for list in [entry(0, 0), entry(2, 0), entry(u64::MAX >> 1, 0)] {
        assert_eq!(
            refused(&ends.far, &attach, &list),
            "memory that it has not sent"
        );
    }
    for list in [entry(0, 1), entry(1, 1), [0xFF; 8]] {
        assert_eq!(
            refused(&ends.far, &attach, &list),
            "memory that it was not shown"
        );
    }
    let unknown = Head::new(Kind::Beside, 4, CallId::NONE);
    assert_eq!(
        refused(&ends.far, &unknown, &[]),
        "a word that there is not"
    );
    refused(&ends.far, &Word::Forget.head(9), &[]);
    refused(&ends.near, &Word::Forgotten.head(1), &[]);
    refused(&ends.near, &Word::Forgotten.head(9), &[]);
    refused(&ends.near, &Word::Lost.head(9), &[]);
    // The same where a frame names a single one.
    let named = |end: &Porter, entry| match end.take_named(entry) {
        Err(LinkError::Blob(why)) => why,
        other => panic!("{other:?}"),
    };
    for number in [0, 2, u64::MAX >> 1] {
        assert_eq!(named(&ends.far, number << 1), "memory that it has not sent");
        let why = named(&ends.far, number << 1 | YOURS);
        assert_eq!(why, "memory that it was not shown");
    }
    let [here, there] = Porter::here();
    refused(&here, &Word::Forget.head(1), &[]);
    refused(&there, &attach, &entry(1, 0));
    assert_eq!(named(&there, 1), "a ticket that there is not");
}

/// A descriptor that is not the sealed memory which was announced breaks the rules, and is closed:
/// unsealed, of another size, a pipe, a folder, two at once, none at all.
#[test]
fn other_descriptors_are_refused() {
    let seals = |seals: SealFlag, len: i64| -> OwnedFd {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let fd = memfd_create(c"other", flags).unwrap();
        nix::unistd::ftruncate(&fd, len).unwrap();
        fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        fd
    };
    let (all, none) = (SealFlag::from_bits_truncate(0xF), SealFlag::empty());
    let (reader, writer) = io::pipe().unwrap();
    let cases: Vec<Vec<OwnedFd>> = vec![
        vec![seals(none, 10)],
        vec![seals(all - SealFlag::F_SEAL_WRITE, 10)],
        vec![seals(all, 9)],
        vec![seals(all, 11)],
        vec![reader.try_clone().unwrap().into()],
        vec![File::open("/proc/self").unwrap().into()],
        vec![seals(all, 10), seals(all, 10)],
        vec![writer.into()],
    ];
    let send = |socket: &Lifeline, fds: &[OwnedFd]| {
        let packet = packet(1, 10, Access::Read);
        let fds: Vec<_> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
        socket.send(&packet, &fds).unwrap();
    };
    for (number, fds) in cases.into_iter().enumerate() {
        let (porter, fd) = Porter::pair().unwrap();
        let socket = Lifeline::from(fd);
        send(&socket, &fds);
        drop(fds);
        let why = refused(&porter, &Word::Attach.head(0), &2_u64.to_le_bytes());
        assert!(!why.is_empty(), "{number}");
    }
    let mut reader = reader;
    assert_eq!(
        io::Read::read(&mut reader, &mut [0; 1]).unwrap(),
        0,
        "no copy is open"
    );
    // One that did not find room comes as a packet without it: no fault of the peer's.
    let (porter, fd) = Porter::pair().unwrap();
    let socket = Lifeline::from(fd);
    send(&socket, &[]);
    let attached = took(&porter, &2_u64.to_le_bytes());
    assert!(!attached.is_empty() && attached.holds().next().is_none());
    assert_eq!(porter.next_due().unwrap(), Word::Lost.head(1));
    // A packet of another length, and one for a number that is known.
    socket.send(b"short", &[]).unwrap();
    refused(&porter, &Word::Attach.head(0), &4_u64.to_le_bytes());
    send(&socket, &[seals(all, 10)]);
    refused(&porter, &Word::Attach.head(0), &4_u64.to_le_bytes());
}

/// What the receiver had no room for is let go by both, and shown anew.
#[test]
fn what_was_lost_is_shown_again() {
    let ends = Ends::new();
    let one = hold(1);
    let list = listed(&ends.near, &attached(&[&one]));
    // As if no descriptor had been free.
    let mut tables = lock(&ends.far.tables);
    let Way::Socket(socket) = &tables.way else {
        panic!("it is a socket");
    };
    drop(socket.recv(&mut [0; PACKET_LEN]).unwrap());
    tables.take_in(1, (10, Access::Read), vec![]).unwrap();
    drop(tables);
    assert!(took(&ends.far, &list).holds().next().is_none());
    ends.far.note_due(&lock(&ends.far.tables));
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
    assert_eq!(
        took(&ends.far, &listed(&ends.near, &attached(&[&one])))
            .holds()
            .count(),
        1
    );
}

/// Who has let all go holds nothing, shows nothing and believes nothing; and the other side learns
/// that its way is closed.
#[test]
fn who_lets_all_go_has_closed_the_way() {
    let ends = Ends::new();
    let (one, two) = (hold(1), hold(2));
    let first = listed(&ends.near, &attached(&[&one]));
    let there = took(&ends.far, &first);
    let second = listed(&ends.near, &attached(&[&two]));
    ends.far.let_go();
    assert_eq!(ends.sizes(), [2, 0, 0, 0]);
    assert!(matches!(lock(&ends.far.tables).way, Way::None));
    assert!(there.holds().next().is_some(), "what was given out stays");
    refused(&ends.far, &Word::Attach.head(0), &second);
    let mut list = [0; LIST_LEN_MAX];
    let refused = ends.far.list(&attached(&[&one]), &mut list);
    assert_eq!(refused.unwrap_err(), SendError::Closed);
    // The dead are told of by others: the list is written, and nobody reads it.
    listed(&ends.near, &attached(&[&hold(3)]));
}

/// Who finds the way beside the ring full is rung when the peer has taken something from it, though
/// the ring has room and always had.
#[tokio::test]
async fn a_full_way_is_rung_for() {
    let (caller, mut server) = kinds::shm(Geometry::new(1 << 16, 8).unwrap());
    let (ours, theirs) = Lifeline::pair().unwrap();
    let ours = OwnedFd::from(ours);
    set_socket_send_buffer_size(&ours, 4096).unwrap();
    let near = Porter::from_fd(ours).unwrap();
    server = server.attach(Porter::from_fd(theirs.into()).unwrap());
    let Link {
        sender, mut ear, ..
    } = caller.attach(near);
    let sender = Arc::new(sender);
    let head = |number| Head::new(Kind::Call, 0, CallId::from_bits(number));
    let mut count = 0;
    while sender.try_send_with(&head(count), &[], &attached(&[&hold(0)])) != Err(SendError::Full) {
        count += 1;
        assert!(count < SHOWN_MAX as u64 - 1, "the way is narrow");
    }
    let last = {
        let sender = Arc::clone(&sender);
        tokio::spawn(async move {
            let one = attached(&[&hold(1)]);
            sender.send_with(&head(count), &[], &one).await
        })
    };
    let hearing = Arc::clone(&sender);
    tokio::spawn(async move {
        while poll_fn(|cx| ear.poll_rung(cx)).await.is_ok() {
            hearing.room_freed();
        }
    });
    while !sender.is_waited_on() {
        yield_now().await;
    }
    let mut body = Body::new();
    for number in 0..=count {
        let began = Instant::now();
        let found = loop {
            let found = server.receiver.try_recv(&mut body).unwrap();
            // As servers do, who ask no more than that before they sleep.
            if server.receiver.owes_room() && server.receiver.freed() {
                server.sender.ring();
            }
            if let Some(head) = found {
                break head;
            }
            assert!(began.elapsed().as_secs() < 60, "it is sent");
            sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(found.call.bits(), number);
        assert_eq!(server.receiver.take_attached().holds().count(), 1);
    }
    last.await.unwrap().unwrap();
}

/// A single memory is named in the frame that it goes with, and known from then on as one that was
/// listed is.
#[test]
fn one_is_named_and_not_listed() {
    let ends = Ends::new();
    let (one, two) = (hold(1), hold(2));
    let name =
        |end: &Porter, holds: &[&Hold]| end.name(&attached(holds), &mut Known::default()).unwrap();
    assert_eq!(name(&ends.near, &[&one, &two]), None, "these are listed");
    let entry = name(&ends.near, &[&one]).unwrap();
    assert_eq!(
        entry.to_le_bytes()[..],
        listed(&ends.near, &attached(&[&one]))
    );
    for is_new in [true, false] {
        let (there, is_news) = ends.far.take_named(entry).unwrap();
        assert!(is_one(&there, &one) && is_news == is_new);
        assert_eq!(name(&ends.far, &[&one]), Some(entry | YOURS));
    }
    let (back, is_news) = ends.near.take_named(entry | YOURS).unwrap();
    assert!(is_one(&back, &one) && !is_news);
    drop((one, back));
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
}

/// Who names the same memory again and again is right each time, whatever has happened meanwhile:
/// it was let go, lost, or shown anew; and so is who names what the peer has shown.
#[test]
fn what_is_named_again_is_what_it_was() {
    let ends = Ends::new();
    let (mut near, mut far) = (Known::default(), Known::default());
    let mut one = hold(1);
    for round in 0..12 {
        let mut named = || {
            let entry = ends.near.name(&attached(&[&one]), &mut near).unwrap();
            let (there, _) = ends.far.take_named(entry.unwrap()).unwrap();
            assert!(is_one(&there, &one), "round {round}");
            let back = ends.far.name(&there, &mut far).unwrap();
            assert!(is_one(
                &ends.near.take_named(back.unwrap()).unwrap().0,
                &one
            ));
            entry
        };
        let entry = named();
        assert_eq!(named(), entry, "nothing has changed");
        match round % 3 {
            // Another one, perhaps where this one was.
            0 => one = hold(round),
            1 => {
                let number = entry.unwrap() >> 1;
                ends.near.hear(&Word::Lost.head(number), &[]).unwrap();
            }
            _ => {
                let memory = one.keep();
                drop(one);
                one = memory.hold();
            }
        }
        if round % 2 == 0 {
            ends.settle();
        }
    }
    drop(one);
    ends.settle();
    assert_eq!(ends.sizes(), [0; 4]);
}

/// Within one process the blobs' own parts are handed over, and what is not sent after all, or not
/// taken, is gone with the link at the latest.
#[test]
fn within_one_process_parts_are_handed_over() {
    let [near, far] = Porter::here();
    let one = hold(1);
    let name = |end: &Porter, holds: &[&Hold]| {
        let named = end.name(&attached(holds), &mut Known::default());
        named.unwrap().unwrap()
    };
    let take = |entry| far.take_named(entry).unwrap().0;
    let memory = one.keep();
    let (first, second) = (name(&near, &[&one, &one]), name(&near, &[&one]));
    assert!(is_one(&take(second), &one));
    assert_eq!(take(first).holds().count(), 2);
    let unsent = name(&near, &[&one]);
    near.take_back(unsent);
    assert!(far.take_named(unsent).is_err());
    name(&far, &[&one]);
    drop(one);
    assert_eq!(Arc::strong_count(&memory), 2, "it lies there");
    drop((near, far));
    assert_eq!(Arc::strong_count(&memory), 1);
}
