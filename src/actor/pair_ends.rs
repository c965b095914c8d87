//! Callers and a server of which one breaks the rules, goes away or does not react.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::task::spawn_local;

use super::pair::{
    ADD, HOLD, MESSAGE_LEN_MAX, Pair, WAIT, open_gate, ran, run, server, settle, small,
};
use super::server::End;
use super::signals::Signals;
use crate::proxy::exchange::Peer;
use crate::proxy::failure::{CallError, Death, Ended, Outcome};
use crate::sys::body::Body;
use crate::sys::doorbell::Doorbell;
use crate::sys::memory::Segment;
use crate::sys::process::Exit;
use crate::transport::board::Side;
use crate::transport::idle::Idle;
use crate::transport::shm::{Bells, connect};
use crate::transport::unreached::Unreached;
use crate::wire::codec;
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;

fn killed() -> Ended {
    Ended::Died(Death::new(
        1,
        Exit::Signal {
            number: 9,
            core_dumped: false,
        },
        None,
        None,
    ))
}

/// Frames that no server sends end the link at once, with the reason, and every call on it.
#[test]
fn a_server_that_breaks_the_rules_is_cut_off() {
    for kind in [Kind::Call, Kind::Tell, Kind::Construct, Kind::Chunk] {
        run(async {
            let (pair, peer) = Pair::alone(small(4), Idle::Park);
            let waiting = pair.call(ADD, 1).start();
            peer.sender
                .try_send(&Head::new(kind, 0, CallId::NONE), b"x")
                .unwrap();
            let error = waiting.await.unwrap_err();
            assert!(matches!(
                error,
                CallError::Corrupt {
                    outcome: Outcome::MayHaveRun,
                    ..
                }
            ));
            let next = pair.call(ADD, 1).await.unwrap_err();
            assert!(matches!(
                next,
                CallError::Corrupt {
                    outcome: Outcome::NotRun,
                    ..
                }
            ));
            pair.driver.await.unwrap();
        });
    }
}

/// An answer in pieces that had come before the peer's end, all of it, is an answer.
#[test]
fn answers_in_pieces_come_before_the_end() {
    run(async {
        for idle in [Idle::Park, Idle::Adaptive] {
            let (pair, mut peer) = Pair::alone(small(2), idle);
            let waiting = pair.fill(3000).start();
            let head = peer.receiver.try_recv(&mut Body::new()).unwrap().unwrap();
            let head = Head::new(Kind::Reply, 0, head.call);
            let answer = codec::encode(&vec![7_u8; 3000], 1 << 16, codec::copy).unwrap();
            assert!(answer.len() > 5 * peer.sender.inline_len_max());
            let sent = peer.sender.send(&head, &answer).now_or_never();
            sent.expect("there is room for it").unwrap();
            pair.exchange.end(killed());
            assert_eq!(waiting.await.unwrap(), [7; 3000]);
        }
    });
}

/// Frames that no caller sends end the server, before and after the constructor.
#[test]
fn a_caller_that_breaks_the_rules_ends_the_actor() {
    run(async {
        for kind in [
            Kind::Call,
            Kind::Tell,
            Kind::Reply,
            Kind::Refused,
            Kind::Chunk,
        ] {
            let (pair, server) = Pair::unmade(small(4), Idle::Park);
            let sent = pair
                .caller
                .target()
                .call_as::<_, (), ()>(kind, 0, (10_u64,), codec::decode);
            let _no_answer = sent.start();
            assert!(
                matches!(server.await.unwrap(), End::Corrupt(_)),
                "{kind:?} first"
            );
        }
        for kind in [Kind::Construct, Kind::Reply, Kind::Panicked, Kind::Chunk] {
            let (pair, server) = Pair::new(small(4), Idle::Park).await;
            let sent = pair
                .caller
                .target()
                .call_as::<_, (), ()>(kind, 0, (10_u64,), codec::decode);
            let _no_answer = sent.start();
            assert!(
                matches!(server.await.unwrap(), End::Corrupt(_)),
                "{kind:?} later"
            );
        }
    });
}

/// Answers to calls that there are not, that are over, or that were answered, change nothing.
#[test]
fn invented_answers_meet_no_call() {
    run(async {
        let (pair, peer) = Pair::alone(small(2), Idle::Park);
        let mut body = Body::new();
        let mut peer_recv = peer.receiver;
        let given_up = pair.call(ADD, 1).start();
        let old = peer_recv.try_recv(&mut body).unwrap().unwrap().call;
        drop(given_up);
        let waiting = pair.call(ADD, 2).start();
        let call = peer_recv.try_recv(&mut body).unwrap().unwrap().call;
        assert_eq!(old.slot(), call.slot());
        let answer = |call: CallId, number: u64| {
            let head = Head::new(Kind::Reply, 0, call);
            codec::encode(&number, 64, |body| peer.sender.try_send(&head, body))
                .unwrap()
                .unwrap();
        };
        let invented = [CallId::NONE, CallId::new(900, 0), CallId::new(1, 4000)];
        for call in invented
            .into_iter()
            .chain([old, CallId::from_bits(u64::MAX)])
        {
            answer(call, 13);
        }
        settle().await;
        assert!(!waiting.is_ready());
        answer(call, 5);
        answer(call, 6);
        assert_eq!(waiting.await.unwrap(), 5);
    });
}

