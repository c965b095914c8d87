//! The parent's side of a start: a builder that can be awaited at once or refined first.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};

use super::being::Being;
use super::berth::{self, Berth};
use super::census::Life;
use super::ending::{death, report_end};
use super::handle::{Handle, Owner, Proxy};
use super::handover::Handover;
use super::output::{Outputs, Tails};
use super::road::{Named, NoMemory, PaveError, Paved, idle_over, pave, say_why};
use super::spawn_error::SpawnError;
use super::spawn_options::Options;
use super::starting::{Abort, Starting};
use super::ward::Terms;
use super::warden::{self, GreetError, Order, Started};
use super::{census, family, family_key, greet, registry};
use crate::actor::Actor;
use crate::actor::hooks::Hooks;
use crate::proxy::Caller;
use crate::proxy::call::DecodeFailure;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::CallError;
use crate::proxy::pending::Pending;
use crate::sys::machine;
use crate::sys::memory::{SegmentError, sweep_dead_owners};
use crate::sys::process;
use crate::sys::socket::Lifeline;
use crate::transport::auth_key::AuthKeyError;
use crate::transport::bell::Ear;
use crate::transport::board::Geometry;
use crate::transport::link_kind::LinkKind;
use crate::transport::stream::Pumping;
use crate::wire::chain::ActorKey;
use crate::wire::codec::{self, Arguments, EncodeError, Message};
use crate::wire::frame::Kind;
use crate::wire::hello::{
    self, GreetRefusal, Greeted, Greeting, Hello, Mismatch, Network, Secret, Tables,
};
use crate::wire::interface::Interface;
use crate::wire::lent::Encoded;

/// Bytes of each of an actor's two rings: enough that a burst of small calls does not wait, and
/// little enough that a thousand actors take 256 MiB.
const RING_CAPACITY: u64 = 128 * 1024;

/// Calls that one actor may have in flight before further ones wait to be sent.
const SLOTS: u64 = 1024;

/// The longest message in bytes.
pub(super) const MESSAGE_LEN_MAX: u64 = 256 * 1024 * 1024;

/// An actor about to be started: await it, or refine it first.
///
/// Its process is this program started anew, which takes a bit longer than starting any program.
/// More than half of it is the dynamic loader's and the system's, for the program and its shared
/// libraries; one that is linked with `-C target-feature=+crt-static` starts in about two thirds of
/// the time.
///
/// What every start of a type is to be told stands in its attribute: `#[actor(mailbox = 64)]` is
/// [`mailbox`](Spawn::mailbox) on each. What is said here goes before it.
///
/// # Errors
/// Awaiting gives a [`SpawnError`] when there is no actor then; nothing is left of the attempt.
///
/// # Panics
/// Awaited outside a tokio runtime.
///
/// # Cancel safety
/// Dropped before it is done, the process is killed and nothing is left of it.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use std::time::Duration;
///
/// pub struct Greeter(String);
///
/// #[actor]
/// impl Greeter {
///     pub fn new(name: String) -> Self { Self(name) }
///     pub fn greet(&self) -> String {
///         format!("{} from {}", self.0, std::env::var("PLACE").unwrap_or_default())
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let greeter = Greeter::spawn("hello".into())
///         .name("greeter-1")
///         .env("PLACE", "another process")
///         .idle(Idle::Park)
///         .grace(Duration::from_secs(1))
///         .await?;
///     assert_eq!(greeter.greet().await?, "hello from another process");
///     greeter.shutdown().await
/// }
/// ```
#[must_use = "an actor is not started before this is awaited"]
pub struct Spawn<P, Args, E = Infallible> {
    interface: &'static Interface,
    constructor: u16,
    args: Args,
    failure: DecodeFailure<E>,
    pub(super) options: Options,
    /// What its scope is to tell it.
    pub(super) hooks: Hooks,
    proxy: PhantomData<fn() -> P>,
}

