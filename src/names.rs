//! The names that users meet, in the order in which they meet them.

use std::error::Error as StdError;
use std::fmt;

pub use callboard_macros::{actor, actor_part, actor_trait, main, message, test};

pub use crate::actor::context::Context;
pub use crate::actor::hooks::{MethodError, UnknownCall};
pub use crate::actor::legacy::{CheckpointError, StateOf};
pub use crate::actor::mailbox::{Mailbox, Overflow};
pub use crate::actor::streamed::{StreamError, Streamed};
pub use crate::node::census::shutdown_all;
pub use crate::node::ending::ShutdownError;
pub use crate::node::faces::{ActorId, AnyProxy, DowncastError};
pub use crate::node::family::{LimitError, limit_actors};
pub use crate::node::forward::callback::{Callback, Fails, OwnErrors};
pub use crate::node::greet::init;
pub use crate::node::handle::Proxy;
pub use crate::node::heartbeat::Heartbeat;
#[cfg(feature = "json")]
pub use crate::node::invoke::InvokeError;
pub use crate::node::limits::Limits;
pub use crate::node::local::Local;
pub use crate::node::monitor::{DownReason, LifeEvent, Monitor};
pub use crate::node::output::Output;
pub use crate::node::remote::connect::{Connect, ConnectError, Connecting, connect};
pub use crate::node::remote::credentials::{Credentials, credentials};
pub use crate::node::remote::reconnect::Reconnect;
pub use crate::node::serve::Serve;
pub use crate::node::spawn::Spawn;
pub use crate::node::spawn_error::SpawnError;
pub use crate::proxy::call::{Call, Once};
pub use crate::proxy::failure::{AuthError, CallError, Death, Outcome, TryCallError};
pub use crate::proxy::feeding::FeedCall;
pub use crate::proxy::pending::Pending;
pub use crate::proxy::pending_stream::PendingStream;
pub use crate::proxy::retry::Idempotent;
pub use crate::proxy::streaming::{StreamCall, Streaming};
pub use crate::proxy::timer::set_default_timeout;
pub use crate::sys::process::Exit;
pub use crate::sys::sealed::{BlobBuilder, BlobError, Number};
pub use crate::sys::shared::{ArrayError, Element};
pub use crate::transport::address::{Address, ParseAddressError};
pub use crate::transport::auth_key::{AuthKey, AuthKeyError};
pub use crate::transport::idle::Idle;
pub use crate::transport::link_kind::LinkKind;
pub use crate::transport::unreached::Unreached;
pub use futures_util::Stream;
pub use rkyv::Archived;
pub use rkyv::with::Skip;

pub use crate::wire::array::{Array, OutOfRange};
pub use crate::wire::blob::{Blob, BlobContent};
pub use crate::wire::codec::{Arguments, DecodeError, EncodeError, Message};
pub use crate::wire::hello::HelloError;
#[cfg(feature = "json")]
pub use crate::wire::json::OwnError;
pub use crate::wire::lent::Lent;
pub use crate::wire::report::PanicReport;
pub use crate::wire::view::{Reply, View};

/// Makes this program know an actor whose type is generic, with these parameters.
///
/// The process of an actor finds its type by name among those that its program knows. `#[actor]` on
/// a type without parameters sees to that; which types are made of a generic one is known only to
/// who uses them. It may stand in any module of the program, and of its libraries.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Cell<T>(T);
///
/// #[actor]
/// impl<T: Message + Clone> Cell<T> {
///     pub fn new(value: T) -> Self { Self(value) }
///     pub fn get(&self) -> T { self.0.clone() }
/// }
///
/// callboard::register!(Cell<String>);
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let cell = Cell::spawn(String::from("kept")).await?;
///     assert_eq!(cell.get().await?, "kept");
///     cell.shutdown().await
/// }
/// ```
#[macro_export]
macro_rules! register {
    ($actor:ty $(,)?) => {
        const _: () = {
            #[$crate::__private::linkme::distributed_slice($crate::__private::ACTORS)]
            #[linkme(crate = $crate::__private::linkme)]
            static ENTRY: $crate::__private::ActorType =
                $crate::__private::ActorType::of::<$actor>();
        };
    };
}

/// What programs that use actors need in scope: `use callboard::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Archived, CallError, Connect, Context, Idle, Message, Outcome, Output, Pending, Proxy,
        Serve, SpawnError, Stream, StreamError, Streamed, Streaming, actor, actor_part,
        actor_trait, message,
    };
}

