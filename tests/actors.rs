//! U01-U03, U09, U17, U18, UB3, UB7, UB8, K01, K10, P17, P33: actors:
//! constructors, methods, errors, actors of their own.

mod common;

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::IntoFuture as _;
use std::num::ParseIntError;
use std::rc::Rc;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{CallError, Exit, SpawnError};

use common::{LONG, gone, is_gone, within};

/// An actor with several constructors; its state never leaves its process, so it may be an `Rc`.
pub struct Counter {
    n: Rc<RefCell<u64>>,
    history: Vec<u64>,
}

/// The counter cannot be opened.
#[message]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("{text:?} is no number")]
    NoNumber { text: String },
    #[error("it is closed")]
    Closed,
}

/// An error of a whole number of kinds, as an alias of `Result` hides it.
type Checked<T> = Result<T, OpenError>;

mod aliased {
    /// Called `Result` and with one parameter, as `io::Result` is.
    pub type Result<T> = std::result::Result<T, super::OpenError>;
}

const FIRST: u64 = 1;

#[actor]
impl Counter {
    const STEP_MAX: u64 = 1 << 40;

    /// A plain constructor.
    pub fn new(start: u64) -> Self {
        Self {
            n: Rc::new(RefCell::new(start)),
            history: vec![start],
        }
    }

    /// Another one, async and without arguments.
    pub async fn later() -> Self {
        tokio::task::yield_now().await;
        Self::new(FIRST)
    }

    /// One that may fail, with an error of its own.
    pub fn open(text: String) -> Result<Self, OpenError> {
        let start = text
            .parse()
            .map_err(|_: ParseIntError| OpenError::NoNumber { text })?;
        Ok(Self::new(start))
    }

    /// An async one that always fails, behind an alias.
    pub async fn closed() -> aliased::Result<Self> {
        tokio::task::yield_now().await;
        Err(OpenError::Closed)
    }

    /// One that panics.
    pub fn panicking(reason: String) -> Self {
        panic!("cannot begin: {reason}");
    }

    /// One that ends the process.
    pub fn leaving(code: i32) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an actor that does what it should not"
        )]
        std::process::exit(code)
    }

    /// An async `&mut self` method.
    pub async fn add(&mut self, by: u64) -> u64 {
        tokio::task::yield_now().await;
        self.add_now(by)
    }

    /// A sync one.
    pub fn add_now(&mut self, by: u64) -> u64 {
        assert!(by < Self::STEP_MAX);
        *self.n.borrow_mut() += by;
        let n = *self.n.borrow();
        self.history.push(n);
        n
    }

    /// A sync `&self` method.
    pub fn get(&self) -> u64 {
        *self.n.borrow()
    }

    /// An async one.
    pub async fn history(&self) -> Vec<u64> {
        tokio::task::yield_now().await;
        self.history.clone()
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Seen in this crate only, as its proxy's method is.
    pub(crate) fn within_the_crate(&self) -> bool {
        self.private()
    }

    /// A method with an error of its own.
    pub fn take(&mut self, amount: u64) -> Result<u64, OpenError> {
        let left = self.get().checked_sub(amount).ok_or(OpenError::Closed)?;
        *self.n.borrow_mut() = left;
        Ok(left)
    }

    /// An alias of `Result` that is called so is one.
    pub fn check(&self, is_good: bool) -> aliased::Result<()> {
        if is_good {
            Ok(())
        } else {
            Err(OpenError::NoNumber { text: "bad".into() })
        }
    }

    /// An alias that is called otherwise is a value like others.
    pub fn checked(&self) -> Checked<u8> {
        Err(OpenError::Closed)
    }

    fn private(&self) -> bool {
        true
    }
}

/// A method that a proxy would shadow if it had one of the same name.
trait Absent {
    fn private(&self) -> &'static str {
        "not on the proxy"
    }
}

impl Absent for CounterProxy {}

