//! Callers and a server whose calls wait in the mailbox: order, bounds, what becomes of too many.

use std::time::Duration;

use tokio::task::spawn_local;

use super::mailbox::{Mailbox, Overflow};
use super::pair::{
    ADD, HOLD, LAZY, MESSAGE_LEN_MAX, PANIC, Pair, URGENT, WAIT, open_gate, ran, run, server_with,
    settle, small,
};
use super::server::End;
use super::signals::Signals;
use crate::proxy::failure::{CallError, Death, Ended, Outcome};
use crate::sys::body::Body;
use crate::sys::process::Exit;
use crate::transport::idle::Idle;
use crate::transport::loopback;
use crate::wire::codec;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

/// What comes while a method runs is done afterwards, all of it, once, and each link's in its
/// order.
#[test]
fn calls_that_wait_keep_their_order() {
    for sorts in [false, true] {
        for messages in [1, 3, 1000] {
            run(async {
                let mailbox = Mailbox::messages(messages);
                let (pair, server) = Pair::with_mailbox(small(8), mailbox, sorts).await;
                let (other, _line) = pair.join(small(8), Idle::Park);
                for round in 0..10 {
                    let held = pair.call(HOLD, 1000).start();
                    settle().await;
                    for number in 0..20 {
                        pair.call(ADD, 2 * number).tell().await.unwrap();
                        other.call(ADD, 2 * number + 1).tell().await.unwrap();
                    }
                    settle().await;
                    assert_eq!(ran(), [1000]);
                    open_gate(1);
                    assert_eq!(held.await.unwrap(), 1000);
                    assert_eq!(other.get().await.unwrap(), 10 + (round + 1) * 780);
                    assert_eq!(pair.get().await.unwrap(), 10 + (round + 1) * 780);
                    let (even, odd): (Vec<_>, Vec<_>) = ran().into_iter().partition(|n| n % 2 == 0);
                    assert!(even.into_iter().eq((0..40).step_by(2)));
                    assert!(odd.into_iter().eq((1..40).step_by(2)));
                }
                pair.signals.stop();
                assert!(matches!(server.await.unwrap(), End::Stopped));
            });
        }
    }
}

/// A call that was cancelled, or that is too late, while it lay in the mailbox is not begun.
#[test]
fn calls_are_looked_at_again_when_their_turn_comes() {
    for sorts in [false, true] {
        run(async {
            let (pair, _server) = Pair::with_mailbox(small(8), Mailbox::default(), sorts).await;
            let held = pair.call(HOLD, 1).start();
            settle().await;
            let short = Duration::from_millis(20);
            let mut kept = pair.call(ADD, 2).start();
            let dropped = pair.call(ADD, 3).start();
            pair.call(ADD, 4).timeout(short).tell().await.unwrap();
            let late = pair.call(ADD, 5).timeout(short).start();
            settle().await;
            drop(dropped);
            assert!(!kept.wait(2 * short).await);
            open_gate(1);
            assert_eq!(held.await.unwrap(), 1);
            assert_eq!(kept.await.unwrap(), 12);
            assert!(matches!(late.await, Err(CallError::Timeout { .. })));
            assert_eq!(pair.get().await.unwrap(), 12);
            assert_eq!(ran(), [1, 2]);
        });
    }
}

/// A method of high priority overtakes those that wait, one of low priority is overtaken, and
/// within each the order stays.
#[test]
fn priorities_overtake() {
    run(async {
        let (pair, _server) = Pair::with_mailbox(small(8), Mailbox::default(), true).await;
        for held in [HOLD, WAIT] {
            let holding = pair.call(held, 0).start();
            settle().await;
            for (method, name) in [
                (LAZY, 1),
                (ADD, 2),
                (URGENT, 3),
                (ADD, 4),
                (LAZY, 5),
                (URGENT, 6),
            ] {
                pair.call(method, name).tell().await.unwrap();
            }
            settle().await;
            open_gate(1);
            holding.await.unwrap();
            settle().await;
            assert_eq!(ran(), [0, 3, 6, 2, 4, 1, 5]);
        }
        // Also where no method waits: all of this has come when the actor looks.
        for (method, name) in [(ADD, 1), (LAZY, 2), (ADD, 3), (URGENT, 4)] {
            pair.call(method, name).try_tell().unwrap();
        }
        settle().await;
        assert_eq!(ran(), [4, 1, 3, 2]);
    });
}

