//! A pool in the hands of its user, and how it is started.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::Hash;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;

use super::balance::{Routing, place_of};
use super::crew::Crew;
use super::elastic::Gauge;
use super::map::Map;
use super::scale::Elastic;
use super::seat::Member;
use super::start::{Make, MemberStart, again, starts};
use crate::cpu::{Cores, CoresError, TopologyError};
use crate::node::being::Being;
use crate::node::handle::{Handle, Proxy};
use crate::node::spawn_error::SpawnError;
use crate::proxy::call::Call;
use crate::proxy::failure::CallError;
use crate::supervision::restart::Restart;
use crate::wire::codec::Arguments;
use crate::wire::view::Reply;

/// Calls for each member that a [map](Pool::map) has under way.
const WIDTH: usize = 2;

/// Several actors of one type, called as one.
///
/// It is a proxy, too: by `Deref`, each of its methods is called on the member that the pool's
/// [`Routing`] chooses when the call is sent. A clone is the same pool. The members end with the
/// last clone, or with [`stop`](Proxy::stop), which ends them in order.
///
/// A member that dies, or [hangs](crate::Spawn::heartbeat), is [started again](Restart), and given
/// what the one before it in its seat has [left](crate::Context::checkpoint). The calls that it had
/// get [`Died`](CallError::Died), with the outcome; none is made twice. Meanwhile calls go to the
/// others.
///
/// Members may [listen](crate::Spawn::listen), each at an address of its own. A
/// [connected](crate::Connect) proxy that asks one of them for its end asks the owner of the pool:
/// [`serve`](crate::Serve::serve) ends all of it then.
///
/// # Examples
/// ```standalone_crate
/// use callboard::cpu::Cores;
/// use callboard::pool::{Pool, Routing};
/// use callboard::prelude::*;
///
/// pub struct Resizer { quality: u8 }
///
/// #[actor]
/// impl Resizer {
///     pub fn new(quality: u8) -> Self { Self { quality } }
///     pub fn resize(&self, image: Vec<u8>) -> usize { image.len() * self.quality as usize }
///     pub fn reload(&mut self) -> u8 { self.quality }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     // One for each core, each pinned to its own.
///     let pool = Pool::spawn(Cores::physical(), |_| Resizer::spawn(2))
///         .routing(Routing::LeastInFlight)
///         .await?;
///     assert_eq!(pool.resize(vec![0; 10]).await?, 20);      // one of them
///     for reloaded in pool.broadcast(|one| one.reload()).await {
///         assert_eq!(reloaded?, 2);                          // each of them
///     }
///     pool.shutdown().await
/// }
/// ```
pub struct Pool<P> {
    /// Drops before the crew: with the last one, its members are asked to end.
    face: P,
    pub(super) crew: Arc<Crew<P>>,
}

/// How many members a pool has: a number, [`Cores`] for one on each place, or [`Elastic`] for as
/// many as there is work.
///
/// # Examples
/// ```
/// use callboard::cpu::Cores;
/// use callboard::pool::Size;
///
/// let four = Size::from(4);
/// let one_for_each_core = Size::from(Cores::physical());
/// # drop((four, one_for_each_core));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size(Members);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Members {
    Count(usize),
    Each(Cores),
    Elastic(Elastic),
}

impl From<usize> for Size {
    fn from(count: usize) -> Self {
        Self(Members::Count(count))
    }
}

impl From<Cores> for Size {
    fn from(cores: Cores) -> Self {
        Self(Members::Each(cores))
    }
}

impl From<Elastic> for Size {
    fn from(size: Elastic) -> Self {
        Self(Members::Elastic(size))
    }
}

/// A pool about to be started: await it, or refine it first.
///
/// # Errors
/// Awaiting gives a [`PoolError`] when a member does not start; those that did are ended then.
///
/// # Panics
/// Awaited outside a tokio runtime.
///
/// # Cancel safety
/// Dropped before it is done, nothing is left of it.
#[must_use = "a pool is started by awaiting it"]
pub struct PoolBuilder<P, E = Infallible> {
    size: Size,
    make: Arc<Make<P, E>>,
    routing: Routing,
    restart: Restart,
}

impl<P: Proxy> Pool<P> {
    /// Starts a pool of `size` actors, each as `make` says, which is given the member's number from
    /// zero: by its type's `spawn`, or by its `local`. It is asked again when a member is
    /// [started again](Restart).
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::pool::Pool;
    /// use callboard::prelude::*;
    ///
    /// pub struct Worker { number: u64 }
    ///
    /// #[actor]
    /// impl Worker {
    ///     pub fn new(number: u64) -> Self { Self { number } }
    ///     pub fn number(&self) -> u64 { self.number }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let make = |number| Worker::spawn(number as u64).name(format!("worker-{number}"));
    ///     let pool = Pool::spawn(3, make).await?;
    ///     assert_eq!(pool.len(), 3);
    ///     let mut numbers = Vec::new();
    ///     for number in pool.broadcast(|worker| worker.number()).await {
    ///         numbers.push(number?);
    ///     }
    ///     assert_eq!(numbers, [0, 1, 2]);
    ///     pool.shutdown().await
    /// }
    /// ```
    pub fn spawn<S: MemberStart<Proxy = P>>(
        size: impl Into<Size>,
        make: impl Fn(usize) -> S + Send + Sync + 'static,
    ) -> PoolBuilder<P, S::Error> {
        PoolBuilder {
            size: size.into(),
            make: starts(make),
            routing: Routing::default(),
            restart: Restart::default(),
        }
    }

