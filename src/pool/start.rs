//! How the members of a pool are started: those of the beginning, and those that follow.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use super::crew::Start;
use crate::cpu::CpuSet;
use crate::node::handle::Proxy;
use crate::node::handover::Handover;
use crate::node::local::Local;
use crate::node::spawn::Spawn;
use crate::node::spawn_error::SpawnError;
use crate::wire::codec::Arguments;

/// A start that can give a pool its members: [`Spawn`] for processes, which run on the pool's cores
/// if it has any, and [`Local`] for tasks, which run where their runtime does.
///
/// # Examples
/// A pool of tasks, for a test or for what is too cheap for processes:
/// ```standalone_crate
/// use callboard::pool::Pool;
/// use callboard::prelude::*;
///
/// pub struct Squarer;
///
/// #[actor]
/// impl Squarer {
///     pub fn new() -> Self { Self }
///     pub fn square(&self, number: u64) -> u64 { number * number }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let pool = Pool::spawn(2, |_| Squarer::local()).await?;
///     assert_eq!(pool.square(7).await?, 49);
///     assert_eq!(pool.process_id(), std::process::id());
///     pool.shutdown().await
/// }
/// ```
pub trait MemberStart:
    IntoFuture<Output = Result<Self::Proxy, SpawnError<Self::Error>>, IntoFuture: Send + 'static>
    + sealed::Sealed
{
    /// What calls the member.
    type Proxy: Proxy;

    /// Its constructor's own error.
    type Error: Send + 'static;

    /// The same start on these CPUs, if it is of a process.
    #[doc(hidden)]
    #[must_use]
    fn on(self, cpus: CpuSet) -> Self;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else is to have it")]
    pub trait Sealed {}
}

impl<P, Args, E> sealed::Sealed for Spawn<P, Args, E> {}

impl<P: Proxy, Args: Arguments, E: Send + 'static> MemberStart for Spawn<P, Args, E> {
    type Proxy = P;
    type Error = E;

    fn on(self, cpus: CpuSet) -> Self {
        self.pin(cpus)
    }
}

impl<P, Args, E> sealed::Sealed for Local<P, Args, E> {}

impl<P: Proxy, Args: Arguments, E: Send + 'static> MemberStart for Local<P, Args, E> {
    type Proxy = P;
    type Error = E;

    fn on(self, _cpus: CpuSet) -> Self {
        self
    }
}

/// Starts the member of a seat, on these CPUs if there are any.
pub(super) type Make<P, E> = dyn Fn(usize, Option<CpuSet>) -> Starting<P, E> + Send + Sync;

pub(super) type Starting<P, E> = Pin<Box<dyn Future<Output = Result<P, SpawnError<E>>> + Send>>;

/// Makes the starts of the members of each seat, within what those of a seat leave to each other.
pub(super) fn starts<S: MemberStart>(
    make: impl Fn(usize) -> S + Send + Sync + 'static,
) -> Arc<Make<S::Proxy, S::Error>> {
    let handovers = Handovers::default();
    Arc::new(move |seat, cpus: Option<CpuSet>| {
        let start = make(seat);
        let start = match cpus {
            Some(cpus) => start.on(cpus),
            None => start,
        };
        let start = start.into_future();
        Box::pin(handovers.of(seat).within::<S::Proxy, _>(start)) as Starting<S::Proxy, S::Error>
    })
}

/// What the members of each seat leave to each other.
#[derive(Default)]
struct Handovers(Mutex<Vec<Handover>>);

impl Handovers {
    fn of(&self, seat: usize) -> Handover {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= seat {
            all.resize_with(seat + 1, Handover::default);
        }
        all[seat].clone()
    }
}

/// Starts the members that come later.
pub(super) fn again<P: Proxy, E: fmt::Debug + Send + 'static>(
    make: Arc<Make<P, E>>,
    places: Vec<Option<CpuSet>>,
) -> Start<P> {
    Box::new(move |seat| {
        let started = make(seat, places.get(seat).cloned().flatten());
        Box::pin(async move {
            started
                .await
                .inspect_err(|error| tracing::error!(?error, seat, "a pool's member did not start"))
                .ok()
        })
    })
}