/// Constructors of each kind make actors; methods of each kind answer, each in its own process.
#[callboard::test]
async fn constructors_and_methods() -> callboard::Result<()> {
    let counter = Counter::spawn(10).await?;
    assert_eq!(counter.get().await?, 10);
    assert_eq!(counter.add(5).await?, 15);
    assert_eq!(counter.add_now(1).await?, 16);
    assert_eq!(counter.history().await?, [10, 15, 16]);
    let pid = counter.pid().await?;
    assert_ne!(pid, std::process::id());
    assert_eq!(pid, counter.process_id());
    let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    assert!(
        line.starts_with(b"actor:Counter\0"),
        "it is called as its type"
    );
    assert_eq!(Counter::spawn_later().await?.get().await?, FIRST);
    assert_eq!(Counter::spawn_open("77".into()).await?.get().await?, 77);
    counter.shutdown().await
}

/// What is not `pub` is not on the proxy, and restricted visibility stays what it is.
#[callboard::test]
async fn visibility_is_kept() -> callboard::Result<()> {
    let counter = Counter::spawn(1).await?;
    assert!(counter.within_the_crate().await?);
    assert_eq!(counter.private(), "not on the proxy");
    counter.shutdown().await
}

/// A constructor's own error comes back as a value, and its process is gone.
#[callboard::test]
async fn constructor_errors_are_typed() {
    match Counter::spawn_open("ten".into()).await {
        Err(SpawnError::Constructor(error)) => {
            assert_eq!(error, OpenError::NoNumber { text: "ten".into() });
        }
        other => panic!("{other:?}"),
    }
    let error = Counter::spawn_closed().await.unwrap_err();
    assert!(
        matches!(error, SpawnError::Constructor(OpenError::Closed)),
        "{error:?}"
    );
    assert_eq!(
        callboard::Error::from(error)
            .to_string()
            .matches("it is closed")
            .count(),
        1
    );
}