/// Actors in programs without async: `counter.add(5).block()?`, from any thread that is no async
/// runtime's. Begin with [`init`](blocking::init).
pub mod blocking {
    pub use crate::node::blocking::{Block, Session, block_on, init};
}

/// What the macros' expansions name. Nothing here is stable.
#[doc(hidden)]
pub mod __private {
    pub use std::string::String;
    pub use std::vec::Vec;

    pub use linkme;
    pub use rkyv;

    pub use crate::actor::Actor;
    pub use crate::actor::batch::Batch;
    pub use crate::actor::hooks::{Hook, Hooks, Moment, Timer, run_exclusive, run_shared};
    pub use crate::actor::incoming::{Incoming, Rejected, decode_args, read_args};
    pub use crate::actor::legacy::{Heir, Left};
    pub use crate::actor::replies::Answer;
    pub use crate::actor::text::{ByDebug, ByDisplay, ByError, ByName, Described};
    pub use crate::flow::parcel::{Parcel, Put, put_result, put_value};
    pub use crate::flow::window::{Feed, Opening};
    pub use crate::node::faces::{Face, Offers, Serves, TraitProxy, as_trait, place_of};
    pub use crate::node::forward::callback::{
        ArchivedCallback, CallbackResolver, Card, CardResolver,
    };
    pub use crate::node::forward::part::{
        ArchivedPartCard, PartCard, PartCardResolver, PartProxyResolver,
    };
    pub use crate::node::forward::value::{ProxyResolver, Serializes};
    pub use crate::node::greet::hook;
    pub use crate::node::handle::Handle;
    pub use crate::node::leaving::Leaving;
    pub use crate::node::local::{LocalSeat, run_local};
    pub use crate::node::part::{ActorPart, PartProxy};
    pub use crate::node::registry::{ACTORS, ActorType};
    pub use crate::node::runner::{RunInTask, RunInThread, Runner};
    pub use crate::node::runtime::{Flavor, RuntimeOptions, block_on};
    pub use crate::node::settings::Settings;
    pub use crate::proxy::feeding::Feeds;
    pub use crate::sys::body::Body;
    pub use crate::wire::array::{ArchivedOutOfRange, OutOfRangeResolver};
    pub use crate::wire::beside::{ArchivedPart, Part, PartResolver};
    pub use crate::wire::codec::{Checker, Decoder, Encoder, own};
    pub use crate::wire::interface::{Interface, Method, Priority, first, signature};
    pub use crate::wire::lent::Lend;
    pub use crate::wire::parts::{joined, names, names_len, place_in, within};
    pub use crate::wire::passport::{ArchivedPassport, Passport, PassportResolver};
    pub use crate::wire::sink::Sink;

    /// What calls methods with JSON.
    #[cfg(feature = "json")]
    pub mod json {
        pub use crate::wire::json::{
            Archives, ArchivesNot, FailsByText, FailsByValue, FailsNot, Fault, Given, Json, Reader,
            Reads, ReadsNot, Typed, Writes, WritesNot, never_fails,
        };
    }

    /// Names the parts of a result type, also behind an alias such as `io::Result<T>`.
    pub trait IsResult {
        /// The value.
        type Ok;
        /// The error.
        type Err;
    }

    impl<T, E> IsResult for Result<T, E> {
        type Ok = T;
        type Err = E;
    }
}

