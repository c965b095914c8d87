//! Callers and a server whose calls run together: which ones, in which order, and that each has an
//! answer of its own.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use super::Actor;
use super::context::Context;
use super::incoming::{Incoming, Rejected};
use super::mailbox::Mailbox;
use super::pair::{
    ADD, FAIL, FILL, HOLD, INTERFACE, Pair, Tester, note, open_gate, ran, run, server_of, settle,
    small,
};
use super::replies::Answer;
use super::server::End;
use crate::proxy::call::Call;
use crate::proxy::failure::CallError;
use crate::transport::idle::Idle;
use crate::wire::interface::{Interface, Method, Priority};

/// A [`Tester`] some of whose methods are given what is queued for them, at most four calls of
/// `add`. It may have a method before all others.
struct Batcher<const SORTS: bool>(Tester);

/// What makes a batch panic, or answer with too little.
const POISON: u64 = 66;
const GREED: u64 = 77;

/// A batch of so many calls is noted as this and their number.
const BATCH: u64 = 1000;

const fn methods(last: Method) -> [Method; 9] {
    [
        Method::new("add", 0).batch(4),
        Method::new("get", 0),
        Method::new("wait", 0).waits(),
        Method::new("hold", 0).exclusive().waits(),
        Method::new("panic", 0).exclusive(),
        Method::new("panic_shared", 0).waits(),
        Method::new("fill", 0).batch(256),
        Method::new("fail", 0).batch(256),
        last,
    ]
}

impl<const SORTS: bool> Actor for Batcher<SORTS> {
    type Proxy = ();

    const INTERFACE: Interface = Interface {
        methods: if SORTS {
            &methods(Method::new("text", 0).priority(Priority::High))
        } else {
            &methods(Method::new("text", 0))
        },
        ..INTERFACE
    };

    async fn construct(index: u16, body: &[u8], context: Context) -> Result<Self, Rejected> {
        Tester::construct(index, body, context).await.map(Self)
    }

    fn run_shared(&self, call: Incoming<'_>) -> Answer {
        self.0.run_shared(call)
    }

    fn run_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        self.0.run_exclusive(call)
    }

    async fn await_shared(&self, call: Incoming<'_>) -> Answer {
        self.0.await_shared(call).await
    }

    async fn await_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        if call.method() == HOLD {
            return self.0.await_exclusive(call).await;
        }
        let mut numbers = Vec::new();
        let batch = match call.open_batch::<(u64,)>(|(by,)| numbers.push(by)).await {
            Ok(batch) => batch,
            Err(refused) => return refused,
        };
        note(BATCH + numbers.len() as u64);
        for number in &numbers {
            note(*number);
        }
        assert!(!numbers.contains(&POISON), "poisoned");
        if numbers.contains(&GREED) {
            numbers.pop();
        }
        let fill = |len: u64| vec![7_u8; usize::try_from(len).unwrap()];
        let halve = |number: u64| match number % 2 {
            0 => Ok(number / 2),
            _ => Err(number.to_string()),
        };
        match call.method() {
            FILL => batch.reply(numbers.into_iter().map(fill).collect()).await,
            FAIL => {
                let results = numbers.into_iter().map(halve).collect();
                batch.reply_result(results, String::clone).await
            }
            _ => batch.reply(numbers).await,
        }
    }
}

/// Callers of a [`Batcher`].
async fn batcher(sorts: bool) -> (Pair, JoinHandle<End>) {
    let (pair, link) = Pair::alone(small(64), Idle::Park);
    let signals = pair.signals.clone();
    let mailbox = Mailbox::default();
    let server = if sorts {
        spawn_local(server_of::<Batcher<true>>(
            link,
            Idle::Park,
            signals,
            mailbox,
        ))
    } else {
        spawn_local(server_of::<Batcher<false>>(
            link,
            Idle::Park,
            signals,
            mailbox,
        ))
    };
    pair.construct(0).await.unwrap();
    (pair, server)
}

/// Runs a test in every way in which calls can be queued: in the ring, or in the mailbox behind a
/// method that runs, sorted or not.
fn everywhere(test: &impl AsyncFn(&Pair, &dyn Fn())) {
    for sorts in [false, true] {
        for held in [false, true] {
            run(async {
                let (pair, server) = batcher(sorts).await;
                let holding = held.then(|| pair.call(HOLD, 0).start());
                if held {
                    settle().await;
                }
                ran();
                test(&pair, &|| open_gate(usize::from(held))).await;
                drop(holding);
                pair.signals.stop();
                let end = server.await.unwrap();
                assert!(matches!(end, End::Stopped | End::Panicked(_)), "{end:?}");
            });
        }
    }
}

