//! A proxy of an actor that another program has started, by its address and key.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::bond;
pub use super::connect_error::ConnectError;
use super::credentials;
use super::reconnect::Reconnect;
use super::returning::Returning;
use crate::actor::Actor;
use crate::node::faces::{AnyProxy, DowncastError, Face};
use crate::node::handle::Proxy;
use crate::proxy::failure::Death;
use crate::sys::clock;
use crate::sys::machine;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::freight::TAKEN_LEN_MAX;
use crate::transport::handshake::{KnockError, knock, recv_packet, send_packet};
use crate::transport::net::{Wire, dial};
use crate::transport::noise::VERSION;
use crate::transport::sealed_stream::Sealed;
use crate::transport::unix::pumps;
use crate::wire::hello::{self, HelloError, PACKET_LEN_MAX, Tables};
use crate::wire::obituary::Obituary;
use crate::wire::welcome::{Join, Welcome};

/// How long whoever has started an actor may take to tell how it ended: until then nobody is told
/// that it did.
pub(crate) const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Connects to actors that other programs have started. Every actor's type has it.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::AuthKey;
///
/// pub struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     pub fn new() -> Self { Self(0) }
///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     // In one program, on any machine:
///     let key = AuthKey::random()?;
///     let counter = Counter::spawn().listen("tcp://127.0.0.1:0").authkey(&key).await?;
///     let address = counter.address().expect("it listens");
///
///     // In another one, which has the address and the key:
///     let remote = Counter::connect(address, &key).await?;
///     assert_eq!(remote.add(5).await?, 5);
///     assert_eq!(remote, counter);
///     drop(remote);                                // it owns nothing: the actor lives on
///     assert_eq!(counter.add(1).await?, 6);
///     counter.shutdown().await
/// }
/// ```
pub trait Connect: Actor<Proxy: Proxy> {
    /// A proxy of the actor of this type at `address`, which listens there for those who have
    /// `key`; see [`Connecting`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, ConnectError, prelude::*};
    /// # pub struct Counter(u64);
    /// # #[actor]
    /// # impl Counter { pub fn new() -> Self { Self(0) } }
    /// async fn far(key: &AuthKey) -> Result<CounterProxy, ConnectError> {
    ///     Counter::connect("tcp://far.example.org:7000", key).await
    /// }
    /// ```
    fn connect<A>(address: A, key: impl Into<AuthKey>) -> Connecting<Self::Proxy>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        connect(address, key)
    }
}

impl<A: Actor<Proxy: Proxy>> Connect for A {}

/// A proxy of the actor at `address`, which listens there for those who have `key`: by its type, by
/// a trait that it offers, or by none; see [`Connecting`].
///
/// # Examples
/// ```
/// use callboard::{AnyProxy, AuthKey};
///
/// async fn names(address: &str, key: &AuthKey) -> callboard::Result<Vec<String>> {
///     let any: AnyProxy = callboard::connect(address, key).await?;
///     Ok(any.methods().map(str::to_owned).collect())
/// }
/// ```
pub fn connect<P: Proxy, A>(address: A, key: impl Into<AuthKey>) -> Connecting<P>
where
    A: TryInto<Address, Error: Into<ConnectError>>,
{
    Connecting {
        address: address.try_into().map_err(Into::into),
        key: key.into(),
        within: CONNECT_WITHIN,
        blob_limit: TAKEN_LEN_MAX,
        reconnect: None,
        captured: Ok(Vec::new()),
        proxy: PhantomData,
    }
}

