//! Callers and a server between which nothing goes wrong: results, order, cancels, waits, an end.

use std::time::Duration;

use super::pair::{
    ADD, FAIL, GET, HOLD, MESSAGE_LEN_MAX, PANIC, PANIC_SHARED, Pair, TEXT, WAIT, open_gate, ran,
    run, settle, small,
};
use super::server::End;
use crate::proxy::failure::TryCallError;
use crate::proxy::failure::{CallError, Ended, Outcome};
use crate::transport::board::Geometry;
use crate::transport::idle::Idle;
use crate::wire::lent::Lent;

const EVERY_IDLE: [Idle; 3] = [Idle::Park, Idle::Adaptive, Idle::Busy];

/// Calls give results, tells are done in their order, started calls run side by side.
#[test]
fn calls_and_tells_run_in_order() {
    for idle in EVERY_IDLE {
        run(async {
            let (pair, server) = Pair::new(small(8), idle).await;
            assert_eq!(pair.call(ADD, 5).await.unwrap(), 15);
            for number in 1..100 {
                pair.call(ADD, number).tell().await.unwrap();
            }
            assert_eq!(pair.get().await.unwrap(), 15 + 99 * 50);
            assert!(ran().into_iter().skip(1).eq(1..100));
            let pending: Vec<_> = (0..50)
                .map(|number| pair.call(ADD, number).start())
                .collect();
            let mut last = 0;
            for result in pending {
                let sum = result.await.unwrap();
                assert!(sum > last || last == 0);
                last = sum;
            }
            assert!(ran().into_iter().eq(0..50), "the order of the starts");
            pair.signals.stop();
            assert!(matches!(server.await.unwrap(), End::Stopped));
        });
    }
}

/// A method that borrows its arguments is not run with bytes that are none, and the actor goes on.
#[test]
fn borrowed_arguments_are_checked() {
    run(async {
        let (pair, _server) = Pair::new(small(8), Idle::Park).await;
        let caller = &pair.caller;
        let lent = caller
            .target()
            .call::<_, u64>(TEXT, (Lent::new("four"), 5_u64));
        assert_eq!(lent.await.unwrap(), 9);
        let foreign = [
            caller.target().call::<_, u64>(TEXT, ([0xFF_u8; 16],)).await,
            caller.target().call::<_, u64>(TEXT, ()).await,
            caller
                .target()
                .call::<_, u64>(TEXT, (String::from("four"),))
                .await,
            caller
                .target()
                .call::<_, u64>(TEXT, (vec![0xFF_u8; 40], 5_u64))
                .await,
        ];
        for result in foreign {
            let error = result.unwrap_err();
            assert!(matches!(error, CallError::Arguments { .. }), "{error}");
            assert_eq!(error.outcome(), Outcome::NotRun);
        }
        assert_eq!(pair.get().await.unwrap(), 10);
        let viewed = pair.fill(1000).view().await.unwrap();
        assert_eq!(viewed[..], [7; 1000]);
        let foreign = caller.target().call::<_, Vec<String>>(GET, ()).view().await;
        assert!(matches!(foreign, Err(CallError::Decode { .. })));
    });
}

/// What a constructor does is told, and only a made actor goes on.
#[test]
fn constructors_are_answered() {
    run(async {
        for (constructor, what) in [(1, "not today"), (2, "no actor"), (9, "?")] {
            let (pair, server) = Pair::unmade(small(2), Idle::Park);
            match (constructor, pair.construct(constructor).await.unwrap_err()) {
                (1, CallError::Actor(error)) => assert_eq!(error, what),
                (2, CallError::Panicked(report)) => assert_eq!(report.message(), what),
                (9, CallError::UnknownMethod { .. }) => {}
                (_, error) => panic!("{error:?}"),
            }
            let end = server.await.unwrap();
            assert!(matches!(
                (constructor, &end),
                (2, End::Panicked(_)) | (1 | 9, End::Rejected)
            ));
        }
    });
}