impl<P, Args> Spawn<P, Args> {
    /// A start by a constructor without errors of its own.
    #[doc(hidden)]
    pub fn new<A: Actor<Proxy = P>>(constructor: u16, args: Args) -> Self {
        Self::of::<A>(constructor, args, codec::unexpected)
    }
}

impl<P, Args, E> Spawn<P, Args, E> {
    /// A start by a constructor whose own error is an `E`.
    #[doc(hidden)]
    pub fn new_fallible<A: Actor<Proxy = P>>(constructor: u16, args: Args) -> Self
    where
        E: Message,
    {
        Self::of::<A>(constructor, args, codec::decode::<E>)
    }

    fn of<A: Actor<Proxy = P>>(constructor: u16, args: Args, failure: DecodeFailure<E>) -> Self {
        let interface = const { &A::INTERFACE };
        Self {
            interface,
            constructor,
            args,
            failure,
            options: Options::default(),
            hooks: A::HOOKS,
            proxy: PhantomData,
        }
    }
}

impl<P: Proxy, E: Send + 'static> Spawn<P, Result<Encoded, EncodeError>, E> {
    async fn run(mut self) -> Result<P, SpawnError<E>> {
        look_around(self.interface, &self.options)?;
        self.options.look_up_cores().await?;
        self.options.prepare_limits().await?;
        let Self {
            interface,
            constructor,
            args,
            failure,
            mut options,
            ..
        } = self;
        let args = args.map_err(|source| {
            let method = constructor_name(interface, constructor);
            SpawnError::constructor(CallError::Encode { method, source })
        })?;
        let handover = Handover::here::<P>();
        let mut network = options.listening.network()?;
        let berth = Handover::berth(handover.as_ref());
        berth::keep_ports(berth.as_deref(), network.as_mut());
        let place = family::take_place().map_err(SpawnError::descriptors)?;
        let plan = Plan {
            handover,
            berth,
            interface,
            constructor,
            args,
            place: place.map_err(SpawnError::too_many)?,
            failure,
            options,
            network,
        };
        let link = plan.options.link;
        let begun = match begin(&plan, link).await {
            Err(BeginError::NoMemory(reason)) if link.is_none() && reason.is_refusal() => {
                say_why(interface, &reason);
                begin(&plan, Some(LinkKind::Socket)).await
            }
            begun => begun,
        };
        let Begun {
            caller,
            owner,
            constructed,
            starting,
            driver,
        } = begun.map_err(BeginError::into_spawn)?;
        plan.options.check_cores(owner.life.being.pid())?;
        constructed.await.map_err(SpawnError::constructor)?;
        crate::sys::failpoint::at("parent.constructed");
        starting.take_berth().map_err(SpawnError::descriptors)?;
        starting.done(plan.options.heartbeat);
        driver.done();
        Ok(P::__from_handle(Handle::new(caller.cast(interface), owner)))
    }
}

/// What is looked at before a start.
fn look_around<E>(interface: &Interface, options: &Options) -> Result<(), SpawnError<E>> {
    // Of a generic actor this program may know other types than this one.
    if options.exe.is_none() && interface.instance.is_some() {
        registry::find(&interface.full_name())
            .ok_or_else(|| SpawnError::refused(GreetRefusal::UnknownActor, interface))?;
    }
    if greet::was_missed() {
        return Err(SpawnError::NotInitialised);
    }
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep_dead_owners);
    Ok(())
}

/// What is to be started.
struct Plan<E> {
    /// What its lives leave to each other, if it is in somebody's care.
    handover: Option<Handover>,
    /// Where else its lives follow each other.
    berth: Option<Arc<Berth>>,
    interface: &'static Interface,
    constructor: u16,
    args: Encoded,
    /// In the family, for whichever process it becomes.
    place: OwnedFd,
    failure: DecodeFailure<E>,
    options: Options,
    /// How it listens for callers of other programs.
    network: Option<Network>,
}

/// A process that has greeted, and will be ended unless its constructor succeeds.
struct Begun<E> {
    caller: Caller,
    owner: Arc<Owner>,
    constructed: Pending<(), E>,
    starting: Starting,
    driver: Abort,
}