    /// A proxy that is all of the pool: to be handed on where one actor is expected, within this
    /// process. It keeps the pool as a clone of it does.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// fn as_one<P: Proxy>(pool: &Pool<P>) -> P {
    ///     pool.proxy()
    /// }
    /// ```
    /// A supervisor starts all of the pool again when its last member is given up:
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::{Pool, PoolError};
    /// # use callboard::supervision::{SuperviseError, Supervisor};
    /// # use callboard::SpawnError;
    /// # pub struct Worker;
    /// # #[actor]
    /// # impl Worker {
    /// #     pub fn new() -> Self { Self }
    /// # }
    /// async fn start(supervisor: &Supervisor) -> Result<WorkerProxy, SuperviseError<PoolError>> {
    ///     let make = || async {
    ///         let pool = Pool::spawn(4, |_| Worker::spawn()).await;
    ///         Ok(pool.map_err(SpawnError::Constructor)?.proxy())
    ///     };
    ///     supervisor.spawn(make).name("workers").await
    /// }
    /// ```
    #[must_use]
    pub fn proxy(&self) -> P {
        self.face.clone()
    }

    /// How many members it has, dead ones among them.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// fn alive<P: Proxy>(pool: &Pool<P>) -> String {
    ///     let alive = pool.members().iter().filter(|member| member.is_alive).count();
    ///     format!("{alive} of {}", pool.len())
    /// }
    /// ```
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.crew.len()
    }

    /// Its members as they are now.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.crew.members()
    }

    /// The proxy of the member that `key` belongs to: always the same, as long as it lives. When a
    /// member is given up, its keys go to others, and only its keys.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Sessions;
    /// # #[actor]
    /// # impl Sessions {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn open(&mut self, _user: String) {}
    /// # }
    /// async fn open(pool: &Pool<SessionsProxy>, user: String) -> Result<(), CallError> {
    ///     pool.on(&user).open(user).await
    /// }
    /// ```
    #[must_use]
    pub fn on(&self, key: &impl Hash) -> P {
        self.crew
            .picked(|count, is_there| place_of(key, count, is_there))
    }

    /// Makes a call on every member that lives, all at once; the results are in the order of the
    /// members. A call of a part of each is made [`into_owned`](Call::into_owned).
    ///
    /// # Cancel safety
    /// Dropped, the calls that run are cancelled.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Cache;
    /// # #[actor]
    /// # impl Cache {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn clear(&mut self) {}
    /// # }
    /// async fn clear(pool: &Pool<CacheProxy>) -> usize {
    ///     pool.broadcast(|cache| cache.clear()).await.iter().filter(|done| done.is_ok()).count()
    /// }
    /// ```
    pub async fn broadcast<A, T, E, K>(
        &self,
        call: impl for<'a> Fn(&'a P) -> Call<'a, A, T, E, K>,
    ) -> Vec<Result<T, CallError<E>>>
    where
        A: Arguments,
        T: Reply,
    {
        let members = self.crew.proxies();
        join_all(members.iter().map(call)).await
    }

    /// Does something with every member that lives, all at once: what is more than one call, which
    /// [`broadcast`](Self::broadcast) cannot say. The results are in the order of the members.
    ///
    /// # Cancel safety
    /// Dropped, what runs is dropped.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Cache;
    /// # #[actor]
    /// # impl Cache {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn clear(&mut self) {}
    /// #     pub fn len(&self) -> u64 { 0 }
    /// # }
    /// async fn cleared(pool: &Pool<CacheProxy>) -> Vec<Result<u64, CallError>> {
    ///     let clear = async |cache: &CacheProxy| {
    ///         cache.clear().await?;
    ///         cache.len().await
    ///     };
    ///     pool.each(clear).await
    /// }
    /// ```
    pub async fn each<R>(&self, run: impl AsyncFn(&P) -> R) -> Vec<R> {
        let members = self.crew.proxies();
        join_all(members.iter().map(|member| run(member))).await
    }

    /// Makes a call for each of many values, spread over the members. A call of a part of theirs is
    /// made [`into_owned`](Call::into_owned), for it borrows a proxy that is gone with the closure:
    /// `|player, n| player.mixer().left().play(n).into_owned()`.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// # pub struct Squarer;
    /// # #[actor]
    /// # impl Squarer {
    /// #     pub fn new() -> Self { Self }
    /// #     pub fn square(&self, number: u64) -> u64 { number * number }
    /// # }
    /// async fn squares(pool: &Pool<SquarerProxy>) -> callboard::Result<Vec<u64>> {
    ///     Ok(pool.map([3, 4, 5], |squarer, number| squarer.square(number)).all().await?)
    /// }
    /// ```
    pub fn map<I, F, A, T, E, K>(&self, values: I, call: F) -> Map<P, I::IntoIter, F>
    where
        I: IntoIterator,
        F: for<'a> Fn(&'a P, I::Item) -> Call<'a, A, T, E, K>,
    {
        let width = WIDTH * self.len();
        Map::new(self.proxy(), values.into_iter(), call, width)
    }

    /// Replaces every member by a new one, one after the other: a new one is started, takes over,
    /// and the old one ends when the calls that it was sent are done, or its grace is over. Nobody
    /// who calls the pool notices. Gives how many were replaced; the others could not be started,
    /// and stay.
    ///
    /// # Cancel safety
    /// Dropped, the members that were replaced stay so; the one that was being drained ends with
    /// its last call.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::pool::Pool;
    /// async fn renew<P: Proxy>(pool: &Pool<P>) -> bool {
    ///     pool.replace_all().await == pool.len()
    /// }
    /// ```
    pub async fn replace_all(&self) -> usize {
        let mut replaced = 0;
        for seat in self.crew.taken() {
            if self.crew.replace(seat).await {
                replaced += 1;
            }
        }
        replaced
    }
}

