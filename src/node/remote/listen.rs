//! How an actor that is started listens for callers of other programs.

use std::fmt;
use std::io;

use super::connect::ConnectError;
use super::door::{Behind, Door, bind};
use crate::node::family_key;
use crate::node::handle::Handle;
use crate::node::local::Local;
use crate::node::spawn::Spawn;
use crate::node::spawn_error::SpawnError;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::net::Bound;
use crate::wire::hello::{GreetRefusal, Network, Secret};

/// How many callers an actor has at most, where nothing else is said.
const CONNECTIONS_MAX: u32 = 1024;

/// How many keys an actor has at most: each is tried with whoever knocks.
const KEYS_MAX: usize = 4;

/// What a start was told about the network.
#[derive(Debug)]
pub(crate) struct Listening {
    listen: Vec<Address>,
    advertise: Vec<Address>,
    /// Of which a caller must have one; none: the family's key.
    keys: Vec<AuthKey>,
    connections_max: u32,
    /// The first address that was none.
    error: Option<ConnectError>,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            advertise: Vec::new(),
            keys: Vec::new(),
            connections_max: CONNECTIONS_MAX,
            error: None,
        }
    }
}

impl Listening {
    fn listen<A>(&mut self, address: A)
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = self.parse(address);
        self.listen.extend(address);
    }

    fn advertise<A>(&mut self, address: A)
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = self.parse(address);
        self.advertise.extend(address);
    }

    /// The first key, in place of all others.
    fn set_key(&mut self, key: AuthKey) {
        self.keys = vec![key];
    }

    fn parse<A>(&mut self, address: A) -> Option<Address>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        match address.try_into() {
            Ok(address) => Some(address),
            Err(error) => {
                self.error.get_or_insert_with(|| error.into());
                None
            }
        }
    }

    /// What the process is told.
    ///
    /// # Errors
    /// [`SpawnError::Listen`] when an address was none.
    pub(crate) fn network<E>(&mut self) -> Result<Option<Network>, SpawnError<E>> {
        if let Some(error) = self.error.take() {
            return Err(SpawnError::Listen {
                reason: error.to_string(),
            });
        }
        if self.keys.len() > KEYS_MAX {
            return Err(SpawnError::Listen {
                reason: format!(
                    "{} keys, where there are {KEYS_MAX} at most",
                    self.keys.len()
                ),
            });
        }
        let texts = |addresses: &[Address]| addresses.iter().map(Address::to_string).collect();
        Ok((!self.listen.is_empty()).then(|| Network {
            listen: texts(&self.listen),
            advertise: texts(&self.advertise),
            keys: self.keys.iter().map(|key| Secret(*key.bytes())).collect(),
            connections_max: self.connections_max,
        }))
    }
}

/// What an actor's process has of its network before the actor is there.
pub(crate) struct Places {
    bound: Vec<Bound>,
    addresses: Vec<Address>,
    keys: Box<[AuthKey]>,
    connections_max: u32,
}

impl Places {
    /// Listens as the parent has said.
    ///
    /// # Errors
    /// [`GreetRefusal::Listen`].
    pub(crate) fn take(network: &Network) -> Result<Self, GreetRefusal> {
        let refused = |address: &dyn fmt::Display, error: &dyn fmt::Display| GreetRefusal::Listen {
            address: address.to_string(),
            reason: error.to_string(),
        };
        let parse = |texts: &[String]| {
            let parsed = texts.iter().map(|text| text.parse::<Address>());
            let parsed = parsed.collect::<Result<Vec<_>, _>>();
            parsed.map_err(|error| refused(&texts.join(", "), &error))
        };
        let bound = bind(&parse(&network.listen)?);
        let bound = bound.map_err(|(address, error)| refused(&address, &error))?;
        let port = bound.iter().find_map(|bound| bound.address().port());
        let advertised = parse(&network.advertise)?.into_iter();
        let mut addresses: Vec<_> = advertised.map(|address| address.or_port(port)).collect();
        if addresses.is_empty() {
            addresses = bound.iter().map(|bound| bound.address().clone()).collect();
        }
        let mut keys: Vec<_> = network.keys.iter().map(|key| key.0.into()).collect();
        if keys.is_empty() {
            let key = family_key::of_this_process();
            keys.push(key.map_err(|error| GreetRefusal::System(error.to_string()))?);
        }
        Ok(Self {
            bound,
            addresses,
            keys: keys.into(),
            connections_max: network.connections_max,
        })
    }

    /// Where callers reach the actor.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What callers must have; the first, if there are several.
    pub(crate) fn key(&self) -> AuthKey {
        self.keys[0].clone()
    }

    /// A door at these places, which opens once the actor is there.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn door(self, behind: Behind) -> io::Result<Door> {
        let connections_max = usize::try_from(self.connections_max).unwrap_or(usize::MAX);
        let door = Door::new(behind, self.keys, connections_max)?;
        door.open_with(self.bound);
        Ok(door)
    }
}