/// An answer whose bytes are no archive is an error of that call alone.
#[test]
fn unreadable_answers_are_errors_of_their_calls() {
    for kind in [Kind::Reply, Kind::Failure, Kind::Panicked, Kind::Refused] {
        run(async {
            let (pair, mut peer) = Pair::alone(small(2), Idle::Park);
            for bytes in [&[][..], &[0xFF; 7], &[0x80; 64]] {
                let waiting = pair
                    .caller
                    .target()
                    .call_fallible::<_, String, String>(ADD, (1_u64,))
                    .start();
                let head = peer.receiver.try_recv(&mut Body::new()).unwrap().unwrap();
                peer.sender
                    .try_send(&Head::new(kind, 0, head.call), bytes)
                    .unwrap();
                let error = waiting.await.unwrap_err();
                assert!(
                    matches!(error, CallError::Decode { .. }),
                    "{kind:?}: {error:?}"
                );
            }
        });
    }
}

/// A call that its owner begins and never looks at again holds up nobody.
#[test]
fn a_forgotten_call_holds_up_nobody() {
    for idle in [Idle::Park, Idle::Adaptive, Idle::Busy] {
        run(async {
            let (pair, _server) = Pair::new(small(16), idle).await;
            let mut forgotten = Vec::new();
            for number in 0..8 {
                let mut call = Box::pin(pair.call(ADD, number));
                let polled = tokio::time::timeout(Duration::ZERO, &mut call);
                if number % 2 == 0 {
                    let _may_be_done = polled.await;
                } else {
                    drop(polled);
                }
                forgotten.push(call);
                let bound = Duration::from_secs(2);
                let got = tokio::time::timeout(bound, pair.get()).await;
                got.unwrap_or_else(|_| panic!("{idle:?}: held up by {number}"))
                    .unwrap();
            }
            // More than the ring of answers holds, and nobody looks for them.
            let unread: Vec<_> = (0..8).map(|_| pair.fill(900).start()).collect();
            for number in 0..100 {
                let tell = pair.call(ADD, number).tell();
                let told = tokio::time::timeout(Duration::from_secs(2), tell).await;
                told.unwrap_or_else(|_| panic!("{idle:?}: tell {number} is held up"))
                    .unwrap();
            }
            drop(unread);
        });
    }
}