impl<P: Proxy> Deref for Pool<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.face
    }
}

impl<P: Proxy> Clone for Pool<P> {
    fn clone(&self) -> Self {
        Self {
            face: self.face.clone(),
            crew: Arc::clone(&self.crew),
        }
    }
}

impl<P> fmt::Debug for Pool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("crew", &self.crew)
            .finish_non_exhaustive()
    }
}

impl<P, E> PoolBuilder<P, E> {
    /// How the member for a call is chosen. Default: [`Routing::LeastInFlight`].
    pub fn routing(mut self, routing: Routing) -> Self {
        self.routing = routing;
        self
    }

    /// Whether members that end are started again. Default: [`Restart::on_failure`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }
}

impl<P: Proxy, E: fmt::Debug + Send + 'static> PoolBuilder<P, E> {
    async fn run(self) -> Result<Pool<P>, PoolError<E>> {
        let gauge = match self.size.0 {
            Members::Elastic(size) => Some(Gauge::new(size)),
            Members::Count(_) | Members::Each(_) => None,
        };
        let places = match self.size.0 {
            Members::Elastic(size) => vec![None; size.min],
            Members::Count(count) => vec![None; count],
            Members::Each(cores) => {
                // The kernel's files are read for it, some for each CPU of the machine.
                let found = tokio::task::spawn_blocking(move || cores.places()).await;
                let ended =
                    |error| CoresError::Topology(TopologyError::from(io::Error::other(error)));
                let places = found.map_err(ended).and_then(|places| places);
                places
                    .map_err(PoolError::Cores)?
                    .into_iter()
                    .map(Some)
                    .collect()
            }
        };
        let starts = places.iter().cloned().enumerate();
        let started = join_all(starts.map(|(seat, place)| (self.make)(seat, place))).await;
        let mut members = Vec::with_capacity(started.len());
        let mut failed = None;
        for (seat, started) in started.into_iter().enumerate() {
            match started {
                Ok(member) => members.push(member),
                Err(source) => failed = failed.or(Some(PoolError::Member { seat, source })),
            }
        }
        if let Some(error) = failed {
            join_all(members.iter().map(Proxy::stop)).await;
            return Err(error);
        }
        let Some(first) = members.first().cloned() else {
            return Err(PoolError::Empty);
        };
        let crew = Crew::new(
            members,
            again(self.make, places),
            (self.routing, self.restart),
            gauge,
        );
        let being = Being::Many(Arc::clone(&crew) as _);
        let handle = Handle::of_many(first.__handle(), being, Arc::clone(&crew) as _);
        Ok(Pool {
            face: P::__from_handle(handle),
            crew,
        })
    }
}

impl<P: Proxy, E: fmt::Debug + Send + 'static> IntoFuture for PoolBuilder<P, E> {
    type Output = Result<Pool<P>, PoolError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<P, E> fmt::Debug for PoolBuilder<P, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("size", &self.size)
            .field("routing", &self.routing)
            .field("restart", &self.restart)
            .finish_non_exhaustive()
    }
}

/// A pool could not be started. Nothing is left of the attempt.
///
/// # Examples
/// ```
/// use callboard::pool::PoolError;
///
/// fn explain(error: &PoolError) -> String {
///     match error {
///         PoolError::Member { seat, source } => format!("member {seat}: {source}"),
///         other => format!("{other}"),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError<E = Infallible> {
    /// A pool of nobody.
    #[error("a pool has at least one member")]
    Empty,
    /// There are no such cores.
    #[error("the cores for the pool's members cannot be had")]
    Cores(#[source] CoresError),
    /// A member did not start.
    #[error("member {seat} of the pool did not start")]
    Member {
        /// Its number.
        seat: usize,
        /// Why.
        #[source]
        source: SpawnError<E>,
    },
}