/// A connection about to be made: await it, or refine it first.
///
/// The proxy has the same type as the one that started the actor, and calls of it the same rules:
/// their order, their bounds, their errors. What is different:
///
/// - It owns nothing. Dropped, it ends the connection and not the actor, and its `shutdown`
///   [asks](crate::Proxy::stop) whoever owns the actor. What was sent goes out first, for as long
///   as the actor goes on taking it: only when it has taken nothing for 30 s is the rest thrown
///   away. At its end, [`main`](macro@crate::main) waits for that, 5 s at most.
/// - When the other side is gone without a word, calls get
///   [`Unreachable`](crate::CallError::Unreachable) with the reason: at once when its program has
///   ended, and after ten seconds of silence when its machine or the network has. When only the
///   actor has died, its program says how, by the same address and key, and calls get
///   [`Died`](crate::CallError::Died) as its owner does.
/// - A message has at most 16 MiB. [Blobs](crate::Blob#over-a-network) go with it as far as there
///   is memory for them; [arrays](crate::Array) do not go at all
///   ([`EncodeError::Arrays`](crate::EncodeError::Arrays)): they are memory of one machine.
///
/// # Order
/// Small calls do not wait behind large ones: messages above 32 KiB go in pieces and blobs beside
/// them, with other calls in between. So the calls of one proxy begin in the order in which they
/// have arrived whole. Where nothing is large that is the order in which they were made; and what
/// was awaited, be it the call or its [`tell`](crate::Call::tell), has arrived before what is
/// called after that. Answers come in the order in which they are whole, too: an actor goes on
/// while a long one is on its way, and is ahead of a caller by 16 MiB or 64 answers at most.
///
/// A call has no usual [bound](crate::set_default_timeout) while its blobs are on their way; then
/// it has, and in it its answer has to come whole: say [otherwise](crate::Call::no_timeout) for
/// large answers over slow networks. One that is to be sent [at once](crate::Call::try_start) finds
/// no room as long as its blobs are not there.
///
/// What goes over the connection is encrypted and cannot be changed or repeated by others; see
/// [`AuthKey`]. It is made again only if [that is asked for](Self::reconnect).
///
/// Methods that the actor's program lacks, or has with another signature, are errors of their
/// calls.
///
/// # Errors
/// Awaiting gives a [`ConnectError`]; nothing is left of the attempt.
///
/// # Panics
/// Awaited outside a tokio runtime with its clock and I/O.
///
/// # Cancel safety
/// Dropped before it is done, nothing is left of it.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use callboard::AuthKey;
/// use callboard::prelude::*;
///
/// pub struct Bell { rings: u64 }
///
/// #[actor]
/// impl Bell {
///     pub fn new() -> Self { Self { rings: 0 } }
///     pub fn ring(&mut self) -> u64 { self.rings += 1; self.rings }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let key = AuthKey::random()?;
///     let bell = Bell::spawn().listen("tcp://127.0.0.1:0").authkey(&key).await?;
///     // In another program, or on another machine:
///     let address = bell.address().expect("it listens").clone();
///     let remote = Bell::connect(address, key).within(Duration::from_secs(30)).await?;
///     assert_eq!(remote.ring().await?, 1);
///     assert_eq!(bell.ring().await?, 2, "it is the same actor");
///     drop(remote);
///     bell.shutdown().await?;
///     Ok(())
/// }
/// ```
#[must_use = "nothing is connected before this is awaited"]
pub struct Connecting<P> {
    address: Result<Address, ConnectError>,
    key: AuthKey,
    within: Duration,
    blob_limit: u64,
    reconnect: Option<Reconnect>,
    captured: Result<Vec<Address>, ConnectError>,
    proxy: PhantomData<fn() -> P>,
}

impl<P> Connecting<P> {
    /// How long all of it may take, with looking the name up. Default: 5 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AnyProxy, AuthKey, ConnectError};
    /// # use std::time::Duration;
    /// # async fn try_it(key: AuthKey) -> Result<AnyProxy, ConnectError> {
    /// callboard::connect("tcp://far.example.org:7000", key).within(Duration::from_secs(30)).await
    /// # }
    /// ```
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// How many bytes of [blobs](crate::Blob#over-a-network) may have come from the actor over this
    /// connection and be in use at the same time: in results, and in the items of streams. What
    /// goes beyond it is an error of the call, which says both. Default: 4 GiB.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AnyProxy, AuthKey, ConnectError};
    /// # async fn try_it(key: AuthKey) -> Result<AnyProxy, ConnectError> {
    /// callboard::connect("tcp://far.example.org:7000", key).blob_limit(64 << 20).await
    /// # }
    /// ```
    pub fn blob_limit(mut self, bytes: u64) -> Self {
        self.blob_limit = bytes;
        self
    }

