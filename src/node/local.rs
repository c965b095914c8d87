//! An actor as a task of this process: the same proxy and the same rules, without a process.
//!
//! ```text
//!  caller ── request ring, private memory ──> task: construct, serve
//!     └────── the answer is taken in, and its caller woken, by who sent it ──┘
//! ```
//!
//! What a process is ended by, a task is told by its [leash](super::leash).

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::being::Being;
use super::berth::{self, Berth};
use super::census::{self, Life};
use super::forward::resident::{self, Resident};
use super::handle::{Handle, Owner, Proxy};
use super::handover::Handover;
use super::leash::{Leash, Watch};
use super::leaving::Leaving;
use super::output::Tails;
use super::remote::door::{Behind, Door};
use super::remote::listen::{Listening, Places};
use super::spawn;
use super::spawn_error::SpawnError;
use super::spawn_options::GRACE;
use crate::actor::Actor;
use crate::actor::hooks::Hooks;
use crate::actor::inbox::{Inbox, Post};
use crate::actor::mailbox::Mailbox;
use crate::actor::panic::note_places;
use crate::actor::port::Port;
use crate::actor::replies::{Back, Replies};
use crate::actor::server::{self, End};
use crate::actor::signals::Signals;
use crate::proxy::Caller;
use crate::proxy::ambient::Named;
use crate::proxy::call::DecodeFailure;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::CallError;
use crate::transport::Link;
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::transport::loopback;
use crate::wire::codec::{self, Arguments, EncodeError, Message};
use crate::wire::frame::Kind;
use crate::wire::hello::Tables;
use crate::wire::interface::Interface;
use crate::wire::lent::Encoded;

/// Starts the task or thread of one type's actors: chosen where `#[actor]` stands.
type Start = fn(LocalSeat) -> io::Result<()>;

/// An actor about to be started as a task of this process: await it, or refine it first.
///
/// For tests, and for actors that are too cheap for a process. The proxy is the same type as of
/// [`Spawn`](crate::Spawn), and so are the rules: arguments and results travel as archives, calls
/// run in their order by the rule of borrows, have deadlines and are cancelled, a panic ends the
/// actor and is told, and the last proxy dropped ends it.
///
/// What a process has and a task has not:
///
/// - A task shares this process: its memory, its environment, its end. `abort`, an overflown stack
///   or a program that is built with `panic = "abort"` end all of it.
///   [`process_id`](crate::Proxy::process_id) is this process's.
/// - A task ends where it waits. [`kill`](crate::Proxy::kill) and the end of the
///   [grace](Local::grace) drop it at its method's next `.await`
///   ([`Exit::Dropped`](crate::Exit::Dropped)); a method that keeps its thread for ever cannot be
///   ended.
/// - It runs on the runtime on which it was started, and ends with that. An actor whose state or
///   methods cannot move between threads (`Rc`, `Cell` beside async methods, ..) gets a thread with
///   a runtime of its own instead; nothing else about it differs, but a call then wakes a thread.
///
/// To know where a method panicked, the first start of a local actor puts a panic hook before the
/// one that is there, which still runs. It stays.
///
/// # Errors
/// Awaiting gives a [`SpawnError`] when there is no actor then; nothing is left of the attempt.
///
/// # Panics
/// Awaited outside a tokio runtime.
///
/// # Cancel safety
/// Dropped before it is done, the actor ends at its constructor's next `.await`.
///
/// # Examples
/// ```standalone_crate
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
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let counter = Counter::local(10).await?;
///     assert_eq!(counter.add(5).await?, 15);
///     assert_eq!(counter.process_id(), std::process::id());
///     counter.shutdown().await
/// }
/// ```
#[must_use = "an actor is not started before this is awaited"]
pub struct Local<P, Args, E = Infallible> {
    interface: &'static Interface,
    constructor: u16,
    args: Args,
    failure: DecodeFailure<E>,
    start: Start,
    pub(super) options: Options,
    /// What its scope is to tell it.
    pub(super) hooks: Hooks,
    proxy: PhantomData<fn() -> P>,
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) listening: Box<Listening>,
    name: Option<String>,
    idle: Idle,
    mailbox: Mailbox,
    grace: Duration,
}

impl<P, Args> Local<P, Args> {
    /// A start by a constructor without errors of its own.
    #[doc(hidden)]
    pub fn new<A: Actor<Proxy = P>>(constructor: u16, args: Args, start: Start) -> Self {
        Self::of::<A>(constructor, args, codec::unexpected, start)
    }
}

impl<P, Args, E> Local<P, Args, E> {
    /// A start by a constructor whose own error is an `E`.
    #[doc(hidden)]
    pub fn new_fallible<A: Actor<Proxy = P>>(constructor: u16, args: Args, start: Start) -> Self
    where
        E: Message,
    {
        Self::of::<A>(constructor, args, codec::decode::<E>, start)
    }