/// Whoever waits, for an answer, a slot or room, learns of the end; what the actor cannot have read
/// has not run, and what it answered before is an answer.
#[test]
fn an_end_reaches_everyone() {
    run(async {
        let (pair, _peer) = Pair::alone(small(4), Idle::Park);
        let waiting = pair.call(ADD, 1).start();
        let large = pair
            .caller
            .target()
            .call::<_, u64>(ADD, (vec![0_u8; 20_000],))
            .start();
        let slots: Vec<_> = (0..4)
            .map(|number| pair.call(ADD, number).start())
            .collect();
        settle().await;
        let told = pair.call(ADD, 9).tell();
        let ended = async {
            settle().await;
            pair.exchange.end(killed());
            pair.exchange.end(Ended::Stopped);
        };
        let (told, ()) = tokio::join!(told, ended);
        let died = |error: CallError| match error {
            CallError::Died { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(died(told.unwrap_err()), Outcome::NotRun);
        assert_eq!(died(waiting.await.unwrap_err()), Outcome::NotRun);
        assert_eq!(died(large.await.unwrap_err()), Outcome::NotRun);
        for waiting in slots {
            assert_eq!(died(waiting.await.unwrap_err()), Outcome::NotRun);
        }
        assert_eq!(died(pair.get().await.unwrap_err()), Outcome::NotRun);
        pair.driver.await.unwrap();
    });
    run(async {
        let (pair, _server) = Pair::new(small(4), Idle::Park).await;
        let answered = pair.call(ADD, 1).start();
        let held = pair.call(HOLD, 2).start();
        let unread = pair.call(ADD, 3).start();
        settle().await;
        pair.exchange.end(killed());
        assert_eq!(answered.await.unwrap(), 11);
        assert_eq!(held.await.unwrap_err().outcome(), Outcome::MayHaveRun);
        assert_eq!(unread.await.unwrap_err().outcome(), Outcome::NotRun);
    });
}

/// When no more is waited for and the actor lives on, it does not run later what it had not begun.
#[test]
fn what_was_given_up_is_not_run_later() {
    let give_up = [
        |pair: &Pair| pair.exchange.give_up_waiting(),
        |pair: &Pair| pair.exchange.end(Ended::Unreachable(Unreached::NoRuntime)),
    ];
    for give_up in give_up {
        run(async {
            let (pair, _server) = Pair::new(small(4), Idle::Park).await;
            let held = pair.call(HOLD, 1).start();
            settle().await;
            let unread = pair.call(ADD, 2).start();
            give_up(&pair);
            let outcome = |error: CallError| match error {
                CallError::Unreachable { outcome, .. } => outcome,
                other => panic!("{other:?}"),
            };
            assert_eq!(outcome(held.await.unwrap_err()), Outcome::MayHaveRun);
            assert_eq!(outcome(unread.await.unwrap_err()), Outcome::MayHaveRun);
            open_gate(1);
            settle().await;
            assert_eq!(ran(), [1]);
            if !pair.exchange.is_over() {
                assert_eq!(pair.get().await.unwrap(), 10, "the link goes on");
            }
        });
    }
}

/// Stands still by a signal, as long as it is true.
struct Standing(AtomicBool);

impl Peer for Standing {
    fn stands_still(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Peer for Arc<Standing> {
    fn stands_still(&self) -> bool {
        self.as_ref().stands_still()
    }
}

/// Calls on a peer that stands still end after some seconds, however their callers wait.
#[test]
fn calls_on_a_stopped_peer_end() {
    async fn calls_end(idle: Idle, count: u64) {
        let (pair, _peer) = Pair::alone(small(4), idle);
        pair.exchange
            .set_peer(Box::new(Standing(AtomicBool::new(true))));
        let began = Instant::now();
        for call in Vec::from_iter((0..count).map(|number| pair.call(ADD, number).start())) {
            let ended = tokio::time::timeout(Duration::from_secs(6), call).await;
            let ended = ended.unwrap_or_else(|_| panic!("{idle:?}, {count} calls"));
            assert!(matches!(ended, Err(CallError::Unreachable { .. })));
        }
        assert!(began.elapsed() > Duration::from_secs(2));
    }
    run(async {
        tokio::join!(
            calls_end(Idle::Park, 1),
            calls_end(Idle::Park, 3),
            calls_end(Idle::Adaptive, 1),
            calls_end(Idle::Adaptive, 3),
            calls_end(Idle::Busy, 1),
            calls_end(Idle::Busy, 3),
        );
    });
}

/// One that stands still for a shorter while is no reason to give up.
#[test]
fn a_short_stop_ends_no_call() {
    run(async {
        let (pair, _server) = Pair::new(small(4), Idle::Park).await;
        let standing = Arc::new(Standing(AtomicBool::new(true)));
        pair.exchange.set_peer(Box::new(Arc::clone(&standing)));
        let held = pair.call(HOLD, 1).start();
        let short = tokio::time::sleep(Duration::from_millis(2500));
        let going_on = async {
            short.await;
            standing.0.store(false, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(2)).await;
            open_gate(1);
        };
        let (held, ()) = tokio::join!(held, going_on);
        assert_eq!(held.unwrap(), 1);
    });
}

/// When the runtime of the driver goes, calls of others end, and none begins.
#[test]
fn the_end_of_the_runtime_ends_calls() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let (pair, _peer) = first.block_on(async { Pair::alone(small(4), Idle::Park) });
    let waiting = pair.call(ADD, 1).start();
    let caller = pair.caller.clone();
    second.block_on(async {
        let task = tokio::spawn(async move { caller.target().call::<_, u64>(ADD, (2_u64,)).await });
        settle().await;
        first.shutdown_background();
        let ended = tokio::time::timeout(Duration::from_secs(2), task)
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(ended, Err(CallError::Unreachable { .. })));
        assert!(matches!(waiting.await, Err(CallError::Unreachable { .. })));
        assert!(matches!(
            pair.get().await,
            Err(CallError::Unreachable { .. })
        ));
    });
}

/// A caller that lies about how far the server has read keeps the server's other tasks from
/// nothing.
#[test]
fn a_lie_about_the_head_does_not_spin_for_ever() {
    for idle in [Idle::Adaptive, Idle::Busy] {
        run(async {
            let geometry = small(4);
            let segment = Arc::new(Segment::private(geometry.segment_len()));
            let bells = Bells {
                own: Doorbell::new().unwrap(),
                peer: Doorbell::new().unwrap(),
            };
            let (memory, max) = (Arc::clone(&segment), MESSAGE_LEN_MAX as u64);
            let link = connect(memory, geometry, Side::Server, bells, max).unwrap();
            // The server glances where the shared head says, and finds something there every time.
            let words = segment.words();
            words[16].store(32, Ordering::Relaxed);
            let data = words.len() - 2 * geometry.ring_capacity() / 8;
            words[data + 4].store(1, Ordering::Relaxed);
            let signals = Signals::default();
            let server = spawn_local(server(link, idle, signals.clone()));
            settle().await;
            signals.stop();
            assert!(matches!(server.await.unwrap(), End::Stopped));
        });
    }
}

/// Calls that were begun and not awaited yet are cancelled with their results, from any state.
#[test]
fn dropped_results_free_their_slots() {
    run(async {
        let (pair, _server) = Pair::new(small(2), Idle::Park).await;
        for _ in 0..10 {
            let started: Vec<_> = (0..6).map(|name| pair.call(WAIT, name).start()).collect();
            settle().await;
            drop(started);
            open_gate(2);
            settle().await;
            ran();
        }
        let both = [pair.call(ADD, 1).start(), pair.call(ADD, 1).start()];
        for result in both {
            result.await.unwrap();
        }
    });
}
