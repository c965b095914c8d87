//! A supervisor in the hands of its user, and how actors come into its care.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use super::branch::Branch;
use super::child::{Child, Entry};
use super::keeper::{Addition, Command, Excess, Keeper};
use super::post::{Post, Refill};
use super::restart::Restart;
use super::seat::Seat;
use super::strategy::Strategy;
use crate::node::ending::ShutdownError;
use crate::node::handle::Proxy;
use crate::node::handover::Handover;
use crate::node::spawn_error::SpawnError;
use crate::sys::process::Exit;

/// Starts actors, and starts those again that have died.
///
/// A clone is the same supervisor. With the last clone it ends, and so do the actors in its care,
/// whoever has a proxy of them: the youngest first, each in order.
///
/// A proxy of a supervised actor goes on with its next life: calls that are sent then go there,
/// also of proxies [in other processes](crate::Proxy#in-messages).
/// Calls in flight when it dies get [`Died`](crate::CallError::Died), with the outcome, and so do
/// those made until it lives again, with [`NotRun`](crate::Outcome::NotRun); none is made twice.
/// [`Proxy::monitor`] tells of each end and each start. An actor that is stopped by a proxy, or by
/// [`shutdown_all`](crate::shutdown_all), is not started again.
///
/// One that [listens](crate::Spawn::listen) is found again by those who connect to it where a port,
/// or a name, was said; each life has its own where any was asked for, and
/// [`address`](Proxy::address) tells that of the first. Whoever asks one of its lives for its end,
/// from outside, is heard by its owner ([`end_asked`](Proxy::end_asked),
/// [`serve`](crate::Serve::serve)), also if that life has ended in the meantime.
///
/// An actor that [hangs](crate::Spawn::heartbeat) is killed, and has died, if it has a heartbeat.
/// What its lives leave to each other ([`checkpoint`](crate::Context::checkpoint)) lies with the
/// supervisor.
///
/// It lives in this process: what it starts ends with this process. An actor that has a supervisor
/// of its own, and is in the care of another, makes a tree over several processes.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::supervision::{Restart, Strategy, Supervisor};
/// use std::time::Duration;
///
/// pub struct Clock(u64);
///
/// #[actor]
/// impl Clock {
///     pub fn new(time: u64) -> Self { Self(time) }
///     pub fn tick(&mut self) -> u64 { self.0 += 1; self.0 }
/// }
///
/// pub struct Dial(u64);
///
/// #[actor]
/// impl Dial {
///     pub fn new(time: u64) -> Self { Self(time) }
///     pub fn show(&self) -> String { format!("{:02}", self.0) }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     // A dial shows nothing right once its clock is another: it is started again with it.
///     let supervisor = Supervisor::builder(Strategy::RestForOne)
///         .restart(Restart::on_failure().max(3).within(Duration::from_secs(60)))
///         .start();
///     let clock = supervisor.spawn(|| Clock::spawn(7)).name("clock").await?;
///     let dial = supervisor.spawn(|| Dial::spawn(7)).name("dial").await?;
///     assert_eq!((clock.tick().await?, dial.show().await?), (8, "07".into()));
///     assert_eq!(supervisor.children().len(), 2);
///     supervisor.stop().await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// What a supervisor's task and its handles have in common.
pub(super) struct Shared {
    pub(super) children: Mutex<Vec<Arc<Entry>>>,
    pub(super) status: watch::Sender<Status>,
    /// Whether its user, and not the supervisor above it, has ended it.
    pub(super) wanted: watch::Sender<bool>,
    restarts: AtomicU64,
}

#[derive(Clone, Debug)]
pub(super) enum Status {
    Works,
    Stopped,
    GivenUp(GivenUp),
}

/// A supervisor gave up: one of those in its care had to be started again more often than allowed.
/// All others were stopped.
///
/// # Examples
/// ```
/// use callboard::supervision::GivenUp;
///
/// fn explain(given_up: &GivenUp) -> String {
///     format!("{given_up}; it ended last with {}", given_up.exit())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{child}` would have to be started again, and {max} starts within {within:?} are enough")]
pub struct GivenUp {
    pub(super) child: String,
    pub(super) exit: Exit,
    pub(super) max: usize,
    pub(super) within: Duration,
}

impl GivenUp {
    /// The name of the one that could not be kept alive.
    #[must_use]
    pub fn child(&self) -> &str {
        &self.child
    }

    /// How it ended last.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

/// How a supervisor is to work; see [`Supervisor::builder`].
///
/// # Examples
/// ```
/// use callboard::supervision::{Strategy, Supervisor};
///
/// let all_or_none = Supervisor::builder(Strategy::OneForAll);
/// # drop(all_or_none);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a supervisor works once it is started"]
pub struct SupervisorBuilder {
    strategy: Strategy,
    restart: Restart,
}

impl SupervisorBuilder {
    /// Who is started again, and how often: all starts of all in its care are counted together.
    /// Default: [`Restart::on_failure`]. Where one more is needed, the supervisor gives up.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Starts it, with nobody in its care yet.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(self) -> Supervisor {
        self.start_with(Excess::EndsAll)
    }

