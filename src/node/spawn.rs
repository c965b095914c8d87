//! The parent's side of a start: a builder that can be awaited at once or refined first.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};

use super::census::Life;
use super::handle::{Handle, Owner, Proxy, death, report_end};
use super::output::Tails;
use super::spawn_error::SpawnError;
use super::spawn_options::Options;
use super::ward::Ward;
use super::warden::{self, GreetError, Order, Started};
use super::{census, family, greet};
use crate::actor::Actor;
use crate::proxy::Caller;
use crate::proxy::call::DecodeFailure;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::CallError;
use crate::sys::doorbell::Doorbell;
use crate::sys::memory::{Segment, sweep_dead_owners};
use crate::sys::process::{self, Launch};
use crate::sys::socket::Lifeline;
use crate::transport::bell::Ear;
use crate::transport::board::{Board, Geometry, Memory, Side};
use crate::transport::shm::{Bells, connect};
use crate::wire::chain::ActorKey;
use crate::wire::codec::{self, Arguments, EncodeError, Message};
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Greeting, Hello, Mismatch, Tables};
use crate::wire::interface::Interface;
use crate::wire::lent::Encoded;

/// Bytes of each of an actor's two rings: enough that a burst of small calls does not wait, and
/// little enough that a thousand actors take 256 MiB.
const RING_CAPACITY: u64 = 128 * 1024;

/// Calls that one actor may have in flight before further ones wait to be sent.
const SLOTS: u64 = 1024;

/// The longest message in bytes.
const MESSAGE_LEN_MAX: u64 = 256 * 1024 * 1024;

/// An actor about to be started: await it, or refine it first.
///
/// Its process is this program started anew, which takes a bit longer than starting any program.
/// More than half of it is the dynamic loader's and the system's, for the program and its shared
/// libraries; one that is linked with `-C target-feature=+crt-static` starts in about two thirds of
/// the time.
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
            proxy: PhantomData,
        }
    }
}

impl<P: Proxy, E: Send + 'static> Spawn<P, Result<Encoded, EncodeError>, E> {
    async fn run(self) -> Result<P, SpawnError<E>> {
        look_around()?;
        let Self {
            interface,
            constructor,
            args,
            failure,
            options,
            ..
        } = self;
        let id = next_id();
        let args = args.map_err(|source| {
            let method = constructor_name(interface, constructor);
            SpawnError::constructor(CallError::Encode { method, source })
        })?;
        let Parts {
            named,
            exchange,
            ear,
            tails,
            pid_told,
            order,
        } = prepare(id, interface, &options)?;
        crate::sys::failpoint::at("parent.prepared");
        // Until the handle is complete, a future that is dropped ends what it has begun.
        let driver = Abort(Some(tokio::spawn(drive(Arc::clone(&exchange), ear))));
        let started = warden::start(order);
        // While the system starts the process: half as much work as that.
        named.0.allocate().map_err(SpawnError::segment)?;
        let Started { ward, greeting } = match started.await {
            Ok(started) => started.map_err(SpawnError::start)?,
            Err(_) => return Err(SpawnError::start(warden_is_gone())),
        };
        crate::sys::failpoint::at("parent.started");
        let starting = Starting(Some(ward.clone()));
        let _ = pid_told.set(ward.pid());
        exchange.set_peer(Box::new(ward.clone()));
        let life = Life {
            ward,
            exchange: Arc::clone(&exchange),
            grace: options.grace,
        };
        census::enter(id, life.clone());
        let owner = Arc::new(Owner { id, life, tails });
        let limit = message_len_max();
        let callee = (interface, key_of(id));
        let caller = Caller::new(Arc::clone(&exchange), callee, limit, owner.clone());
        let construct = |number, args| {
            let call = caller.call_as::<Encoded, (), E>(Kind::Construct, number, args, failure);
            call.start()
        };
        // This very program numbers its constructors as we do, and need not be asked: the call lies
        // there when the process first looks into its link.
        let constructed = match options.exe {
            None => Ok(construct(constructor, args)),
            Some(_) => Err(args),
        };
        let tables = match greeting.await {
            Ok(packet) => read_greeting(&packet, interface)?,
            Err(GreetError::Silent) => return Err(SpawnError::silent(options.greet_within)),
            Err(GreetError::Exited) => return Err(died(&owner).await),
        };
        crate::sys::failpoint::at("parent.greeted");
        drop(named);
        exchange.set_numbers(tables.methods(interface));
        let number = number(&tables, interface, constructor)?;
        let constructed = constructed.unwrap_or_else(|args| construct(number, args));
        constructed.await.map_err(SpawnError::constructor)?;
        crate::sys::failpoint::at("parent.constructed");
        starting.done();
        driver.done();
        Ok(P::__from_handle(Handle::new(caller, owner)))
    }
}

/// What is looked at before a start.
fn look_around<E>() -> Result<(), SpawnError<E>> {
    if greet::was_missed() {
        return Err(SpawnError::NotInitialised);
    }
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep_dead_owners);
    Ok(())
}

/// What a start needs before there is a process.
struct Parts {
    named: Named,
    exchange: Arc<Exchange>,
    ear: Ear,
    tails: Tails,
    /// The process's number, once it has one.
    pid_told: Arc<OnceLock<u32>>,
    order: Order,
}

/// Where the process writes to, and what is kept of it here.
struct Outputs {
    /// Its standard output and error, where they are not ours.
    fds: [Option<OwnedFd>; 2],
    tails: Tails,
}

impl Outputs {
    fn open(options: &Options) -> io::Result<Self> {
        let (out, stdout) = options.stdout.open()?;
        let (err, stderr) = options.stderr.open()?;
        let tails = Tails { stdout, stderr };
        Ok(Self {
            fds: [out, err],
            tails,
        })
    }
}