/// A constructor's panic comes back with its text and its place.
#[callboard::test]
async fn constructor_panics_are_reported() {
    match Counter::spawn_panicking("no luck".into()).await {
        Err(SpawnError::Panicked(report)) => {
            assert_eq!(report.message(), "cannot begin: no luck");
            assert!(
                report.location().unwrap().contains("tests/actors.rs:"),
                "{report}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A constructor that ends its process is a death with its exit code.
#[callboard::test]
async fn constructors_that_leave_are_deaths() {
    for code in [0, 3] {
        match Counter::spawn_leaving(code).await {
            Err(SpawnError::Died(death)) => {
                assert_eq!(death.exit(), Exit::Code(code));
                assert!(death.pid() > 1, "{death}");
                gone(death.pid()).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A method's own error is a value of its type, and the actor lives on.
#[callboard::test]
async fn method_errors_are_typed() -> callboard::Result<()> {
    let counter = Counter::spawn(5).await?;
    assert_eq!(counter.take(2).await?, 3);
    let error = counter.take(9).await.unwrap_err();
    assert!(
        matches!(error, CallError::Actor(OpenError::Closed)),
        "{error:?}"
    );
    assert_eq!(error.outcome(), Outcome::Ran);
    counter.check(true).await?;
    match counter.check(false).await {
        Err(CallError::Actor(OpenError::NoNumber { text })) => assert_eq!(text, "bad"),
        other => panic!("{other:?}"),
    }
    assert_eq!(counter.checked().await?, Err(OpenError::Closed));
    assert_eq!(counter.get().await?, 3);
    counter.shutdown().await
}

/// Several actors of one type have each their state and their process.
#[callboard::test]
async fn actors_share_nothing() -> callboard::Result<()> {
    let mut counters = Vec::new();
    for start in 0..8 {
        counters.push(Counter::spawn(start * 100).await?);
    }
    let pending: Vec<_> = counters
        .iter()
        .map(|counter| counter.add(1).start())
        .collect();
    let mut pids = HashSet::from([std::process::id()]);
    for (start, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await?, start as u64 * 100 + 1);
        assert!(
            pids.insert(counters[start].pid().await?),
            "each has its own process"
        );
    }
    for counter in counters {
        counter.shutdown().await?;
    }
    Ok(())
}

#[expect(
    clippy::mutable_key_type,
    reason = "a proxy is hashed by its actor, which stays"
)]
/// Proxies of one actor are equal, those of two actors are not; they print what they call.
#[callboard::test]
async fn proxies_are_values() -> callboard::Result<()> {
    let (one, other) = (Counter::spawn(1).await?, Counter::spawn(1).await?);
    let same = one.clone();
    assert_eq!(one, same);
    assert_ne!(one, other);
    let set = HashSet::from([one.clone(), same.clone(), other.clone()]);
    assert_eq!(set.len(), 2);
    let shown = format!("{one:?}");
    assert!(shown.contains("CounterProxy") && shown.contains(&one.process_id().to_string()));
    same.add(1).await?;
    assert_eq!((one.get().await?, other.get().await?), (2, 1));
    one.shutdown().await?;
    other.shutdown().await
}

/// An actor that has an actor: spawned in its constructor, its calls are forwarded.
pub struct Chief {
    helper: CounterProxy,
    deputy: Option<Box<ChiefProxy>>,
}

#[actor]
impl Chief {
    pub async fn new(depth: u32) -> Self {
        let helper = Counter::spawn(u64::from(depth))
            .await
            .expect("a helper starts");
        let deputy = match depth {
            0 => None,
            _ => Some(Box::new(
                Box::pin(async { Self::spawn(depth - 1).await })
                    .await
                    .expect("it starts"),
            )),
        };
        Self { helper, deputy }
    }

    pub async fn add(&self, by: u64) -> u64 {
        self.helper.add(by).await.expect("the helper lives")
    }

    /// The processes of this actor and of those beneath it, and the sum of what they count.
    pub async fn family(&self) -> (Vec<u32>, u64) {
        let (mut pids, mut sum) = match &self.deputy {
            Some(deputy) => deputy.family().await.expect("the deputy lives"),
            None => Default::default(),
        };
        pids.extend([std::process::id(), self.helper.process_id()]);
        sum += self.helper.get().await.expect("the helper lives");
        (pids, sum)
    }
}

/// Actors start actors, of their own type too; those beneath end with the one above.
#[callboard::test]
async fn actors_have_actors() -> callboard::Result<()> {
    for in_order in [true, false] {
        let chief = Chief::spawn(2).await?;
        assert_eq!(chief.add(40).await?, 42);
        let (pids, sum) = chief.family().await?;
        assert_eq!((pids.iter().collect::<HashSet<_>>().len(), sum), (6, 43));
        assert!(pids.iter().all(|pid| !is_gone(*pid)));
        if in_order {
            chief.shutdown().await?;
        } else {
            common::signal(chief.process_id(), nix::sys::signal::Signal::SIGKILL);
        }
        for pid in pids {
            gone(pid).await;
        }
    }
    Ok(())
}

/// All ways of waiting for messages give the same answers.
#[callboard::test]
async fn every_way_of_idling_works() -> callboard::Result<()> {
    for idle in [Idle::Park, Idle::Adaptive, Idle::Busy] {
        let counter = Counter::spawn(0).idle(idle).await?;
        for n in 1..=200 {
            assert_eq!(counter.add_now(1).await?, n, "{idle:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(counter.get().await?, 200);
        counter.shutdown().await?;
    }
    Ok(())
}

/// The thread that started an actor may end; the actor lives on.
#[callboard::test]
async fn the_starting_thread_may_end() -> callboard::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let starting = std::thread::spawn(move || {
        let _entered = runtime.enter();
        let spawn = std::pin::pin!(Counter::spawn(3).into_future());
        futures_util::FutureExt::now_or_never(spawn).is_none()
    });
    assert!(starting.join().unwrap(), "a start is not done at once");
    let runtime = tokio::runtime::Handle::current();
    let counter =
        tokio::task::spawn_blocking(move || runtime.block_on(Counter::spawn(3).into_future()));
    let counter = counter.await??;
    assert_eq!(within(LONG, counter.get()).await?, 3);
    counter.shutdown().await
}
