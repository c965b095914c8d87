//! Tests of content on its way, step by step: both ends in the test's hands.

use super::*;
use crate::sys::sealed::BlobBuilder;

fn memory(len: usize, seed: u8) -> Arc<Memory> {
    let mut builder = BlobBuilder::alloc(len).unwrap();
    let bytes = (0..=250_u8).cycle().map(|byte| byte ^ seed);
    let all = builder.as_mut_slice().iter_mut();
    all.zip(bytes).for_each(|(to, byte)| *to = byte);
    Memory::enter(builder.into_sealed().unwrap())
}

/// Carries what `from` has to say, and at most so many pieces; gives their numbers.
fn carry(from: &Freight, to: &Freight, pieces: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..=pieces {
        while let Some(note) = from.next_note() {
            to.hear(note).unwrap();
        }
        if numbers.len() < pieces {
            from.put_piece(|number, piece| {
                to.take_in(number, piece).unwrap();
                numbers.push(number);
            });
        }
        while let Some(note) = to.next_note() {
            from.hear(note).unwrap();
        }
    }
    numbers
}

fn load(from: &Freight, number: u64, memory: &Arc<Memory>) -> bool {
    from.load(number, memory, &(0..memory.pages().len()))
}

fn all(len: u64) -> Extent {
    Extent {
        len,
        begin: 0,
        end: len,
    }
}

fn arrived(to: &Freight, number: u64) -> Arc<Memory> {
    let (memory, is_whole) = to.unload(number).unwrap().unwrap();
    assert!(is_whole);
    memory
}

/// No piece goes out while there is something to be said, which may be its own offer.
#[test]
fn offers_go_before_pieces() {
    let near = Freight::new(1 << 30);
    assert!(load(&near, 1, &memory(40_000, 1)));
    near.put_piece(|number, _| panic!("a piece of {number} before its offer"));
    assert_eq!(near.next_note(), Some(Note::Offer(1, all(40_000))));
    let mut number = 0;
    near.put_piece(|of, _| number = of);
    assert_eq!(number, 1);
}

/// Content comes whole, as new memory; several go in turn, so a short one does not wait for a long
/// one, and both ends know how far they are.
#[test]
fn content_goes_in_turn() {
    let (near, far) = (Freight::new(1 << 30), Freight::new(1 << 30));
    let (long, short, empty) = (memory(900_000, 1), memory(40_000, 2), memory(0, 3));
    for (number, memory) in (1..).zip([&long, &short, &empty]) {
        assert!(load(&near, number, memory));
    }
    assert!(near.is_under_way(1) && near.is_under_way(2) && !near.is_under_way(3));
    assert_eq!(carry(&near, &far, 5), [1, 2, 1, 2, 1]);
    assert!(near.is_under_way(1) && !near.is_under_way(2));
    for (number, memory) in [(2, &short), (3, &empty)] {
        let found = arrived(&far, number);
        assert!(found.identity() != memory.identity());
        assert_eq!(
            found.sealed().unwrap().bytes(),
            memory.sealed().unwrap().bytes()
        );
    }
    assert!(far.unload(1).is_none(), "it is not whole");
    assert_eq!(
        carry(&near, &far, 100).len(),
        900_000_usize.div_ceil(PIECE_LEN_MAX) - 3
    );
    let found = arrived(&far, 1);
    assert_eq!(
        found.sealed().unwrap().bytes(),
        long.sealed().unwrap().bytes()
    );
    assert!(far.unload(1).is_none() && !near.is_under_way(1) && !near.has_pieces());
}

/// A part comes as what it is, in memory as long as the whole; one that there is not is refused.
#[test]
fn parts_go_alone() {
    let (near, far) = (Freight::new(1 << 30), Freight::new(100_000));
    let sent = memory(900_000, 1);
    assert!(near.load(1, &sent, &(500_000..590_000)));
    assert_eq!(carry(&near, &far, 9).len(), 3);
    let (part, is_whole) = far.unload(1).unwrap().unwrap();
    assert!(!is_whole);
    let [there, here] = [&part, &sent].map(|memory| memory.sealed().unwrap().bytes());
    assert_eq!(there.len(), here.len());
    assert_eq!(there[500_000..590_000], here[500_000..590_000]);
    for (begin, end) in [(2, 1), (0, 11), (u64::MAX, 0)] {
        let far = Freight::new(1 << 30);
        let extent = Extent {
            len: 10,
            begin,
            end,
        };
        far.hear(Note::Offer(1, extent)).unwrap();
        assert!(far.unload(1).unwrap().is_err());
    }
}

