//! K02, K03, K07-K09, P15, U11, U12: any sequence of calls, clones and ends of one actor does what
//! a model of a few lines does.
//!
//! One caller, so the order of everything is known: each call's result, what is left of each call
//! when the actor is stopped or killed, and that nothing hangs.

mod common;

use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Exit, Outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use common::{How, LONG, within};

/// Adds up, and counts what it was asked for.
pub struct Sum(u64);

#[actor]
impl Sum {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }

    pub async fn add_slowly(&mut self, by: u64) -> u64 {
        tokio::task::yield_now().await;
        self.0 += by;
        self.0
    }

    /// Changes nothing, so it may be given up at any time.
    pub async fn look(&self) -> u64 {
        tokio::time::sleep(Duration::from_micros(200)).await;
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Call(u64),
    CallSlowly(u64),
    Tell(u64),
    Start(u64),
    /// Takes the oldest result that was started.
    Take,
    /// Starts a call that changes nothing, and gives it up.
    GiveUp,
    /// The same with a bound that is too short.
    TooShort,
    Clone,
    DropClone,
    Stop,
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..9_u64).prop_map(Op::Call),
        4 => (1..9_u64).prop_map(Op::CallSlowly),
        4 => (1..9_u64).prop_map(Op::Tell),
        6 => (1..9_u64).prop_map(Op::Start),
        4 => Just(Op::Take),
        3 => Just(Op::GiveUp),
        1 => Just(Op::TooShort),
        2 => Just(Op::Clone),
        2 => Just(Op::DropClone),
        1 => Just(Op::Stop),
        1 => Just(Op::Kill),
    ]
}

/// What the actor is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    Lives,
    Stopped,
    Killed,
}

impl Model {
    /// Whether the result of a new call is right.
    fn is_right(self, result: &Result<u64, CallError>, sum: u64) -> bool {
        match (self, result) {
            (Self::Lives, Ok(found)) => *found == sum,
            (Self::Stopped, Err(CallError::Stopped { outcome }))
            | (Self::Killed, Err(CallError::Died { outcome, .. })) => *outcome == Outcome::NotRun,
            _ => false,
        }
    }
}

/// Does all of it, and says what was wrong.
async fn follow(how: How, ops: Vec<Op>) -> Result<(), String> {
    let start = how.start(Sum::spawn(), Sum::local());
    let actor: SumProxy = start.await.map_err(|error| error.to_string())?;
    let (mut model, mut sum) = (Model::Lives, 0);
    let (mut clones, mut started) = (Vec::new(), std::collections::VecDeque::new());
    for op in ops {
        let lives = model == Model::Lives;
        match op {
            Op::Call(by) | Op::CallSlowly(by) => {
                sum += if lives { by } else { 0 };
                let result = match op {
                    Op::Call(_) => actor.add(by).await,
                    _ => actor.add_slowly(by).await,
                };
                if !model.is_right(&result, sum) {
                    return Err(format!("{op:?} gave {result:?}, {model:?}, {sum}"));
                }
            }
            Op::Tell(by) => {
                sum += if lives { by } else { 0 };
                let told = actor.add(by).tell().await;
                if told.is_ok() != lives {
                    return Err(format!("{op:?} gave {told:?}, {model:?}"));
                }
            }
            Op::Start(by) => {
                sum += if lives { by } else { 0 };
                started.push_back((actor.add_slowly(by).start(), lives, sum));
            }
            Op::Take => {
                if let Some((pending, was_sent, expected)) = started.pop_front() {
                    take(pending, (was_sent, model), expected).await?;
                }
            }
            Op::GiveUp => drop(actor.look().start()),
            Op::TooShort => {
                let lost = actor.look().timeout(Duration::from_micros(50)).await;
                let is_late = matches!(lost, Err(CallError::Timeout { .. }));
                // It may be quick enough, and a dead one says so first.
                if !is_late && !model.is_right(&lost, sum) {
                    return Err(format!("{op:?} gave {lost:?}, {model:?}, {sum}"));
                }
            }
            Op::Clone => clones.push(actor.clone()),
            Op::DropClone => drop(clones.pop()),
            Op::Stop if lives => {
                actor.stop().await.map_err(|error| error.to_string())?;
                model = Model::Stopped;
            }
            Op::Kill if lives => {
                let exit = actor.kill().await;
                if exit == Exit::Code(0) {
                    return Err("a killed actor ended in order".to_owned());
                }
                model = Model::Killed;
            }
            Op::Stop | Op::Kill => {
                if actor.is_alive() {
                    return Err("it has ended and lives".to_owned());
                }
            }
        }
    }
    for (pending, was_sent, expected) in started {
        take(pending, (was_sent, model), expected).await?;
    }
    drop(clones);
    end(&actor, model).await
}

/// The last shutdown says how the actor ended, whenever that was.
async fn end(actor: &SumProxy, model: Model) -> Result<(), String> {
    let ended = actor.shutdown().await;
    if ended.is_ok() == (model != Model::Killed) {
        return Ok(());
    }
    Err(format!("the last shutdown gave {ended:?}, {model:?}"))
}

/// A call that was sent before a stop was done; one that was sent before a kill may have been.
async fn take(
    pending: Pending<u64>,
    (was_sent, model): (bool, Model),
    expected: u64,
) -> Result<(), String> {
    let result = pending.await;
    let is_right = match (&result, was_sent) {
        (Ok(found), true) => *found == expected,
        (Err(CallError::Died { .. }), true) => model == Model::Killed,
        (_, true) => false,
        (_, false) => model.is_right(&result, expected),
    };
    if is_right {
        return Ok(());
    }
    Err(format!(
        "a started call gave {result:?}, {expected}, {model:?}"
    ))
}

/// Follows so many sequences, always the same ones.
fn check(how: How, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let checked = runner.run(&vec(op(), 0..40), |ops| {
        let followed = runtime.block_on(within(LONG, follow(how, ops)));
        followed.map_err(TestCaseError::fail)
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// An actor that is a task.
#[test]
fn local_actors_do_what_the_model_does() {
    check(How::Local, 200);
}

/// An actor that is a process.
#[callboard::test]
async fn processes_do_what_the_model_does() {
    let checked = tokio::task::spawn_blocking(|| check(How::Process, 60));
    checked.await.unwrap();
}