/// An actor is told, by the rule of the borrow, of calls of what is no method; their callers are
/// told as ever.
#[test]
fn calls_of_no_method_are_told_to_the_actor() {
    run(async {
        let (pair, server) = Pair::new(small(4), Idle::Park).await;
        let missing = pair.call(99, 0).await.unwrap_err();
        assert!(matches!(missing, CallError::UnknownMethod { .. }));
        pair.call(98, 0).tell().await.unwrap();
        pair.call(ADD, 1).await.unwrap();
        assert_eq!(ran(), [99, 98, 1]);
        pair.call(97, 0).tell().await.unwrap();
        settle().await;
        pair.signals.stop();
        assert!(matches!(server.await.unwrap(), End::Stopped));
        assert_eq!(
            ran(),
            [97],
            "what went wrong before the end is told before it"
        );
    });
}

/// A method's own error, wrong arguments, a missing method, too long a way there or back: each is
/// told as what it is, and the actor goes on.
#[test]
fn refusals_are_told_apart() {
    run(async {
        let (pair, _server) = Pair::new(small(4), Idle::Park).await;
        let fail = |number: u64| {
            pair.caller
                .target()
                .call_fallible::<_, u64, String>(FAIL, (number,))
        };
        assert_eq!(fail(3).await.unwrap(), 3);
        assert!(matches!(fail(12).await, Err(CallError::Actor(error)) if error == "12"));
        let wrong = pair.caller.target().call::<(), u64>(ADD, ());
        assert!(matches!(
            wrong.await,
            Err(CallError::Arguments { method: "add", .. })
        ));
        let missing = pair.call(99, 0).await.unwrap_err();
        assert!(matches!(missing, CallError::UnknownMethod { .. }));
        let too_long = pair.fill(MESSAGE_LEN_MAX as u64).await.unwrap_err();
        assert!(matches!(too_long, CallError::Result { method: "fill", .. }));
        assert_eq!(too_long.outcome(), Outcome::Ran);
        let much = pair
            .caller
            .target()
            .call::<_, u64>(ADD, (vec![0_u8; MESSAGE_LEN_MAX],));
        assert!(matches!(
            much.await,
            Err(CallError::Encode { method: "add", .. })
        ));
        let misread = pair
            .caller
            .target()
            .call::<_, String>(ADD, (1_u64,))
            .await
            .unwrap_err();
        assert!(matches!(misread, CallError::Decode { .. }));
        assert_eq!(pair.get().await.unwrap(), 11);
    });
}

/// Messages far longer than the ring go both ways, also many at once and beside small ones.
#[test]
fn large_messages_go_both_ways() {
    for idle in EVERY_IDLE {
        run(async {
            let (pair, _server) = Pair::new(small(8), idle).await;
            let results: Vec<_> = (0..8).map(|at| pair.fill(at * 20_000).start()).collect();
            for (at, result) in results.into_iter().enumerate() {
                assert_eq!(result.await.unwrap().len(), at * 20_000);
                assert_eq!(pair.get().await.unwrap(), 10);
            }
            // The number stands at the archive's end, so it comes right only if all else came.
            let much = (vec![3_u8; 1 << 18], 7_u64);
            assert_eq!(
                pair.caller
                    .target()
                    .call::<_, u64>(ADD, much)
                    .await
                    .unwrap(),
                17
            );
        });
    }
}

/// A call that is dropped before the actor began it is never run; one that runs goes to its end,
/// and its slot is used again.
#[test]
fn dropped_calls_are_not_begun() {
    run(async {
        let (pair, _server) = Pair::new(small(2), Idle::Park).await;
        for round in 0..20 {
            let held = pair.call(HOLD, 1).start();
            settle().await;
            let dropped = pair.call(ADD, 2).start();
            drop(dropped);
            if round % 2 == 0 {
                drop(held);
                open_gate(1);
            } else {
                open_gate(1);
                assert_eq!(held.await.unwrap(), 1);
            }
            assert_eq!(pair.call(ADD, 0).await.unwrap(), 10);
            assert_eq!(ran(), [1, 0]);
        }
    });
}