/// However many calls of high priority there are, one of low priority has its turn among them.
#[test]
fn low_priorities_are_not_starved() {
    run(async {
        let (pair, _server) = Pair::with_mailbox(small(8), Mailbox::default(), true).await;
        let held = pair.call(HOLD, 100).start();
        settle().await;
        pair.call(LAZY, 50).tell().await.unwrap();
        for name in 0..40 {
            pair.call(URGENT, name).tell().await.unwrap();
        }
        settle().await;
        open_gate(1);
        held.await.unwrap();
        settle().await;
        let ran = ran();
        assert_eq!(ran.iter().position(|name| *name == 50), Some(17));
        assert_eq!(ran.len(), 42);
    });
}

/// What a full mailbox does with more, as it was told; calls learn of it, and nothing else is lost.
#[test]
fn a_full_mailbox_does_as_it_was_told() {
    let cases = [
        // Filled with 1 and 2, then 3 and 4 come, then 5 of high and 6 of low priority.
        (Overflow::Fail, vec![1, 2], "full"),
        (Overflow::DropOldest, vec![5, 4], "dropped"),
        (Overflow::DropNewest, vec![5, 1], "dropped"),
    ];
    for (overflow, expected, what) in cases {
        run(async {
            let mailbox = Mailbox::messages(2).overflow(overflow);
            let (pair, _server) = Pair::with_mailbox(small(16), mailbox, true).await;
            let held = pair.call(HOLD, 0).start();
            settle().await;
            let calls = [
                (ADD, 1),
                (ADD, 2),
                (ADD, 3),
                (ADD, 4),
                (URGENT, 5),
                (LAZY, 6),
            ];
            let pending = calls.map(|(method, name)| pair.call(method, name).start());
            // Before the method has ended those are answered that will not be run.
            settle().await;
            let mut kept = Vec::new();
            for (name, pending) in (1..).zip(pending) {
                if expected.contains(&name) {
                    assert!(!pending.is_ready(), "{name} under {overflow:?}");
                    kept.push(pending);
                    continue;
                }
                assert!(pending.is_ready(), "{name} under {overflow:?}");
                let error = pending.await.unwrap_err();
                assert_eq!(error.outcome(), Outcome::NotRun);
                match error {
                    CallError::Full { .. } => assert_eq!(what, "full"),
                    CallError::Dropped { .. } => assert_eq!(what, "dropped"),
                    error => panic!("{error:?}"),
                }
            }
            if overflow == Overflow::Fail {
                // A tell has nobody to be told.
                pair.call(ADD, 7).tell().await.unwrap();
                settle().await;
            }
            open_gate(1);
            assert_eq!(held.await.unwrap(), 0);
            settle().await;
            assert_eq!(ran(), [vec![0], expected].concat());
        });
    }
}

/// Bytes are bounded as messages are, and a call that is longer than the bound is let in alone.
#[test]
fn bytes_are_bounded() {
    run(async {
        let mailbox = Mailbox::messages(100).bytes(1000).overflow(Overflow::Fail);
        let (pair, _server) = Pair::with_mailbox(small(16), mailbox, false).await;
        let add = |len: usize, by: u64| {
            pair.caller
                .target()
                .call::<_, u64>(ADD, (vec![0_u8; len], by))
        };
        let held = pair.call(HOLD, 0).start();
        settle().await;
        let small: Vec<_> = (0..8).map(|_| add(90, 1).start()).collect();
        let none = add(900, 1).await.unwrap_err();
        assert!(matches!(none, CallError::Full { .. }));
        open_gate(1);
        held.await.unwrap();
        for call in small {
            call.await.unwrap();
        }
        let held = pair.call(HOLD, 0).start();
        settle().await;
        let large = add(5000, 1).start();
        settle().await;
        assert!(matches!(
            pair.call(ADD, 1).await,
            Err(CallError::Full { .. })
        ));
        open_gate(1);
        held.await.unwrap();
        assert_eq!(large.await.unwrap(), 19);
    });
}