impl Handle {
    /// The same, reached by others where `first` is.
    pub(crate) fn reached_as(self, first: &Self) -> Self {
        if let Some(addresses) = first.owner().addresses.get() {
            // Set once, here.
            let _ = self.owner().addresses.set(addresses.clone());
        }
        self
    }
}

impl<P, Args, E> Spawn<P, Args, E> {
    /// Has the actor listen for callers of other programs, on this machine and others, who
    /// [connect](crate::Connect) with its [key](Self::authkey). Default: it does not.
    ///
    /// `tcp://host:port` is TCP, with any free port for 0 and at all of the machine's addresses for
    /// the host `0.0.0.0` or `[::]`; `unix:/path` is a socket that only this user's processes can
    /// open. It may be said several times. [`Proxy::address`](crate::Proxy::address) tells where it
    /// listens.
    ///
    /// Callers are admitted once the constructor and `#[on_start]` have ended well, and served like
    /// any others: each in its own order. When the actor ends in order they are told.
    ///
    /// # Errors
    /// [`SpawnError::Listen`] when the address is none, or is not to be had.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start(key: AuthKey) -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().listen("tcp://[::]:7000").listen("unix:/run/echo").authkey(key).await?)
    /// # }
    /// ```
    pub fn listen<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.listen(address);
        self
    }

    /// What callers of other programs must have. Default: the key of this program's
    /// [family](AuthKey::of_family), which the actors have that it starts and nobody else.
    ///
    /// It reaches the actor's process over an inherited socket: it is in no argument, no variable
    /// and no file.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let key = AuthKey::from_file("/etc/echo/authkey")?;
    /// Ok(Echo::spawn().listen("tcp://0.0.0.0:7000").authkey(key).await?)
    /// # }
    /// ```
    pub fn authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.set_key(key.into());
        self
    }

    /// A further key by which callers are let in, beside the [first](Self::authkey): while the keys
    /// of a service are changed, those are served who have the new one and those who still have the
    /// old one. At most four; each costs a server 0.2 ms more for a caller who has none of them.
    ///
    /// # Errors
    /// [`SpawnError::Listen`] when there are more.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let (new, old) = (AuthKey::from_file("authkey")?, AuthKey::from_file("authkey.old")?);
    /// Ok(Echo::spawn().listen("tcp://0.0.0.0:7000").authkey(new).or_authkey(old).await?)
    /// # }
    /// ```
    pub fn or_authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.keys.push(key.into());
        self
    }

    /// The address that the actor tells others, where it is reached at another one than it listens
    /// at: behind a name, or a router. The port 0 means the one that it has. It may be said several
    /// times. Default: those at which it listens.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start(key: AuthKey) -> callboard::Result<EchoProxy> {
    /// let echo = Echo::spawn().listen("tcp://0.0.0.0:0").advertise("tcp://node-7:0");
    /// Ok(echo.authkey(key).await?)
    /// # }
    /// ```
    pub fn advertise<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.advertise(address);
        self
    }

    /// How many callers of other programs the actor has at most, those included who have not shown
    /// yet that they have the key. More are told to come again. Default: 1024.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start(key: AuthKey) -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().listen("tcp://[::]:7000").authkey(key).connections(16).await?)
    /// # }
    /// ```
    pub fn connections(mut self, most: u32) -> Self {
        self.options.listening.connections_max = most;
        self
    }
}

/// A task may be called from outside like any process; see the functions of the same name of
/// [`Spawn`].
impl<P, Args, E> Local<P, Args, E> {
    /// Has the actor [listen](crate::Spawn::listen) for callers of other programs.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::AuthKey;
    /// use callboard::prelude::*;
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
    ///     let key = AuthKey::random()?;
    ///     let counter = Counter::local().listen("tcp://127.0.0.1:0").authkey(&key).await?;
    ///     let address = counter.address().expect("it listens");
    ///     let remote = Counter::connect(address, &key).await?;
    ///     assert_eq!(remote.add(5).await?, 5);
    ///     counter.shutdown().await
    /// }
    /// ```
    pub fn listen<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.listen(address);
        self
    }

    /// What callers of other programs [must have](crate::Spawn::authkey).
    pub fn authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.set_key(key.into());
        self
    }

    /// A [further](crate::Spawn::or_authkey) key by which they are let in.
    pub fn or_authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.keys.push(key.into());
        self
    }

    /// The address that the actor [tells](crate::Spawn::advertise) others.
    pub fn advertise<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.advertise(address);
        self
    }

    /// How many callers of other programs it has [at most](crate::Spawn::connections).
    pub fn connections(mut self, most: u32) -> Self {
        self.options.listening.connections_max = most;
        self
    }
}