fn prepare<E>(
    id: u64,
    interface: &'static Interface,
    options: &Options,
) -> Result<Parts, SpawnError<E>> {
    let place = family::take_place().map_err(SpawnError::descriptors)?;
    let place = place.map_err(SpawnError::too_many)?;
    let geometry = geometry();
    let segment = Arc::new(Segment::create(geometry.segment_len()).map_err(SpawnError::segment)?);
    let named = Named(Arc::clone(&segment));
    Board::new(Memory(Arc::clone(&segment)), geometry).stamp();
    let descriptors = SpawnError::descriptors;
    let ours = Doorbell::new().map_err(descriptors)?;
    let theirs = Doorbell::new().map_err(descriptors)?;
    let fds = [&theirs, &ours].map(|bell| bell.as_fd().try_clone_to_owned());
    let mut fds = fds
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(descriptors)?;
    fds.push(place);
    let hello = Hello {
        parent: std::process::id(),
        actor: interface.name.to_owned(),
        key: key_of(id).bits(),
        title: title(interface, options).to_owned(),
        segment: segment.name().unwrap_or_default().to_owned(),
        segment_len: geometry.segment_len() as u64,
        ring_capacity: RING_CAPACITY,
        slots: SLOTS,
        message_len_max: MESSAGE_LEN_MAX,
        idle: options.idle.number(),
    };
    let hello = hello::encode(&hello).map_err(SpawnError::Settings)?;
    let bells = Bells {
        own: ours,
        peer: theirs,
    };
    let link =
        connect(segment, geometry, Side::Caller, bells, MESSAGE_LEN_MAX).map_err(descriptors)?;
    let (exchange, ear) = Exchange::new(link, geometry.slots(), options.idle);
    let (lifeline, theirs) = Lifeline::pair().map_err(descriptors)?;
    process::keep_descriptors_free(theirs.as_fd());
    let Outputs {
        fds: outputs,
        tails,
    } = Outputs::open(options).map_err(descriptors)?;
    let pid_told = Arc::new(OnceLock::new());
    let order = Order {
        launch: launch(interface, options, theirs, outputs),
        lifeline,
        hello,
        fds,
        tails: tails.clone(),
        greet_within: options.greet_within,
        on_exit: on_exit(id, &exchange, &tails, &pid_told),
    };
    Ok(Parts {
        named,
        exchange,
        ear,
        tails,
        pid_told,
        order,
    })
}

fn geometry() -> Geometry {
    Geometry::new(RING_CAPACITY, SLOTS).expect("the sizes above are possible")
}

fn launch(
    interface: &Interface,
    options: &Options,
    lifeline: Lifeline,
    [stdout, stderr]: [Option<OwnedFd>; 2],
) -> Launch {
    Launch {
        // The link, not its target: it works when the file has been replaced or removed.
        exe: options
            .exe
            .clone()
            .unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
        name: title(interface, options).to_owned(),
        args: Vec::new(),
        env: options.env.clone(),
        dir: options.dir.clone(),
        mark: (greet::MARK, "0".to_owned()),
        lifeline,
        stdout,
        stderr,
    }
}

/// What the process is called: the name it was given, or its type's last part.
fn title<'a>(interface: &'a Interface, options: &'a Options) -> &'a str {
    let name = interface.name;
    options
        .name
        .as_deref()
        .unwrap_or_else(|| name.rsplit("::").next().unwrap_or(name))
}

/// The key among all actors of this machine of the one that has this id here.
fn key_of(id: u64) -> ActorKey {
    ActorKey::new(std::process::id(), id)
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn on_exit(
    id: u64,
    exchange: &Arc<Exchange>,
    tails: &Tails,
    pid: &Arc<OnceLock<u32>>,
) -> warden::OnExit {
    let (exchange, tails, pid) = (Arc::clone(exchange), tails.clone(), Arc::clone(pid));
    Box::new(move |exit| {
        census::leave(id);
        let pid = pid.get().copied().unwrap_or_default();
        report_end(&exchange, &tails, (pid, exit));
    })
}

fn warden_is_gone() -> warden::StartError {
    warden::StartError::Warden(io::Error::other("the warden has panicked"))
}

fn read_greeting<E>(packet: &[u8], interface: &Interface) -> Result<Tables, SpawnError<E>> {
    let greeting = hello::decode::<Greeting>(packet)?;
    greeting.map_err(|refusal| SpawnError::refused(refusal, interface.name))
}

/// The error of a process that ended without a greeting.
async fn died<E>(owner: &Owner) -> SpawnError<E> {
    let exit = owner.life.ward.exited().await;
    let ended = (owner.life.ward.pid(), exit);
    report_end(&owner.life.exchange, &owner.tails, ended);
    SpawnError::Died(death(&owner.life.exchange, &owner.tails, ended))
}

fn message_len_max() -> usize {
    usize::try_from(MESSAGE_LEN_MAX).unwrap_or(usize::MAX)
}

fn constructor_name(ours: &Interface, constructor: u16) -> &'static str {
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

/// Removes the segment's name, which is needed only until the child has mapped it.
struct Named(Arc<Segment>);

impl Drop for Named {
    fn drop(&mut self) {
        self.0.unlink();
    }
}

/// Kills a process that did not become an actor.
struct Starting(Option<Ward>);

impl Starting {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(ward) = &self.0 {
            ward.kill();
        }
    }
}

/// Ends a task unless it is to go on.
struct Abort(Option<tokio::task::JoinHandle<()>>);

impl Abort {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
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
            proxy: PhantomData,
        };
        Box::pin(spawn.run())
    }
}

impl<P, Args, E> fmt::Debug for Spawn<P, Args, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("actor", &self.interface.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