/// A call that waits too long ends at its own bound; what the actor had not begun by then is not
/// run.
#[test]
fn timeouts_end_calls() {
    run(async {
        let (pair, _server) = Pair::new(small(4), Idle::Park).await;
        let held = pair.call(HOLD, 1).start();
        settle().await;
        let short = Duration::from_millis(20);
        let late = pair.call(ADD, 2).timeout(short).await.unwrap_err();
        assert!(matches!(late, CallError::Timeout { after, .. } if after == short));
        pair.call(ADD, 3).timeout(short).tell().await.unwrap();
        let pending = pair.call(ADD, 4).timeout(short).start();
        assert!(matches!(pending.await, Err(CallError::Timeout { .. })));
        // No bound of its own, so that however long this machine takes, only the wait ends.
        let mut pending = pair.call(ADD, 5).start();
        assert!(!pending.wait(Duration::from_millis(5)).await);
        drop(pending);
        tokio::time::sleep(short).await;
        open_gate(1);
        assert_eq!(held.await.unwrap(), 1);
        assert_eq!(pair.get().await.unwrap(), 10);
        assert_eq!(ran(), [1], "the told one was too late as well");
    });
}

/// A panic is told to its caller, and the actor ends. The others learn of the end.
#[test]
fn a_panic_ends_the_actor() {
    for method in [PANIC, PANIC_SHARED] {
        run(async {
            let (pair, server) = Pair::new(small(4), Idle::Park).await;
            let waiting = pair.call(WAIT, 1).start();
            settle().await;
            let panicking = pair.call(method, 0).start();
            settle().await;
            if method == PANIC {
                open_gate(1);
            }
            let text = if method == PANIC {
                "exclusive"
            } else {
                "shared"
            };
            match panicking.await {
                Err(CallError::Panicked(report)) => assert_eq!(report.message(), text),
                other => panic!("{other:?}"),
            }
            assert!(matches!(server.await.unwrap(), End::Panicked(_)));
            pair.exchange.end(Ended::Stopped);
            match waiting.await {
                Ok(1) => assert_eq!(method, PANIC),
                Err(error) => assert_eq!(error.outcome(), Outcome::MayHaveRun),
                other => panic!("{other:?}"),
            }
        });
    }
}

/// Calls of `&self` run side by side; one of `&mut self` waits for them, and those after it for it.
#[test]
fn the_borrow_is_the_rule() {
    run(async {
        let (pair, _server) = Pair::new(small(16), Idle::Park).await;
        let waits: Vec<_> = (1..=3).map(|name| pair.call(WAIT, name).start()).collect();
        let held = pair.call(HOLD, 4).start();
        let after = pair.call(WAIT, 5).start();
        settle().await;
        assert_eq!(ran(), [1, 2, 3]);
        open_gate(2);
        settle().await;
        assert!(ran().is_empty());
        open_gate(1);
        settle().await;
        assert_eq!(ran(), [4]);
        open_gate(1);
        settle().await;
        assert_eq!(ran(), [5]);
        open_gate(1);
        for (name, wait) in (1..).zip(waits) {
            assert_eq!(wait.await.unwrap(), name);
        }
        assert_eq!((held.await.unwrap(), after.await.unwrap()), (4, 5));
    });
}

/// With every slot taken, calls wait in their order, those who will not wait are refused, and who
/// gives up makes room for the next.
#[test]
fn waiting_for_a_slot_is_fair() {
    run(async {
        let (pair, _server) = Pair::new(small(3), Idle::Park).await;
        let mut running: Vec<_> = (1..=3).map(|name| pair.call(WAIT, name).start()).collect();
        running.extend((4..=9).map(|name| pair.call(WAIT, name).start()));
        settle().await;
        assert_eq!(ran(), [1, 2, 3]);
        assert!(matches!(
            pair.call(WAIT, 10).try_start(),
            Err(TryCallError::Full(_))
        ));
        assert!(matches!(
            pair.call(ADD, 10).try_tell(),
            Err(TryCallError::Full(_))
        ));
        drop(running.remove(4));
        drop(running.remove(0));
        settle().await;
        open_gate(1);
        settle().await;
        assert_eq!(
            ran(),
            [4],
            "the slot of the dropped one is free, and 4 was next"
        );
        open_gate(20);
        for (name, wait) in [2, 3, 4, 6, 7, 8, 9].into_iter().zip(running) {
            assert_eq!(wait.await.unwrap(), name);
        }
        assert_eq!(ran(), [6, 7, 8, 9]);
        assert_eq!(pair.call(ADD, 1).await.unwrap(), 11);
    });
}