    fn of<A: Actor<Proxy = P>>(
        constructor: u16,
        args: Args,
        failure: DecodeFailure<E>,
        start: Start,
    ) -> Self {
        let options = Options {
            listening: Box::default(),
            name: None,
            idle: Idle::Park,
            mailbox: Mailbox::default(),
            grace: GRACE,
        };
        Self {
            interface: const { &A::INTERFACE },
            constructor,
            args,
            failure,
            start,
            options,
            hooks: A::HOOKS,
            proxy: PhantomData,
        }
    }

    /// Names the actor, as [cycles](crate::CallError::Cycle) tell it, and its thread, if it has one
    /// of its own. Default: the actor's type.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::local().name("echo-1").await?)
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How both sides wait for messages. Default: [`Idle::Park`], for on one thread nobody answers
    /// while another one looks.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// // Caller and actor are on threads of their own, with cores to spare.
    /// Ok(Echo::local().idle(Idle::Adaptive).await?)
    /// # }
    /// ```
    pub fn idle(mut self, idle: Idle) -> Self {
        self.options.idle = idle;
        self
    }

    /// How many calls wait for the actor, and what becomes of more. Default: 1024 calls of 1 MiB
    /// together, and then their callers wait.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::local().mailbox(64).await?)
    /// # }
    /// ```
    pub fn mailbox(mut self, mailbox: impl Into<Mailbox>) -> Self {
        self.options.mailbox = mailbox.into();
        self
    }

    /// How long the actor has to end in order, at a shutdown or with its last proxy, before it is
    /// dropped at its method's next `.await`. Default: 5 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let grace = std::time::Duration::from_millis(500);
    /// Ok(Echo::local().grace(grace).await?)
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }
}

impl<P: Proxy, E: Send + 'static> Local<P, Result<Encoded, EncodeError>, E> {
    async fn run(self) -> Result<P, SpawnError<E>> {
        let Self {
            interface,
            constructor,
            args,
            failure,
            start,
            mut options,
            ..
        } = self;
        let args = args.map_err(|source| {
            let method = spawn::constructor_name(interface, constructor);
            SpawnError::constructor(CallError::Encode { method, source })
        })?;
        let handover = Handover::here::<P>();
        let berth = Handover::berth(handover.as_ref());
        let places = options.listen(interface, berth.as_deref()).await?;
        note_places();
        let (geometry, limit) = (spawn::geometry(), spawn::MESSAGE_LEN_MAX);
        let (near, mut far) = loopback::pair(geometry, limit);
        let exchange = Exchange::local((near, &mut far), geometry.slots(), options.idle);
        let (id, signals) = (spawn::next_id(), Signals::default());
        if let Some(handover) = handover {
            signals.inherit(handover.legacy().map_err(SpawnError::descriptors)?);
        }
        let key = berth::key_in(berth.as_deref(), id);
        let leash = Leash::new(signals.clone());
        let life = Life {
            being: Being::Task(leash.clone()),
            exchange: Arc::clone(&exchange),
            grace: options.grace,
        };
        let owner = Arc::new(Owner::new(life.clone(), Tails::default(), LinkKind::Local));
        let behind = Behind {
            tables: Tables::of(interface),
            key: key.bits(),
            home: Box::new(move || resident::home_of(key)),
            signals: signals.clone(),
        };
        let will = places.as_ref().map(Places::will).unwrap_or_default();
        let door = door(places, behind, (&owner, &leash)).map_err(no_thread)?;
        census::enter(id, key.bits(), life);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let title = options.title(interface);
        let seat = LocalSeat {
            named: Named::new(key, &title),
            berth,
            title,
            link: far,
            door,
            message_len_max: limit,
            idle: options.idle,
            mailbox: options.mailbox,
            signals,
            leaving: Leaving::of(id, (&leash, &exchange), will),
        };
        let starting = Starting(Some(leash.clone()));
        Cut(leash).hold(Arc::clone(&exchange));
        start(seat).map_err(no_thread)?;
        let callee = (interface, key);
        // It greets nobody: what it offers is known here.
        exchange.set_tables(Tables::of(interface));
        let caller = Caller::new(exchange, callee, limit, owner.clone());
        let call =
            caller
                .target()
                .call_as::<Encoded, (), E>(Kind::Construct, constructor, args, failure);
        call.await.map_err(SpawnError::constructor)?;
        starting.done();
        Ok(P::__from_handle(Handle::new(caller, owner)))
    }
}