    /// Further addresses that mean the same place: a proxy that comes [in a
    /// message](crate::Proxy#in-messages) and says that its actor listens there is reached here, by
    /// this key. For actors that listen at all of their machine's addresses, and for those behind a
    /// router.
    ///
    /// Like the address itself, they are remembered as long as this process lives, once the
    /// connection was made; see [`Credentials`](crate::Credentials).
    ///
    /// # Errors
    /// [`ConnectError::Address`] when one is none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AnyProxy, AuthKey, ConnectError};
    /// # async fn try_it(key: AuthKey) -> Result<AnyProxy, ConnectError> {
    /// callboard::connect("tcp://localhost:7000", key).capture(["tcp://0.0.0.0:7000"]).await
    /// # }
    /// ```
    pub fn capture<A>(mut self, addresses: impl IntoIterator<Item = A>) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        for address in addresses {
            let address = address.try_into().map_err(Into::into);
            self.captured = self.captured.and_then(|mut captured| {
                captured.push(address?);
                Ok(captured)
            });
        }
        self
    }

    /// Has the connection made again when it was lost, by these rules; the proxy goes on. Default:
    /// it is not.
    ///
    /// Calls that are under way when it is lost end with
    /// [`Unreachable`](crate::CallError::Unreachable), or with [`Died`](crate::CallError::Died)
    /// where the actor's program tells how that died, and with their
    /// [outcome](crate::CallError::outcome): none is ever made twice. Calls that are made after
    /// that wait for the new connection, in their order, at most as long as they
    /// [may take](crate::Call::timeout) and as many as there is room for; further ones wait for
    /// room. What times out or is cancelled before there is one is not run later. When it is given
    /// up, those who wait are told that they have not run; a tell that was accepted is lost then,
    /// and with the proxy.
    ///
    /// Whoever answers at the address must have the key and be of the proxy's type; it need not be
    /// the same actor, and what the first one knew it knows only if it has kept it elsewhere. If it
    /// is of another build, what waits has failed as `NotRun`, and later calls go by what the new
    /// one offers. Where the key is rejected, or something else is there, it is given up.
    ///
    /// A [monitor](crate::Proxy::monitor) tells of losses, of how the actor died where that is
    /// known, and of new connections;
    /// [`is_alive`](crate::Proxy::is_alive) tells whether there is one, and
    /// [`exited`](crate::Proxy::exited) when there will be none any more.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AnyProxy, AuthKey, ConnectError, Reconnect};
    /// # async fn try_it(key: AuthKey) -> Result<AnyProxy, ConnectError> {
    /// callboard::connect("tcp://far.example.org:7000", key).reconnect(Reconnect::on_loss()).await
    /// # }
    /// ```
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }
}

impl<P: Proxy> Connecting<P> {
    async fn run(self) -> Result<P, ConnectError> {
        let captured = self.captured?;
        let place = Place {
            address: self.address?,
            key: self.key,
            within: self.within,
            blob_limit: self.blob_limit,
            check: check::<P>,
        };
        let entered = place.enter().await?;
        credentials::note(&place.address, &place.key, &captured);
        let handle = match self.reconnect {
            Some(reconnect) => Returning::begin(place, reconnect, entered)?,
            None => {
                let (sealed, welcome) = entered;
                let runtime = runtime::Handle::current();
                let (handle, way) = bond::lay(&welcome, &place, &runtime, bond::alone())?;
                // The link waits for it.
                let _ = way.send(sealed);
                handle
            }
        };
        let any = AnyProxy::__from_handle(handle);
        match P::__FACE {
            Face::Any => Ok(P::__from_handle(any.__handle().clone())),
            Face::Actor(interface) | Face::Trait(interface) => {
                Ok(P::__from_handle(any.__handle().cast(interface)))
            }
        }
    }
}

/// Where an actor is to be found, and what is to be there.
#[derive(Clone)]
pub(crate) struct Place {
    pub(super) address: Address,
    key: AuthKey,
    /// How long one try may take.
    within: Duration,
    /// How many bytes of blobs that came from there may be in use here.
    pub(super) blob_limit: u64,
    /// Whether the actor is what the proxy's type stands for.
    check: fn(&Tables) -> Result<(), ConnectError>,
}

/// A connection to an actor that has let us in, and what it said.
pub(crate) type Entered = (Sealed<Wire>, Welcome);

impl Place {
    /// Of an actor of any type, with the usual time for a try and the usual limit.
    pub(crate) fn new(address: Address, key: AuthKey) -> Self {
        Self {
            address,
            key,
            within: CONNECT_WITHIN,
            blob_limit: TAKEN_LEN_MAX,
            check: |_| Ok(()),
        }
    }

    /// Knocks, and joins the actor's callers. Frames may follow at once.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Cancel safety
    /// Dropped, nothing is left of it.
    pub(crate) async fn enter(&self) -> Result<Entered, ConnectError> {
        let entering = async {
            let pumps = pumps().map_err(ConnectError::Resources)?;
            let (address, key) = (self.address.clone(), self.key.clone());
            let entering = async move { enter(&address, &key).await };
            let (mut sealed, welcome) = Entering(pumps.spawn(entering)).await?;
            (self.check)(&welcome.tables)?;
            bond::geometry(&welcome, &self.address)?;
            join(&mut sealed, &self.address).await?;
            Ok((sealed, welcome))
        };
        let entered = timeout(self.within, entering).await;
        entered.unwrap_or_else(|_| Err(self.is_late()))
    }

