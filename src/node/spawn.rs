//! The parent's side of a start: a builder that can be awaited at once or refined first.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::handle::{Handle, Owner, Proxy, report_end};
use super::spawn_error::SpawnError;
use super::ward::Ward;
use super::warden::{self, GreetError, Order, Started};
use super::{census, greet};
use crate::actor::Actor;
use crate::proxy::Caller;
use crate::proxy::call::DecodeFailure;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::sys::doorbell::{Doorbell, Ear};
use crate::sys::memory::{Segment, sweep_dead_owners};
use crate::sys::process::Launch;
use crate::sys::socket::Lifeline;
use crate::transport::board::{Board, Geometry, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::shm::{Bells, connect};
use crate::wire::codec::{self, Message};
use crate::wire::frame::Kind;
use crate::wire::hello::{self, Greeting, Hello, Mismatch, Tables};
use crate::wire::interface::Interface;

/// Bytes of each of an actor's two rings: enough that a burst of small calls does not wait, and
/// little enough that a thousand actors take 256 MiB.
const RING_CAPACITY: u64 = 128 * 1024;

/// Calls that one actor may have in flight before further ones wait to be sent.
const SLOTS: u64 = 1024;

/// The longest message in bytes.
const MESSAGE_LEN_MAX: u64 = 256 * 1024 * 1024;

/// How long a process has to say that it is an actor. Starting takes about a millisecond; a machine
/// that starts a thousand at once takes longer.
const GREET_WITHIN: Duration = Duration::from_secs(10);

/// How long an actor has to end in order before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// An actor about to be started: await it, or refine it first.
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
    options: Options,
    proxy: PhantomData<fn() -> P>,
}

#[derive(Debug)]
struct Options {
    name: Option<String>,
    exe: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    idle: Idle,
    grace: Duration,
    greet_within: Duration,
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
        let options = Options {
            name: None,
            exe: None,
            env: Vec::new(),
            dir: None,
            idle: Idle::default(),
            grace: GRACE,
            greet_within: GREET_WITHIN,
        };
        let interface = const { &A::INTERFACE };
        Self {
            interface,
            constructor,
            args,
            failure,
            options,
            proxy: PhantomData,
        }
    }

    /// Names the process, for `ps` and logs. Default: the actor's type.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().name("echo-1").await?)
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Starts this program instead of the current one. It must know the actor, and call
    /// [`init`](crate::init) first in `main`. Methods that it lacks, or has with another signature,
    /// are errors of their calls.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().exe("/usr/lib/my-program/actors").await?)
    /// # }
    /// ```
    pub fn exe(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.exe = Some(path.into());
        self
    }

    /// Sets a variable of the process's environment, beside those it inherits.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().env("RUST_LOG", "debug").env("LANG", "C").await?)
    /// # }
    /// ```
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.env.push((key.into(), value.into()));
        self
    }

    /// The process's working folder. Default: this process's.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().current_dir("/tmp").await?)
    /// # }
    /// ```
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.dir = Some(dir.into());
        self
    }

    /// How both sides of the link wait for messages. Default: [`Idle::Adaptive`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// // Called now and then, and nobody should see it in `top`.
    /// Ok(Echo::spawn().idle(Idle::Park).await?)
    /// # }
    /// ```
    pub fn idle(mut self, idle: Idle) -> Self {
        self.options.idle = idle;
        self
    }

    /// How long the actor has to end in order, at a shutdown or with its last proxy, before it is
    /// killed. Default: 5 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let grace = std::time::Duration::from_millis(500);
    /// Ok(Echo::spawn().grace(grace).await?)
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How long the process has to say that it is an actor. The constructor's own time is not
    /// counted. Default: 10 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let within = std::time::Duration::from_secs(60);
    /// Ok(Echo::spawn().greet_within(within).await?)
    /// # }
    /// ```
    pub fn greet_within(mut self, within: Duration) -> Self {
        self.options.greet_within = within;
        self
    }
}

