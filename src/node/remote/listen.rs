//! How an actor that is started listens for callers of other programs.

use std::fmt;
use std::io;

use super::connect::ConnectError;
use super::door::{Behind, Door, bind};
use crate::node::family_key;
use crate::node::spawn::Spawn;
use crate::node::spawn_error::SpawnError;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::net::Bound;
use crate::wire::hello::{GreetRefusal, Network, Secret};

/// How many callers an actor has at most, where nothing else is said.
const CONNECTIONS_MAX: u32 = 1024;

/// What a start was told about the network.
#[derive(Debug)]
pub(crate) struct Listening {
    listen: Vec<Address>,
    advertise: Vec<Address>,
    key: Option<AuthKey>,
    connections_max: u32,
    /// The first address that was none.
    error: Option<ConnectError>,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            advertise: Vec::new(),
            key: None,
            connections_max: CONNECTIONS_MAX,
            error: None,
        }
    }
}

impl Listening {
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
        let texts = |addresses: &[Address]| addresses.iter().map(Address::to_string).collect();
        Ok((!self.listen.is_empty()).then(|| Network {
            listen: texts(&self.listen),
            advertise: texts(&self.advertise),
            key: self.key.as_ref().map(|key| Secret(*key.bytes())),
            connections_max: self.connections_max,
        }))
    }
}

/// What an actor's process has of its network before the actor is there.
pub(crate) struct Places {
    bound: Vec<Bound>,
    addresses: Vec<Address>,
    key: AuthKey,
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
        let key = network.key.as_ref().map(|key| AuthKey::from(key.0));
        Ok(Self {
            bound,
            addresses,
            key: key
                .map_or_else(family_key::of_this_process, Ok)
                .map_err(|error| GreetRefusal::System(error.to_string()))?,
            connections_max: network.connections_max,
        })
    }

    /// Where callers reach the actor.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(Address::to_string).collect()
    }

    /// What callers must have.
    pub(crate) fn key(&self) -> AuthKey {
        self.key.clone()
    }

    /// A door at these places, which opens once the actor is there.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn door(self, behind: Behind) -> io::Result<Door> {
        let connections_max = usize::try_from(self.connections_max).unwrap_or(usize::MAX);
        let door = Door::new(behind, self.key, connections_max)?;
        door.open_with(self.bound);
        Ok(door)
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
        let listening = &mut self.options.listening;
        if let Some(address) = listening.parse(address) {
            listening.listen.push(address);
        }
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
        self.options.listening.key = Some(key.into());
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
        let listening = &mut self.options.listening;
        if let Some(address) = listening.parse(address) {
            listening.advertise.push(address);
        }
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