/// Why a process has not come so far.
enum BeginError<E> {
    /// The processes can have no memory in common, or not enough.
    NoMemory(NoMemory),
    Spawn(SpawnError<E>),
}

impl<E> BeginError<E> {
    fn into_spawn(self) -> SpawnError<E> {
        match self {
            Self::NoMemory(NoMemory::Here(error)) => SpawnError::segment(error),
            Self::NoMemory(NoMemory::There(reason)) => SpawnError::Refused { reason },
            Self::Spawn(error) => error,
        }
    }
}

impl<E> BeginError<E> {
    /// The error of a segment that cannot be had.
    fn no_memory(error: SegmentError) -> Self {
        Self::NoMemory(NoMemory::Here(error))
    }
}

impl<E> From<SpawnError<E>> for BeginError<E> {
    fn from(error: SpawnError<E>) -> Self {
        Self::Spawn(error)
    }
}

/// Starts a process and hears its greeting, over a link of this kind or the best that can be had.
async fn begin<E: Send + 'static>(
    plan: &Plan<E>,
    link: Option<LinkKind>,
) -> Result<Begun<E>, BeginError<E>> {
    let Plan {
        interface, options, ..
    } = plan;
    let id = next_id();
    let Parts {
        kind,
        named,
        exchange,
        ear,
        tails,
        pid_told,
        order,
    } = prepare(id, plan, link)?;
    crate::sys::failpoint::at("parent.prepared");
    // Before anybody looks into the rings, here or there: a page that cannot be had is a bus error.
    if let Some(named) = &named {
        named.lie_near(geometry(), options.homes);
        named.allocate().map_err(BeginError::no_memory)?;
    }
    // Until the handle is complete, a future that is dropped ends what it has begun.
    let driver = Abort::new(tokio::spawn(drive(Arc::clone(&exchange), ear)));
    let started = warden::start(order);
    let Started { ward, greeting } = match started.await {
        Ok(started) => started.map_err(SpawnError::start)?,
        Err(_) => return Err(SpawnError::start(warden_is_gone()).into()),
    };
    crate::sys::failpoint::at("parent.started");
    let starting = Starting::new(ward.clone());
    let _ = pid_told.set(ward.pid());
    let (network, berth) = (plan.network.clone(), plan.berth.clone());
    ward.set_terms(Terms::of(options.exe.is_some(), network, berth));
    exchange.set_peer(Box::new(ward.clone()));
    let life = Life {
        being: Being::Process(ward),
        exchange: Arc::clone(&exchange),
        grace: options.grace,
    };
    let key = berth::key_in(plan.berth.as_deref(), id);
    census::enter(id, key.bits(), life.clone());
    let owner = Arc::new(Owner::new(life, tails, kind));
    let callee = (*interface, key);
    let (link, limit) = (Arc::clone(&exchange), message_len_max());
    let caller = Caller::new(link, callee, limit, owner.clone());
    let construct = |number| {
        let args = plan.args.clone();
        let call =
            caller
                .target()
                .call_as::<Encoded, (), E>(Kind::Construct, number, args, plan.failure);
        call.start()
    };
    // This very program numbers its constructors as we do, and need not be asked: the call lies
    // there when the process first looks into its link.
    let constructed = options.exe.is_none().then(|| construct(plan.constructor));
    let greeted = match greeting.await {
        Ok(packet) => read_greeting(&packet, interface)?,
        Err(GreetError::Silent) => return Err(SpawnError::silent(options.greet_within).into()),
        Err(GreetError::Exited) => return Err(died(&owner).await.into()),
    };
    crate::sys::failpoint::at("parent.greeted");
    drop(named);
    owner.set_addresses(&greeted.addresses);
    berth::note_ports(plan.berth.as_deref(), greeted.ports);
    let number = number(&greeted.tables, interface, plan.constructor)?;
    exchange.set_tables(greeted.tables);
    Ok(Begun {
        constructed: constructed.unwrap_or_else(|| construct(number)),
        caller,
        owner,
        starting,
        driver,
    })
}