impl<P: Proxy, Args: Arguments, E: Send + 'static> IntoFuture for Local<P, Args, E> {
    type Output = Result<P, SpawnError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        // Here ends what the arguments borrow.
        let args = Encoded::new(&self.args, spawn::message_len_max());
        let local = Local {
            interface: self.interface,
            constructor: self.constructor,
            args,
            failure: self.failure,
            start: self.start,
            options: self.options,
            hooks: self.hooks,
            proxy: PhantomData,
        };
        Box::pin(local.run())
    }
}

impl<P, Args, E> fmt::Debug for Local<P, Args, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local")
            .field("actor", &self.interface.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Listens as it is to.
    ///
    /// # Errors
    /// [`SpawnError::Listen`], and the system's.
    async fn listen<E>(
        &mut self,
        interface: &'static Interface,
        berth: Option<&Berth>,
    ) -> Result<Option<Places>, SpawnError<E>> {
        let Some(mut network) = self.listening.network()? else {
            return Ok(None);
        };
        berth::keep_ports(berth, Some(&mut network));
        // Names may have to be looked up.
        let taking = tokio::task::spawn_blocking(move || Places::take(&network));
        let places = taking.await.map_err(|error| SpawnError::Refused {
            reason: error.to_string(),
        })?;
        let places = places.map_err(|refusal| SpawnError::refused(refusal, interface))?;
        berth::note_ports(berth, places.ports());
        Ok(Some(places))
    }

    /// How an actor of `interface` is called.
    fn title(&self, interface: &Interface) -> String {
        let usual = || interface.name.rsplit("::").next().unwrap_or_default();
        self.name.clone().unwrap_or_else(|| usual().to_owned())
    }
}

/// The door of an actor at `places`, if it listens: its leash hears who asks for its end.
///
/// # Errors
/// The system's: no thread.
fn door(
    places: Option<Places>,
    behind: Behind,
    (owner, leash): (&Owner, &Leash),
) -> io::Result<Option<Door>> {
    // Also through a proxy that came to another process in a message.
    let leash = leash.clone();
    behind.signals.on_ask(move || leash.note_asked());
    let Some(places) = places else {
        return Ok(None);
    };
    // Set once, here.
    let _ = owner.addresses.set(places.addresses().into());
    places.door(behind).map(Some)
}

fn no_thread<E>(source: io::Error) -> SpawnError<E> {
    SpawnError::Resources {
        what: "room for threads",
        source,
    }
}

/// Drops a task that did not become an actor.
struct Starting(Option<Leash>);

impl Starting {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(leash) = &self.0 {
            leash.kill();
        }
    }
}

/// Ends an actor with the runtime on which it was started.
struct Cut(Leash);

impl Cut {
    /// Waits in this runtime until the actor has ended.
    fn hold(self, exchange: Arc<Exchange>) {
        tokio::spawn(async move {
            let _cut = self;
            exchange.told_over().await;
        });
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// What a local actor needs to serve.
#[doc(hidden)]
pub struct LocalSeat {
    pub(super) title: String,
    named: Named,
    berth: Option<Arc<Berth>>,
    link: Link,
    /// Where it listens for callers of other programs.
    door: Option<Door>,
    message_len_max: usize,
    idle: Idle,
    mailbox: Mailbox,
    signals: Signals,
    leaving: Leaving,
}

impl fmt::Debug for LocalSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSeat")
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// Runs an actor of type `A` to its end, which is told when what this gives is dropped.
#[doc(hidden)]
pub async fn run_local<A: Actor>(seat: LocalSeat) -> Leaving {
    let LocalSeat {
        link,
        door,
        message_len_max,
        idle,
        mailbox,
        signals,
        named,
        berth,
        // Dropped last, if this future is dropped: then the actor is gone.
        mut leaving,
        ..
    } = seat;
    let leash = leaving.leash.clone();
    let end = {
        let board = link.board.clone();
        let port = Port::new((link.receiver, link.glance), link.board, link.ear, idle);
        let back = Arc::new(Back::new(link.sender, idle));
        let post = Post {
            actor: named.actor(),
            main: Replies::new(back.sender(), message_len_max),
            back: &back,
            interface: const { &A::INTERFACE },
            board: &board,
            signals: &signals,
        };
        let inbox = Inbox::new(port, post).with_mailbox(mailbox);
        let plate = Door::plate(door.as_ref()).ok();
        let who = (named.actor(), message_len_max);
        let returning = berth.map(Berth::returning);
        let enter = |plate| Resident::of::<A>(who, &signals, plate, returning);
        leaving.resident = plate.map(enter);
        let mut serving = pin!(server::serve::<A>(inbox, async || {}));
        let mut watch = Watch::new(&leash);
        poll_fn(|cx| {
            if watch.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            serving.as_mut().poll(cx).map(Some)
        })
        .await
    };
    if let (Some(door), Some(end)) = (&door, &end) {
        door.close(matches!(end, End::Stopped)).await;
    }
    drop(door);
    leaving.note(end);
    leaving
}