/// Calls that have come run together as far as they are of one method and no more than it takes,
/// tells among them, and each has its own result.
#[test]
fn what_is_queued_runs_together_in_its_order() {
    everywhere(&async |pair, begin| {
        let mut calls: Vec<_> = (1..=3).map(|by| pair.call(ADD, by).start()).collect();
        let between = pair.get().start();
        calls.push(pair.call(ADD, 4).start());
        pair.call(ADD, 5).try_tell().unwrap();
        calls.extend((6..=9).map(|by| pair.call(ADD, by).start()));
        begin();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        assert_eq!(answers, [1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(between.await.unwrap(), 10);
        let order = [1003, 1, 2, 3, 1004, 4, 5, 6, 7, 1002, 8, 9];
        assert_eq!(ran(), order);
        assert_eq!(pair.call(ADD, 10).await.unwrap(), 10);
        assert_eq!(ran(), [1001, 10], "one alone is a batch of one");
    });
}

/// A call that was cancelled, or is too late, before its batch begins is left out of it.
#[test]
fn unwanted_calls_are_left_out() {
    everywhere(&async |pair, begin| {
        let short = Duration::from_millis(5);
        let first = pair.call(ADD, 1).start();
        let dropped = pair.call(ADD, 2).start();
        pair.call(ADD, 3).timeout(short).try_tell().unwrap();
        let last = pair.call(ADD, 4).start();
        drop(dropped);
        std::thread::sleep(2 * short);
        begin();
        assert_eq!((first.await.unwrap(), last.await.unwrap()), (1, 4));
        assert_eq!(ran(), [1002, 1, 4]);
    });
}

/// A call's own error is that of this call, and of the others nothing is lost.
#[test]
fn errors_are_those_of_single_calls() {
    everywhere(&async |pair, begin| {
        let call = |number: u64| -> Call<'_, (u64,), u64, String> {
            pair.caller.target().call_fallible(FAIL, (number,))
        };
        let calls: Vec<_> = (0..5).map(|number| call(number).start()).collect();
        let unreadable: Call<'_, (), u64> = pair.caller.target().call(FAIL, ());
        let unreadable = unreadable.start();
        let last = call(6).start();
        begin();
        for (number, answer) in (0..).zip(calls) {
            match answer.await {
                Ok(half) => assert_eq!(2 * half, number),
                Err(CallError::Actor(text)) => assert_eq!(text, number.to_string()),
                Err(other) => panic!("{other:?}"),
            }
        }
        let error = unreadable.await.unwrap_err();
        assert!(matches!(error, CallError::Arguments { .. }), "{error:?}");
        assert_eq!(last.await.unwrap(), 3);
        assert_eq!(ran()[0], 1006);
    });
}

/// Of a panic all callers of the batch are told, and the next ones that the actor has ended.
#[test]
fn panics_are_told_to_all() {
    everywhere(&async |pair, begin| {
        let numbers = [1, 2, POISON, 3];
        let calls: Vec<_> = numbers.map(|by| pair.call(ADD, by).start()).into();
        begin();
        for call in calls {
            let error = call.await.unwrap_err();
            assert!(matches!(error, CallError::Panicked { .. }), "{error:?}");
        }
    });
}

/// Too few results are nobody's: all callers of the batch are told, and the actor goes on.
#[test]
fn wrong_lengths_are_told_to_all() {
    everywhere(&async |pair, begin| {
        let calls: Vec<_> = [1, GREED, 2].map(|by| pair.call(ADD, by).start()).into();
        begin();
        for call in calls {
            let error = call.await.unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, CallError::Result { .. }), "{error:?}");
            assert!(text.contains("2 results for a batch of 3 calls"), "{text}");
        }
        assert_eq!(pair.call(ADD, 5).await.unwrap(), 5);
    });
}

/// Answers that find no room wait for it, each over the link that its call came by.
#[test]
fn late_answers_all_arrive() {
    everywhere(&async |pair, begin| {
        let (other, _line) = pair.join(small(64), Idle::Park);
        let calls: Vec<_> = (0..20)
            .map(|at| [pair, &other][at % 2].fill(3000 + at as u64).start())
            .collect();
        settle().await;
        begin();
        for (at, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap().len(), 3000 + at);
        }
    });
}
