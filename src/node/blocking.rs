//! Actors for programs without async: a runtime in the background, and a thread that waits.

use std::fmt;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use super::ward::lock;
use super::{census, greet};

/// The one in the background, from its first use until a [`Session`] ends.
static RUNTIME: Mutex<Option<Arc<Runtime>>> = Mutex::new(None);

/// How long a session's end waits for tasks that block a thread; there are some only if the program
/// has started them.
const TASKS_END_WITHIN: Duration = Duration::from_secs(1);

/// The first line of a `main` without async: turns a process that was started as an actor into that
/// actor, as [`callboard::init`](crate::init) does, and gives every other one a [`Session`] that
/// ends its actors in order at the end of `main`.
///
/// # Examples
/// ```standalone_crate
/// use callboard::blocking::Block;
/// use callboard::prelude::*;
///
/// pub struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     pub fn new(start: u64) -> Self { Self(start) }
///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
/// }
///
/// fn main() -> callboard::Result<()> {
///     let _session = callboard::blocking::init();
///     let counter = Counter::spawn(10).block()?;
///     assert_eq!(counter.add(5).block()?, 15);
///     Ok(())
/// }
/// ```
#[must_use = "dropped, it ends all actors"]
pub fn init() -> Session {
    greet::init();
    Session(())
}

/// As long as this lives, actors may be used without async; dropped, it ends those that were
/// started so, as by [`shutdown_all`](crate::shutdown_all), and the runtime behind them.
///
/// A program that ends without dropping it, by `exit` or a signal, ends its actors without their
/// destructors.
///
/// # Examples
/// ```standalone_crate
/// let session = callboard::blocking::init();
/// // What is done with actors stands here.
/// drop(session);
/// ```
pub struct Session(());

impl Drop for Session {
    fn drop(&mut self) {
        let Some(runtime) = lock(&RUNTIME).take() else {
            return;
        };
        let end = || {
            runtime.block_on(census::shutdown_all());
            // Another thread may still be waiting with it, and then drops it.
            if let Some(runtime) = Arc::into_inner(runtime) {
                runtime.shutdown_timeout(TASKS_END_WITHIN);
            }
        };
        if Handle::try_current().is_err() {
            end();
        } else {
            // A runtime's own thread must not run another one.
            thread::scope(|scope| drop(scope.spawn(end).join()));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Waits for anything that could be awaited: a start, a call, a [`Pending`](crate::Pending), an
/// end.
///
/// For programs, tests and threads without async. The calling thread waits; what the actors' links
/// need meanwhile is done by one thread in the background, which is started at first use.
///
/// # Examples
/// ```standalone_crate
/// use callboard::blocking::Block;
/// use callboard::prelude::*;
///
/// pub struct Greeter;
///
/// #[actor]
/// impl Greeter {
///     pub fn new() -> Self { Self }
///     pub fn greet(&self, whom: String) -> String { format!("hello {whom}") }
/// }
///
/// fn main() -> callboard::Result<()> {
///     let _session = callboard::blocking::init();
///     let greeter = Greeter::spawn().name("greeter").block()?;
///     let (a, b) = (greeter.greet("a".into()).start(), greeter.greet("b".into()).start());
///     assert_eq!((a.block()?, b.block()?), ("hello a".into(), "hello b".into()));
///     greeter.greet("nobody".into()).tell().block()?;
///     greeter.shutdown().block()
/// }
/// ```
pub trait Block: IntoFuture + Sized {
    /// Waits on this thread, and gives what awaiting would have given.
    ///
    /// # Panics
    /// Within an async runtime, whose thread it would stop: await there. When the system has no
    /// thread or descriptor left for the runtime in the background.
    fn block(self) -> Self::Output {
        block_on(self)
    }
}

impl<F: IntoFuture> Block for F {}

/// Runs a whole future on this thread, beside the runtime in the background: for more than one
/// thing at once.
///
/// # Panics
/// As [`Block::block`].
///
/// # Examples
/// ```standalone_crate
/// # use callboard::blocking::block_on;
/// # use callboard::prelude::*;
/// # pub struct Echo;
/// # #[actor]
/// # impl Echo {
/// #     pub fn new() -> Self { Self }
/// #     pub fn echo(&self, value: u64) -> u64 { value }
/// # }
/// fn main() -> callboard::Result<()> {
///     let _session = callboard::blocking::init();
///     block_on(async {
///         let echo = Echo::spawn().await?;
///         assert_eq!(echo.echo(1).await? + echo.echo(2).await?, 3);
///         Ok(())
///     })
/// }
/// ```
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    assert!(
        Handle::try_current().is_err(),
        "callboard::blocking was used within an async runtime, whose thread it would stop: \
         `.await` the call instead, or, from `spawn_blocking`, use tokio's `Handle::block_on`"
    );
    let runtime = runtime();
    let future = async { future.into_future().await };
    runtime.block_on(future)
}

fn runtime() -> Arc<Runtime> {
    let mut runtime = lock(&RUNTIME);
    if let Some(runtime) = &*runtime {
        return Arc::clone(runtime);
    }
    let started = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("callboard-blocking")
        .enable_all()
        .build()
        .expect("the system has threads and descriptors left");
    Arc::clone(runtime.insert(Arc::new(started)))
}