/// What a start needs before there is a process.
struct Parts {
    kind: LinkKind,
    named: Option<Named>,
    exchange: Arc<Exchange>,
    ear: Ear,
    tails: Tails,
    /// The process's number, once it has one.
    pid_told: Arc<OnceLock<u32>>,
    order: Order,
}

fn prepare<E>(id: u64, plan: &Plan<E>, link: Option<LinkKind>) -> Result<Parts, BeginError<E>> {
    let Plan {
        interface, options, ..
    } = plan;
    let kind = link.unwrap_or(LinkKind::SharedMemory);
    // Another program may be anything.
    let in_place = options.exe.is_none();
    let paved = pave(kind, geometry(), (options.arena, in_place), MESSAGE_LEN_MAX);
    let Paved {
        kind,
        geometry,
        link,
        named,
        pumping,
        mut fds,
    } = paved.map_err(|error| match error {
        PaveError::Segment(error) => BeginError::no_memory(error),
        PaveError::Resources(error) => SpawnError::descriptors(error).into(),
    })?;
    let left = plan.handover.as_ref().map(Handover::copy).transpose();
    let left = left.map_err(SpawnError::descriptors)?.flatten();
    let left = left.map(|(fd, len)| {
        fds.push(fd);
        len
    });
    let ways = berth::pass_ways(plan.berth.as_deref(), &mut fds);
    let past = (left, ways.map_err(SpawnError::descriptors)?);
    fds.push(plan.place.try_clone().map_err(SpawnError::descriptors)?);
    let idle = idle_over(kind, options.idle);
    let segment = named.as_ref().map_or("", Named::name);
    let family_key = Secret(*family_key::of_this_process().map_err(no_key)?.bytes());
    let hello = hello(id, plan, (kind, geometry, segment), (family_key, past));
    let hello = hello::encode_secret(&hello).map_err(SpawnError::Settings)?;
    let (exchange, ear) = Exchange::new(link, geometry.slots(), idle);
    let (lifeline, theirs) = Lifeline::pair().map_err(SpawnError::descriptors)?;
    process::keep_descriptors_free(theirs.as_fd());
    let Outputs {
        fds: outputs,
        tails,
    } = Outputs::open(options.stdout, options.stderr).map_err(SpawnError::descriptors)?;
    let pid_told = Arc::new(OnceLock::new());
    let order = Order {
        launch: options.launch(interface, theirs, outputs),
        lifeline,
        hello,
        fds,
        tails: tails.clone(),
        // Also through a proxy that came to another process in a message.
        is_heard: true,
        handover: plan.handover.clone(),
        greet_within: options.greet_within,
        limited: options.limited.clone(),
        on_exit: on_exit(id, &exchange, (&tails, &pid_told), pumping),
    };
    Ok(Parts {
        kind,
        named,
        exchange,
        ear,
        tails,
        pid_told,
        order,
    })
}

/// What the new process is told.
fn hello<E>(
    id: u64,
    plan: &Plan<E>,
    (kind, geometry, segment): (LinkKind, Geometry, &str),
    (family_key, (left, ways)): (Secret, (Option<u64>, u8)),
) -> Hello {
    let Plan {
        interface, options, ..
    } = plan;
    Hello {
        parent: std::process::id(),
        actor: interface.full_name().into_owned(),
        key: berth::key_in(plan.berth.as_deref(), id).bits(),
        title: options.title(interface).to_owned(),
        link: kind.number(),
        segment: segment.to_owned(),
        segment_len: geometry.segment_len() as u64,
        ring_capacity: RING_CAPACITY,
        arena_limit: geometry.arena_limit(),
        in_place: options.exe.is_none(),
        slots: SLOTS,
        message_len_max: MESSAGE_LEN_MAX,
        idle: idle_over(kind, options.idle).number(),
        mailbox: options.mailbox.numbers(),
        grace_ms: u64::try_from(options.grace.as_millis()).unwrap_or(u64::MAX),
        bounds: options.bounds(),
        family_key,
        network: plan.network.clone(),
        is_kept: plan.handover.is_some(),
        returns: plan.berth.is_some(),
        ways,
        left,
    }
}