    /// The same of one that counts the starts of each by themselves: who would have to be started
    /// too often is given up, and the others go on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start_each_alone(self) -> Supervisor {
        self.start_with(Excess::EndsOne)
    }

    fn start_with(self, excess: Excess) -> Supervisor {
        let shared = Arc::new(Shared {
            children: Mutex::default(),
            status: watch::Sender::new(Status::Works),
            wanted: watch::Sender::new(true),
            restarts: AtomicU64::new(0),
        });
        // Without a bound, and yet never full: each command is waited for by who sends it.
        let (commands, orders) = mpsc::unbounded_channel();
        let keeper = Keeper::new(Arc::clone(&shared), (self.strategy, self.restart, excess));
        tokio::spawn(keeper.run(orders));
        Supervisor { shared, commands }
    }
}

impl Supervisor {
    /// A supervisor about to be started.
    ///
    /// # Examples
    /// ```
    /// use callboard::supervision::{Restart, Strategy, Supervisor};
    ///
    /// let builder = Supervisor::builder(Strategy::OneForOne).restart(Restart::always());
    /// # drop(builder);
    /// ```
    pub fn builder(strategy: Strategy) -> SupervisorBuilder {
        SupervisorBuilder {
            strategy,
            restart: Restart::default(),
        }
    }

    /// Starts an actor as `make` says, by [`Spawn`](crate::Spawn), [`Local`](crate::Local), or any
    /// future that does so, and takes it into its care. `make` is asked again for each further
    /// life.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::supervision::{Restart, SuperviseError, Supervisor};
    /// # pub struct Worker;
    /// # #[actor]
    /// # impl Worker {
    /// #     pub fn new() -> Self { Self }
    /// # }
    /// async fn start(supervisor: &Supervisor) -> Result<WorkerProxy, SuperviseError> {
    ///     supervisor.spawn(Worker::spawn).name("worker").restart(Restart::always()).await
    /// }
    /// ```
    pub fn spawn<P, E, S>(&self, make: impl Fn() -> S + Send + Sync + 'static) -> Supervised<P, E>
    where
        P: Proxy,
        E: fmt::Debug + Send + 'static,
        S: IntoFuture<Output = Result<P, SpawnError<E>>>,
        S::IntoFuture: Send + 'static,
    {
        Supervised {
            supervisor: self.clone(),
            make: Box::new(move || make().into_future().boxed()),
            name: None,
            restart: None,
        }
    }

    /// Takes another supervisor into its care. When that one gives up, it has failed, and is
    /// started again with all of its actors, as often as this one's [`Restart`] allows; when this
    /// one stops its own, that one stops its own first.
    ///
    /// # Errors
    /// [`SuperviseError::Ended`]; then the other one is stopped.
    ///
    /// # Cancel safety
    /// Once it was polled, the other is in its care.
    ///
    /// # Examples
    /// ```
    /// # use callboard::supervision::{Strategy, SuperviseError, Supervisor};
    /// async fn tree() -> Result<Supervisor, SuperviseError> {
    ///     let root = Supervisor::builder(Strategy::OneForOne).start();
    ///     let branch = Supervisor::builder(Strategy::OneForAll).start();
    ///     root.adopt("branch", branch.clone()).await?;
    ///     Ok(root)
    /// }
    /// ```
    pub async fn adopt(&self, name: impl Into<String>, other: Self) -> Result<(), SuperviseError> {
        let _ = other.commands.send(Command::Adopted);
        let added = self
            .add(Some(name.into()), None, Arc::new(Branch(other.clone())))
            .await;
        if added.is_err() {
            // How it ends is no news to who learns that it is not wanted.
            let _ = other.stop().await;
        }
        added
    }

    /// Those in its care, in the order in which they came, also those that have ended.
    #[must_use]
    pub fn children(&self) -> Vec<Child> {
        let children = self.shared.children();
        children.iter().map(|entry| entry.child()).collect()
    }

    /// Waits until it has ended: it was stopped, or has given up.
    ///
    /// # Errors
    /// [`GivenUp`]. One that is in another's care may be started again after that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> Result<(), GivenUp> {
        match self.shared.ended().await {
            Status::GivenUp(given_up) => Err(given_up),
            Status::Works | Status::Stopped => Ok(()),
        }
    }

    /// Ends those in its care, the youngest first, each in order as by [`Proxy::stop`], with its
    /// own grace; and then itself. It can be asked again.
    ///
    /// # Errors
    /// [`ShutdownError`] of the first that ended otherwise.
    ///
    /// # Cancel safety
    /// Once it was polled, all end all the same.
    pub async fn stop(&self) -> Result<(), ShutdownError> {
        self.shared.wanted.send_replace(false);
        self.order(Command::Stop).await
    }