/// Who is to wait does so wherever there is room: in the mailbox, at the door, on the link, with
/// its caller. All is done in its order.
#[test]
fn waiting_loses_nothing() {
    for sorts in [false, true] {
        run(async {
            let mailbox = Mailbox::messages(4).bytes(600);
            let (pair, _server) = Pair::with_mailbox(small(8), mailbox, sorts).await;
            let held = pair.call(HOLD, 1000).start();
            settle().await;
            let telling = async {
                for number in 0..300 {
                    let message = (vec![0_u8; (number * 37 % 400) as usize], number);
                    let call = pair.caller.target().call::<_, u64>(ADD, message);
                    call.tell().await.unwrap();
                }
            };
            let opening = async {
                settle().await;
                assert_eq!(ran(), [1000], "nothing runs beside it");
                open_gate(1);
                held.await.unwrap();
            };
            tokio::join!(telling, opening);
            assert_eq!(pair.get().await.unwrap(), 10 + 299 * 150);
            assert!(ran().into_iter().eq(0..300));
        });
    }
}

/// Refused calls learn of it although their caller reads no answers for a while: those wait, and
/// meanwhile nothing more is taken in.
#[test]
fn refusals_wait_for_room() {
    run(async {
        let (mut near, far) = loopback::pair(small(1000), MESSAGE_LEN_MAX as u64);
        let mailbox = Mailbox::messages(1).overflow(Overflow::Fail);
        let _server = spawn_local(server_with(far, Signals::default(), (mailbox, false)));
        let send = |kind, method, number: u64| {
            let call = CallId::new(number, usize::try_from(number).unwrap());
            let head = Head::new(kind, method, call);
            let body = codec::encode(&(number,), MESSAGE_LEN_MAX, codec::copy).unwrap();
            near.sender.try_send(&head, &body).is_ok()
        };
        assert!(send(Kind::Construct, 0, 1));
        settle().await;
        assert!(send(Kind::Call, HOLD, 2));
        settle().await;
        let mut sent = 2;
        for number in 3..1000 {
            if !send(Kind::Call, ADD, number) {
                break;
            }
            sent += 1;
            settle().await;
        }
        assert!((100..900).contains(&sent), "both rings are full: {sent}");
        let mut refused = Vec::new();
        let mut body = Body::new();
        for _ in 0..1000 {
            while let Some(head) = near.receiver.try_recv(&mut body).unwrap() {
                refused.extend((head.kind == Kind::Refused).then(|| head.call.slot()));
            }
            if near.receiver.freed() {
                near.sender.ring();
            }
            settle().await;
        }
        // All but the constructor, the one that holds, and the one that has a place.
        assert!(
            refused.into_iter().eq(4..=sent),
            "each once, in their order"
        );
        open_gate(1);
        settle().await;
        assert_eq!(ran(), [2, 3]);
    });
}

/// A call that the actor had taken in and not begun did not run, and its caller is told so.
#[test]
fn calls_in_the_mailbox_of_a_dead_actor_did_not_run() {
    run(async {
        let (pair, server) = Pair::with_mailbox(small(8), Mailbox::default(), false).await;
        let held = pair.call(HOLD, 1).start();
        settle().await;
        let done = pair.call(ADD, 2).start();
        let panics = pair.call(PANIC, 3).start();
        let waiting: Vec<_> = (4..7).map(|name| pair.call(ADD, name).start()).collect();
        settle().await;
        open_gate(1);
        assert!(matches!(server.await.unwrap(), End::Panicked(_)));
        let exit = Exit::Code(101);
        pair.exchange
            .end(Ended::Died(Death::new(1, exit, None, None)));
        assert_eq!(held.await.unwrap(), 1);
        assert_eq!(done.await.unwrap(), 12);
        assert!(matches!(panics.await, Err(CallError::Panicked(_))));
        for call in waiting {
            assert_eq!(call.await.unwrap_err().outcome(), Outcome::NotRun);
        }
        assert_eq!(ran(), [1, 2]);
    });
}