/// The result of a `main` function; with a second type the usual `Result`.
///
/// # Examples
/// ```
/// fn main() -> callboard::Result<()> {
///     let number: u32 = "7".parse()?;
///     assert_eq!(number, 7);
///     Ok(())
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, for `main` functions and tests: every error that is one converts by `?`.
///
/// It prints itself with its causes. Code that wants to tell errors apart uses their own types.
/// What is no error, a text above all, is made one by [`msg`](Self::msg)
/// and [`of_call`](Self::of_call).
///
/// # Examples
/// ```
/// let error = callboard::Error::from(std::io::Error::other("no room"));
/// assert_eq!(format!("{error:?}"), "no room");
/// assert!(error.as_error().is::<std::io::Error>());
/// ```
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// An error that says this.
    ///
    /// # Examples
    /// ```
    /// use callboard::Error;
    ///
    /// fn first(args: &[String]) -> callboard::Result<&str> {
    ///     Ok(args.first().ok_or_else(|| Error::msg("nothing was said"))?)
    /// }
    /// assert_eq!(first(&[]).unwrap_err().to_string(), "nothing was said");
    /// ```
    #[must_use]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self(message.to_string().into())
    }

    /// The error of a call whose method fails with what is no error itself, a `String` above all:
    /// `?` alone does not take that. Any other error of the call comes with its causes.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::Error;
    /// use callboard::prelude::*;
    ///
    /// pub struct Safe;
    ///
    /// #[actor]
    /// impl Safe {
    ///     pub fn new() -> Self { Self }
    ///     pub fn open(&self) -> Result<u32, String> { Err("it is locked".into()) }
    /// }
    ///
    /// async fn open(safe: &SafeProxy) -> callboard::Result<u32> {
    ///     safe.open().await.map_err(Error::of_call)
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let safe = Safe::spawn().await?;
    ///     assert_eq!(open(&safe).await.unwrap_err().to_string(), "it is locked");
    ///     safe.kill().await;
    ///     let gone = open(&safe).await.unwrap_err().to_string();
    ///     assert!(gone.starts_with("the actor died: process "), "{gone}");
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn of_call<E: fmt::Display>(error: CallError<E>) -> Self {
        match error {
            CallError::Actor(own) => Self::msg(own),
            other => other.without_own().into(),
        }
    }

    /// The error itself.
    #[must_use]
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

// Not an `Error` itself, so that every other one can be converted; see the orphan rules.
impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// What `main` prints: the error and its causes in one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<P, Args, E> Spawn<P, Args, E>
where
    P: Proxy,
    Args: Arguments,
    E: StdError + Send + Sync + 'static,
{
    /// Starts the actor, runs `body` with its proxy, and ends the actor again: also if the body
    /// returns an error, panics, or is dropped where it waits.
    ///
    /// The actor is stopped as by [`Proxy::stop`], whoever else has got a proxy meanwhile, and its
    /// process is gone when this returns.
    ///
    /// # Errors
    /// The start's; else the body's own, unchanged, as [`Error::as_error`] shows; else that of the
    /// end.
    ///
    /// # Panics
    /// If the body does, once the actor has ended.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and the actor ends in order without being waited for.
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
    ///     let sum = Counter::spawn(10).scope(async |counter| {
    ///         counter.add(5).await?;
    ///         Ok(counter.add(1).await?)
    ///     }).await?;
    ///     assert_eq!(sum, 16);
    ///     Ok(())
    /// }
    /// ```
    pub async fn scope<T>(self, body: impl AsyncFnOnce(P) -> Result<T>) -> Result<T> {
        crate::node::scope::run(self, body).await
    }
}

impl<P, Args, E> Local<P, Args, E>
where
    P: Proxy,
    Args: Arguments,
    E: StdError + Send + Sync + 'static,
{
    /// Starts the actor, runs `body` with its proxy, and ends the actor again, as
    /// [`Spawn::scope`] does with one in a process: also if the body returns an error, panics, or
    /// is dropped where it waits.
    ///
    /// The actor is stopped as by [`Proxy::stop`], whoever else has got a proxy meanwhile, and its
    /// task is gone when this returns.
    ///
    /// # Errors
    /// The start's; else the body's own, unchanged, as [`Error::as_error`] shows; else that of the
    /// end.
    ///
    /// # Panics
    /// If the body does, once the actor has ended; and outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped, the body is dropped, and the actor ends in order without being waited for.
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
    ///     let sum = Counter::local(10).scope(async |counter| {
    ///         counter.add(5).await?;
    ///         Ok(counter.add(1).await?)
    ///     }).await?;
    ///     assert_eq!(sum, 16);
    ///     Ok(())
    /// }
    /// ```
    pub async fn scope<T>(self, body: impl AsyncFnOnce(P) -> Result<T>) -> Result<T> {
        crate::node::scope::run(self, body).await
    }
}

// Here and not beside the type: `Error` is for what stands above all rooms.
impl AnyProxy {
    /// Ends the actor, and returns when its process has ended.
    ///
    /// # Errors
    /// If the actor did not end in order.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the ending.
    ///
    /// # Examples
    /// ```
    /// # use callboard::AnyProxy;
    /// async fn end_all(actors: &[AnyProxy]) -> callboard::Result<()> {
    ///     for actor in actors {
    ///         actor.shutdown().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn shutdown(&self) -> Result<()> {
        Ok(self.stop().await?)
    }
}

#[cfg(doc)]
#[doc = include_str!("README.md")]
pub mod architecture {}

/// The programs of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