    /// Gives one of the commands to end all.
    pub(super) async fn order(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), ShutdownError>>) -> Command,
    ) -> Result<(), ShutdownError> {
        let (reply, stopped) = oneshot::channel();
        // If nobody takes it, it has ended with its runtime.
        let _ = self.commands.send(command(reply));
        stopped.await.unwrap_or(Ok(()))
    }

    async fn add<E>(
        &self,
        name: Option<String>,
        restart: Option<Restart>,
        post: Arc<dyn Post>,
    ) -> Result<(), SuperviseError<E>> {
        let (reply, added) = oneshot::channel();
        let addition = Addition {
            name,
            restart,
            post,
            reply: Some(reply),
        };
        let _ = self.commands.send(Command::Add(addition));
        match added.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(SuperviseError::Ended),
        }
    }

    /// Takes a place into its care, of somebody who knows what becomes of it. Places are numbered
    /// from zero, in the order in which they come.
    pub(crate) fn care_for(&self, name: String, post: Arc<dyn Post>) {
        let addition = Addition {
            name: Some(name),
            restart: None,
            post,
            reply: None,
        };
        // If nobody takes it, it has ended with its runtime, and so has who is in the place.
        let _ = self.commands.send(Command::Add(addition));
    }

    /// Has `refill` seat somebody new in the place with this number, whoever is there, and cares
    /// for that one from now on. It is not called if the supervisor has ended.
    pub(crate) fn refill(&self, place: u64, refill: Refill) {
        let _ = self.commands.send(Command::Refill(place, refill));
    }
}

impl Shared {
    pub(super) fn children(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Entry>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_restart(&self) {
        // ORDERING: Relaxed; a number for people, nothing is passed on with it.
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn restarts(&self) -> u64 {
        // ORDERING: Relaxed; see above.
        self.restarts.load(Ordering::Relaxed)
    }

    pub(super) async fn ended(&self) -> Status {
        let mut status = self.status.subscribe();
        let ended = status.wait_for(|status| !matches!(status, Status::Works));
        match ended.await {
            Ok(status) => status.clone(),
            Err(_) => Status::Stopped,
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("status", &*self.shared.status.borrow())
            .field("children", &self.shared.children().len())
            .finish_non_exhaustive()
    }
}

/// An actor about to be started in a supervisor's care: await it, or refine it first.
///
/// # Errors
/// Awaiting gives a [`SuperviseError`] if it does not start, or the supervisor has ended; nothing
/// is left of the attempt.
///
/// # Panics
/// Awaited outside a tokio runtime.
///
/// # Cancel safety
/// Dropped before it is done, nothing is left of it.
#[must_use = "an actor is started by awaiting it"]
pub struct Supervised<P, E = Infallible> {
    supervisor: Supervisor,
    make: Box<dyn Fn() -> BoxFuture<'static, Result<P, SpawnError<E>>> + Send + Sync>,
    name: Option<String>,
    restart: Option<Restart>,
}

impl<P, E> Supervised<P, E> {
    /// What the supervisor calls it. Default: its number, in the order of the starts.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// After which ends it is started again. Default: the supervisor's. How often is the
    /// supervisor's to say, whatever stands here.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }
}

impl<P: Proxy, E: fmt::Debug + Send + 'static> Supervised<P, E> {
    async fn run(self) -> Result<P, SuperviseError<E>> {
        let Self {
            supervisor,
            make,
            name,
            restart,
        } = self;
        let handover = Handover::of_one();
        let berth = Handover::berth(Some(&handover));
        let make = move || handover.within::<P, _>(make());
        let first = make().await.map_err(SuperviseError::Start)?;
        let actor = first.clone();
        let seat = Seat::new(
            first,
            Box::new(move || {
                let made = make();
                let log = |error: &SpawnError<E>| {
                    tracing::error!(?error, "a supervised actor did not start again");
                };
                async move { made.await.inspect_err(log).ok() }.boxed()
            }),
            berth,
        );
        let face = seat.face();
        if let Err(error) = supervisor.add(name, restart, seat).await {
            // How it ends is no news to who learns that there is no supervisor.
            let _ = actor.stop().await;
            return Err(error);
        }
        Ok(face)
    }
}

impl<P: Proxy, E: fmt::Debug + Send + 'static> IntoFuture for Supervised<P, E> {
    type Output = Result<P, SuperviseError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<P, E> fmt::Debug for Supervised<P, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .finish_non_exhaustive()
    }
}

/// An actor has not come into a supervisor's care.
///
/// # Examples
/// ```
/// use callboard::supervision::SuperviseError;
///
/// fn is_final(error: &SuperviseError) -> bool {
///     matches!(error, SuperviseError::Ended)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError<E = Infallible> {
    /// The supervisor was stopped or has given up.
    #[error("the supervisor has ended")]
    Ended,
    /// The actor did not start for the first time; later, it is tried again.
    #[error("the actor did not start")]
    Start(#[source] SpawnError<E>),
}