pub(super) fn geometry() -> Geometry {
    Geometry::new(RING_CAPACITY, SLOTS).expect("the sizes above are possible")
}

/// The key among all actors of the one that has this id here.
pub(super) fn key_of(id: u64) -> ActorKey {
    ActorKey::new(machine::id(), std::process::id(), id)
}

pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn on_exit(
    id: u64,
    exchange: &Arc<Exchange>,
    (tails, pid): (&Tails, &Arc<OnceLock<u32>>),
    pumping: Option<Pumping>,
) -> warden::OnExit {
    let (exchange, tails, pid) = (Arc::clone(exchange), tails.clone(), Arc::clone(pid));
    Box::new(move |exit| {
        census::leave(id);
        let pid = pid.get().copied().unwrap_or_default();
        let stopped = exchange.was_stopped(exit);
        let told = (!stopped).then(|| death(&exchange, &tails, (pid, exit)));
        let report = move || report_end(&exchange, &tails, (pid, exit));
        match pumping {
            None => report(),
            // What it had sent before its end comes before the end.
            Some(pumping) => pumping.finish(Box::new(report)),
        }
        told.and_then(|death| death.obituary())
    })
}

fn warden_is_gone() -> warden::StartError {
    warden::StartError::Warden(io::Error::other("the warden has panicked"))
}

fn no_key<E>(error: AuthKeyError) -> SpawnError<E> {
    SpawnError::Resources {
        what: "randomness",
        source: io::Error::other(error),
    }
}

fn read_greeting<E>(packet: &[u8], interface: &Interface) -> Result<Greeted, BeginError<E>> {
    let greeting = hello::decode::<Greeting>(packet).map_err(SpawnError::from)?;
    greeting.map_err(|refusal| match refusal {
        GreetRefusal::Segment(reason) => BeginError::NoMemory(NoMemory::There(reason)),
        refusal => SpawnError::refused(refusal, interface).into(),
    })
}

/// The error of a process that ended without a greeting.
async fn died<E>(owner: &Owner) -> SpawnError<E> {
    let exit = owner.life.being.exited().await;
    let ended = (owner.life.being.pid(), exit);
    report_end(&owner.life.exchange, &owner.tails, ended);
    SpawnError::Died(death(&owner.life.exchange, &owner.tails, ended))
}

pub(super) fn message_len_max() -> usize {
    usize::try_from(MESSAGE_LEN_MAX).unwrap_or(usize::MAX)
}

pub(super) fn constructor_name(ours: &Interface, constructor: u16) -> &'static str {
    ours.constructors
        .get(usize::from(constructor))
        .map_or("?", |found| found.name)
}

/// The peer's number of our constructor.
fn number<E>(tables: &Tables, ours: &Interface, constructor: u16) -> Result<u16, SpawnError<E>> {
    tables
        .constructors(ours)
        .theirs(constructor)
        .map_err(|mismatch| {
            let name = constructor_name(ours, constructor);
            let what = match mismatch {
                Mismatch::Unknown => "has no constructor",
                Mismatch::Changed => "has another signature of the constructor",
            };
            SpawnError::Refused {
                reason: format!("its program {what} `{name}`"),
            }
        })
}

impl<P: Proxy, Args: Arguments, E: Send + 'static> IntoFuture for Spawn<P, Args, E> {
    type Output = Result<P, SpawnError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        // Here ends what the arguments borrow.
        let args = Encoded::new(&self.args, message_len_max());
        let spawn = Spawn {
            interface: self.interface,
            constructor: self.constructor,
            args,
            failure: self.failure,
            options: self.options,
            hooks: self.hooks,
            proxy: PhantomData,
        };
        Box::pin(spawn.run())
    }
}

impl<P, Args, E> fmt::Debug for Spawn<P, Args, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("actor", &self.interface.full_name())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