impl<P: Proxy, Args: Message, E: Send + 'static> Spawn<P, Args, E> {
    async fn run(self) -> Result<P, SpawnError<E>> {
        if greet::was_missed() {
            return Err(SpawnError::NotInitialised);
        }
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep_dead_owners);
        let Self {
            interface,
            constructor,
            args,
            failure,
            options,
            ..
        } = self;
        let Parts {
            named,
            exchange,
            ear,
            lifelines,
            hello,
            fds,
        } = prepare(interface, &options)?;
        crate::sys::failpoint::at("parent.prepared");
        let pid_told = Arc::new(std::sync::OnceLock::new());
        let id = next_id();
        let order = Order {
            launch: launch(interface, &options, lifelines.1),
            lifeline: lifelines.0,
            hello,
            fds,
            greet_within: options.greet_within,
            on_exit: on_exit(id, &exchange, &pid_told),
        };
        // Until the handle is complete, a future that is dropped ends what it has begun.
        let driver = Abort(Some(tokio::spawn(drive(Arc::clone(&exchange), ear))));
        let started = warden::start(order).await;
        let Started { ward, greeting } = match started {
            Ok(started) => started.map_err(SpawnError::start)?,
            Err(_) => return Err(SpawnError::start(warden_is_gone())),
        };
        crate::sys::failpoint::at("parent.started");
        let starting = Starting(Some(ward.clone()));
        let _ = pid_told.set(ward.pid());
        exchange.set_peer(Box::new(ward.clone()));
        census::enter(id, ward.clone(), options.grace);
        let owner = Arc::new(Owner {
            id,
            ward,
            exchange: Arc::clone(&exchange),
            grace: options.grace,
        });
        let limit = usize::try_from(MESSAGE_LEN_MAX).unwrap_or(usize::MAX);
        let caller = Caller::new(Arc::clone(&exchange), interface, limit, owner.clone());

        let tables = match greeting.await {
            Ok(packet) => read_greeting(&packet, interface)?,
            Err(GreetError::Silent) => return Err(SpawnError::silent(options.greet_within)),
            Err(GreetError::Exited) => return Err(died(&owner).await),
        };
        crate::sys::failpoint::at("parent.greeted");
        drop(named);
        exchange.set_numbers(tables.methods(interface));
        let constructor = number(&tables, interface, constructor)?;
        let call = caller.call_as::<Args, (), E>(Kind::Construct, constructor, args, failure);
        call.await.map_err(SpawnError::constructor)?;
        crate::sys::failpoint::at("parent.constructed");
        starting.done();
        driver.done();
        Ok(P::__from_handle(Handle::new(caller, owner)))
    }
}

/// What a start needs before there is a process.
struct Parts {
    named: Named,
    exchange: Arc<Exchange>,
    ear: Ear,
    lifelines: (Lifeline, Lifeline),
    hello: Vec<u8>,
    fds: Vec<std::os::fd::OwnedFd>,
}

fn prepare<E>(interface: &'static Interface, options: &Options) -> Result<Parts, SpawnError<E>> {
    let geometry = geometry();
    let segment = Arc::new(Segment::create(geometry.segment_len()).map_err(SpawnError::segment)?);
    let named = Named(Arc::clone(&segment));
    Board::new(Memory(Arc::clone(&segment)), geometry).stamp();
    let descriptors = SpawnError::descriptors;
    let ours = Doorbell::new().map_err(descriptors)?;
    let theirs = Doorbell::new().map_err(descriptors)?;
    let fds = [&theirs, &ours].map(|bell| bell.as_fd().try_clone_to_owned());
    let fds = fds
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(descriptors)?;
    let hello = Hello {
        parent: std::process::id(),
        actor: interface.name.to_owned(),
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
    let lifelines = Lifeline::pair().map_err(descriptors)?;
    Ok(Parts {
        named,
        exchange,
        ear,
        lifelines,
        hello,
        fds,
    })
}

fn geometry() -> Geometry {
    Geometry::new(RING_CAPACITY, SLOTS).expect("the sizes above are possible")
}

fn launch(interface: &Interface, options: &Options, lifeline: Lifeline) -> Launch {
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

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn on_exit(
    id: u64,
    exchange: &Arc<Exchange>,
    pid: &Arc<std::sync::OnceLock<u32>>,
) -> warden::OnExit {
    let (exchange, pid) = (Arc::clone(exchange), Arc::clone(pid));
    Box::new(move |exit| {
        census::leave(id);
        report_end(&exchange, pid.get().copied().unwrap_or_default(), exit);
    })
}

fn warden_is_gone() -> warden::StartError {
    warden::StartError::Warden(std::io::Error::other("the warden has panicked"))
}

fn read_greeting<E>(packet: &[u8], interface: &Interface) -> Result<Tables, SpawnError<E>> {
    let greeting = hello::decode::<Greeting>(packet)?;
    greeting.map_err(|refusal| SpawnError::refused(refusal, interface.name))
}

/// The error of a process that ended without a greeting.
async fn died<E>(owner: &Owner) -> SpawnError<E> {
    let exit = owner.ward.exited().await;
    report_end(&owner.exchange, owner.ward.pid(), exit);
    SpawnError::Died(crate::proxy::failure::Death::new(
        owner.ward.pid(),
        exit,
        None,
    ))
}

/// The peer's number of our constructor.
fn number<E>(tables: &Tables, ours: &Interface, constructor: u16) -> Result<u16, SpawnError<E>> {
    tables
        .constructors(ours)
        .theirs(constructor)
        .map_err(|mismatch| {
            let name = ours
                .constructors
                .get(usize::from(constructor))
                .map_or("?", |found| found.name);
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

impl<P: Proxy, Args: Message, E: Send + 'static> IntoFuture for Spawn<P, Args, E> {
    type Output = Result<P, SpawnError<E>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
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