/// A stop lets the actor do what has come in, and nothing more.
#[test]
fn a_stop_is_orderly() {
    run(async {
        let (pair, server) = Pair::new(small(8), Idle::Park).await;
        let held = pair.call(HOLD, 1).start();
        let next = pair.call(ADD, 2).start();
        pair.call(ADD, 3).tell().await.unwrap();
        settle().await;
        pair.exchange.stop_beginning();
        pair.signals.stop();
        let late = pair.call(ADD, 4).await.unwrap_err();
        assert!(matches!(
            late,
            CallError::Stopped {
                outcome: Outcome::NotRun
            }
        ));
        open_gate(1);
        assert_eq!((held.await.unwrap(), next.await.unwrap()), (1, 12));
        assert!(matches!(server.await.unwrap(), End::Stopped));
        assert_eq!(ran(), [1, 2, 3]);
    });
}

/// One actor serves several links: each in its order, with its own answers, until each is closed.
#[test]
fn one_actor_serves_several_links() {
    for idle in EVERY_IDLE {
        run(async {
            let (pair, server) = Pair::new(small(8), idle).await;
            let (other, line) = pair.join(small(8), idle);
            let (third, _) = pair.join(small(2), idle);
            assert_eq!(other.call(ADD, 5).await.unwrap(), 15);
            let waits = [&pair, &other, &third].map(|pair| pair.call(WAIT, 7).start());
            settle().await;
            assert_eq!(ran(), [5, 7, 7, 7], "they run side by side");
            open_gate(3);
            for wait in waits {
                assert_eq!(wait.await.unwrap(), 7);
            }
            assert_eq!(third.fill(100_000).await.unwrap().len(), 100_000);
            for number in 1..50 {
                other.call(ADD, number).tell().await.unwrap();
            }
            pair.signals.close(&line);
            drop(other);
            settle().await;
            assert!(ran().into_iter().eq(1..50), "what was told is done");
            assert_eq!(std::sync::Arc::strong_count(&line), 1, "the link is gone");
            assert_eq!(third.get().await.unwrap(), pair.get().await.unwrap());
            pair.signals.stop();
            assert!(matches!(server.await.unwrap(), End::Stopped));
        });
    }
}

/// A further link whose caller breaks the rules is closed alone.
#[test]
fn a_liar_harms_only_its_own_link() {
    run(async {
        let (pair, _server) = Pair::new(small(8), Idle::Park).await;
        let (liar, line) = pair.join(small(8), Idle::Park);
        let again = liar.construct(0).start();
        settle().await;
        assert_eq!(std::sync::Arc::strong_count(&line), 1, "the link is gone");
        assert_eq!(pair.call(ADD, 1).await.unwrap(), 11);
        drop(again);
    });
}

/// Tasks on several threads share one actor, each sees its own calls in order, and none is lost.
#[test]
fn many_threads_share_an_actor() {
    const TASKS: u64 = 6;
    const CALLS: u64 = 400;
    for idle in EVERY_IDLE {
        run(async {
            let threads = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let geometry = Geometry::new(4096, 4).unwrap();
            let (pair, server) = Pair::new(geometry, idle).await;
            let tasks = (0..TASKS).map(|task| {
                let caller = pair.caller.clone();
                threads.spawn(async move {
                    let mut last = 0;
                    for number in 0..CALLS {
                        if (number + task) % 7 == 0 {
                            caller
                                .target()
                                .call::<_, u64>(ADD, (1_u64,))
                                .tell()
                                .await
                                .unwrap();
                        } else {
                            let sum = caller.target().call::<_, u64>(ADD, (1_u64,)).await.unwrap();
                            assert!(sum > last);
                            last = sum;
                        }
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(pair.get().await.unwrap(), 10 + TASKS * CALLS);
            pair.signals.stop();
            server.await.unwrap();
            threads.shutdown_background();
        });
    }
}