    /// Asks how an actor ended that lived in process `pid`: whoever has started it answers at its
    /// address. None: nobody is there who knows, or the actor lives.
    pub(super) async fn ask_death(&self, pid: u32) -> Option<Death> {
        let told = timeout(TOLD_WITHIN, enter(&self.address, &self.key)).await;
        match told.ok()? {
            Err(ConnectError::Died { death, .. }) if death.pid() == pid => Some(death),
            _ => None,
        }
    }

    /// It took too long.
    pub(super) fn is_late(&self) -> ConnectError {
        ConnectError::Timeout {
            address: self.address.clone(),
            after: self.within,
        }
    }
}

/// The task that knocks: on the thread on which the connection is carried on. Dropped, it ends.
struct Entering(JoinHandle<Result<(Sealed<Wire>, Welcome), ConnectError>>);

impl Future for Entering {
    type Output = Result<(Sealed<Wire>, Welcome), ConnectError>;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let entered = Pin::new(&mut self.0).poll(cx);
        entered.map(|entered| {
            entered.unwrap_or_else(|ended| {
                // The thread lives as long as the process, and nothing in the task panics.
                Err(ConnectError::Resources(io::Error::other(ended)))
            })
        })
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Knocks at `address`, and hears who is there.
async fn enter(address: &Address, key: &AuthKey) -> Result<(Sealed<Wire>, Welcome), ConnectError> {
    let address = || address.clone();
    let wire = dial(&address()).await;
    let wire = wire.map_err(|source| ConnectError::Io {
        address: address(),
        source,
    })?;
    crate::sys::failpoint::at("connect.dialled");
    let mut sealed = knock(wire, key).await.map_err(|error| match error {
        KnockError::Foreign => ConnectError::Hello {
            address: address(),
            source: HelloError::Foreign,
        },
        KnockError::Version { theirs } => ConnectError::Hello {
            address: address(),
            source: HelloError::Version {
                ours: VERSION.into(),
                theirs: theirs.into(),
            },
        },
        KnockError::Busy => ConnectError::Busy { address: address() },
        KnockError::Rejected => ConnectError::Auth { address: address() },
        KnockError::Unable => {
            ConnectError::Resources(io::Error::other("the system gives no random bytes"))
        }
        KnockError::Io(source) => ConnectError::Io {
            address: address(),
            source,
        },
    })?;
    // That this can be read shows that the other side has the key.
    let packet = recv_packet(&mut sealed, PACKET_LEN_MAX).await;
    let packet = packet.map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData => ConnectError::Auth { address: address() },
        _ => ConnectError::Io {
            address: address(),
            source,
        },
    })?;
    crate::sys::failpoint::at("connect.welcomed");
    let cannot_talk = |source| ConnectError::Hello {
        address: address(),
        source,
    };
    if let Some(obituary) = Obituary::read(&packet) {
        return Err(ConnectError::Died {
            address: address(),
            death: Death::told(obituary.map_err(cannot_talk)?),
        });
    }
    let welcome = hello::decode::<Welcome>(&packet);
    Ok((sealed, welcome.map_err(cannot_talk)?))
}

/// Whether the actor is what the proxy's type stands for. Single methods that an actor of this
/// type lacks are errors of their calls.
fn check<P: Proxy>(tables: &Tables) -> Result<(), ConnectError> {
    match P::__FACE {
        Face::Any => Ok(()),
        Face::Actor(interface) if interface.full_name() == tables.name() => Ok(()),
        Face::Actor(interface) => Err(ConnectError::Type(DowncastError::OtherActor {
            expected: interface.full_name().into_owned(),
            found: tables.name().to_owned(),
        })),
        Face::Trait(interface) => match tables.first_mismatch(interface) {
            None => Ok(()),
            Some(mismatch) => Err(ConnectError::Type(DowncastError::of(mismatch))),
        },
    }
}

/// Joins the actor's callers.
async fn join(sealed: &mut Sealed<Wire>, address: &Address) -> Result<(), ConnectError> {
    let join = Join {
        machine: machine::id(),
        now: clock::now(),
    };
    let failed = |source| ConnectError::Io {
        address: address.clone(),
        source,
    };
    let join = hello::encode(&join).map_err(|error| failed(io::Error::other(error)))?;
    send_packet(sealed, &join).await.map_err(failed)?;
    crate::sys::failpoint::at("connect.joined");
    Ok(())
}

impl<P: Proxy> IntoFuture for Connecting<P> {
    type Output = Result<P, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<P> fmt::Debug for Connecting<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting")
            .field("address", &self.address)
            .field("key", &self.key)
            .field("within", &self.within)
            .field("blob_limit", &self.blob_limit)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}