/// Nothing more goes than may be on its way, until the other side has taken some in.
#[test]
fn no_more_goes_than_is_taken_in() {
    let (near, far) = (Freight::new(1 << 30), Freight::new(1 << 30));
    assert!(load(&near, 1, &memory(10 << 20, 1)));
    let mut went = 0;
    far.hear(near.next_note().unwrap()).unwrap();
    while near.has_pieces() {
        near.put_piece(|number, piece| {
            went += piece.len();
            far.take_in(number, piece).unwrap();
        });
    }
    assert!((PIECE_LEN_MAX..1 << 20).contains(&went), "{went}");
    let note = far.next_note().unwrap();
    assert_eq!(note, Note::Taken(went as u64));
    assert!(far.next_note().is_none(), "the latest says all");
    near.hear(note).unwrap();
    assert!(near.has_pieces());
}

/// What is withdrawn or refused in the midst is let go by both sides, and what the sender still
/// sends of it is thrown away.
#[test]
fn transfers_end_in_the_midst() {
    let (near, far) = (Freight::new(1 << 30), Freight::new(100_000));
    let taken = || far.taken.load(Ordering::Relaxed);
    assert!(load(&near, 1, &memory(90_000, 1)));
    assert_eq!(carry(&near, &far, 1), [1]);
    assert_eq!(taken(), 90_000);
    assert!(!far.is_past(1), "it is on its way");
    assert!(near.withdraw(1) && !near.withdraw(1));
    assert!(carry(&near, &far, 3).is_empty());
    assert_eq!(taken(), 0);
    assert!(far.is_past(1) && far.unload(1).is_none());

    // More than may be used at once.
    assert!(load(&near, 2, &memory(60_000, 2)));
    carry(&near, &far, 3);
    let kept = arrived(&far, 2);
    assert!(load(&near, 3, &memory(90_000, 3)));
    far.hear(near.next_note().unwrap()).unwrap();
    near.put_piece(|number, piece| far.take_in(number, piece).unwrap());
    assert_eq!(carry(&near, &far, 3), [3], "one more before it hears of it");
    let lost = far.unload(3).unwrap().unwrap_err();
    let text = lost.to_string();
    assert!(text.contains("100000") && text.contains("60000"), "{text}");
    assert_eq!(taken(), 60_000);
    drop(kept);
    assert_eq!(taken(), 0, "it is used no more");
    assert!(load(&near, 4, &memory(60_000, 4)));
    carry(&near, &far, 3);
    assert_eq!(arrived(&far, 4).pages().len(), 60_000);
}

/// An end lets go of all that is not whole, on both sides, and wakes who waits.
#[test]
fn an_end_lets_go() {
    let (near, far) = (Freight::new(1 << 30), Freight::new(1 << 30));
    let sent = memory(90_000, 1);
    assert!(load(&near, 1, &sent));
    carry(&near, &far, 1);
    near.end();
    far.end();
    assert_eq!(Arc::strong_count(&sent), 1);
    assert_eq!(far.taken.load(Ordering::Relaxed), 0);
    assert!(near.is_over() && !near.is_under_way(1) && !near.has_pieces());
    assert!(!load(&near, 2, &sent), "nothing goes any more");
}

/// What no honest peer says of content ends the link; what it only announces takes no memory, and
/// what it makes us say has a bound.
#[test]
fn lies_about_content_are_refused() {
    let far = || Freight::new(1 << 40);
    let refused = |found: Result<(), LinkError>| matches!(found, Err(LinkError::Blob(_)));
    let offered = |len| {
        let far = far();
        far.hear(Note::Offer(1, all(len))).unwrap();
        far
    };
    assert!(refused(far().hear(Note::Withdraw(1))));
    assert!(refused(far().hear(Note::Taken(1))));
    assert!(refused(far().hear(Note::Offer(u64::MAX, all(1)))));
    assert!(refused(far().take_in(1, &[0])));
    assert!(refused(offered(10).take_in(1, &[])));
    assert!(refused(offered(10).take_in(1, &[0; 11])));
    assert!(refused(
        offered(1 << 20).take_in(1, &[0; PIECE_LEN_MAX + 1])
    ));
    assert!(refused(offered(10).hear(Note::Offer(1, all(10)))));
    assert!(refused(offered(0).take_in(1, &[0])));
    // A refusal of what was not sent changes nothing.
    far().hear(Note::Refused(7)).unwrap();
    assert!(!far().is_past(1) && far().unload(1).is_none());

    let many = far();
    for number in 1..=SHOWN_MAX as u64 {
        many.hear(Note::Offer(number, all(1 << 20))).unwrap();
    }
    assert!(refused(many.hear(Note::Offer(1000, all(1)))));
    // Refused again and again, and never listening.
    let deaf = Freight::new(0);
    let mut number = 0;
    let ended = loop {
        number += 1;
        if let Err(error) = deaf.hear(Note::Offer(number, all(1))) {
            break error;
        }
        deaf.hear(Note::Withdraw(number)).unwrap();
        assert!(number < 10_000, "it ends");
    };
    assert!(matches!(ended, LinkError::Blob(_)));
    // More than any machine has: thrown away as it comes, and no more than was announced.
    let huge = offered(u64::MAX >> 2);
    huge.take_in(1, &[0; 1000]).unwrap();
    assert!(huge.unload(1).unwrap().is_err());
}
