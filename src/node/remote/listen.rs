//! How an actor that is started listens for callers of other programs.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::connect::ConnectError;
use super::door::{Behind, Door, Limits, bind};
use super::grave::{self, SOCKETS_MAX, Sockets, Will};
use crate::node::family_key;
use crate::node::handle::Handle;
use crate::node::spawn::Spawn;
use crate::node::spawn_error::SpawnError;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::freight::TAKEN_LEN_MAX;
use crate::transport::net::Bound;
use crate::wire::hello::{Entry, GreetRefusal, Network, Secret};

/// How many callers an actor has at most, where nothing else is said.
const CONNECTIONS_MAX: u32 = 1024;

/// How many keys open one address at most: each is tried with whoever knocks.
const KEYS_MAX: usize = 4;

/// How many keys an actor has at most: its proxies in messages name them all.
const ALL_KEYS_MAX: usize = 16;

/// What a start was told about the network.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The addresses, each with its own keys, if it has any.
    listen: Vec<(Address, Vec<AuthKey>)>,
    advertise: Vec<Address>,
    /// Of which a caller must have one where the address has none; none: the family's key.
    pub(super) keys: Vec<AuthKey>,
    pub(super) connections_max: u32,
    pub(super) blob_limit: u64,
    /// The first thing that cannot be.
    error: Option<String>,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            advertise: Vec::new(),
            keys: Vec::new(),
            connections_max: CONNECTIONS_MAX,
            blob_limit: TAKEN_LEN_MAX,
            error: None,
        }
    }
}

impl Listening {
    pub(super) fn listen<A>(&mut self, address: A)
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = self.parse(address);
        self.listen
            .extend(address.map(|address| (address, Vec::new())));
    }

    pub(super) fn listen_with<A, K>(&mut self, address: A, keys: impl IntoIterator<Item = K>)
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        K: Into<AuthKey>,
    {
        let Some(address) = self.parse(address) else {
            return;
        };
        let keys: Vec<_> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() {
            let reason = || format!("there is no key for {address}");
            self.error.get_or_insert_with(reason);
        }
        self.listen.push((address, keys));
    }

    pub(super) fn advertise<A>(&mut self, address: A)
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = self.parse(address);
        self.advertise.extend(address);
    }

    /// The first key, in place of all others.
    pub(super) fn set_key(&mut self, key: AuthKey) {
        self.keys = vec![key];
    }

    fn parse<A>(&mut self, address: A) -> Option<Address>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        match address.try_into() {
            Ok(address) => Some(address),
            Err(error) => {
                let reason = || Into::<ConnectError>::into(error).to_string();
                self.error.get_or_insert_with(reason);
                None
            }
        }
    }

    /// What the process is told.
    ///
    /// # Errors
    /// [`SpawnError::Listen`] when an address was none, or there are too many keys.
    pub(crate) fn network<E>(&mut self) -> Result<Option<Network>, SpawnError<E>> {
        if let Some(reason) = self.error.take().or_else(|| self.too_many()) {
            return Err(SpawnError::Listen { reason });
        }
        // Who was there before is dead.
        let addresses = self.listen.iter().map(|(address, _)| address.clone());
        grave::make_room(&addresses.collect::<Vec<_>>());
        let secrets = |keys: &[AuthKey]| keys.iter().map(|key| Secret(*key.bytes())).collect();
        let entries = self.listen.iter().map(|(address, keys)| Entry {
            address: address.to_string(),
            port: 0,
            keys: secrets(keys),
        });
        Ok((!self.listen.is_empty()).then(|| Network {
            listen: entries.collect(),
            advertise: self.advertise.iter().map(Address::to_string).collect(),
            keys: secrets(&self.keys),
            connections_max: self.connections_max,
            blob_limit: self.blob_limit,
        }))
    }

    /// That there are more keys than may be.
    fn too_many(&self) -> Option<String> {
        let own = self.listen.iter().map(|(_, keys)| keys.len());
        let all = own.chain([self.keys.len()]);
        let (most, sum) = (all.clone().max().unwrap_or_default(), all.sum::<usize>());
        if most > KEYS_MAX {
            let reason = format!("{most} keys, where there are {KEYS_MAX} at most for one address");
            return Some(reason);
        }
        (sum > ALL_KEYS_MAX)
            .then(|| format!("{sum} keys in all, where there are {ALL_KEYS_MAX} at most"))
    }
}

/// The keys of which one opens the entrance of an actor that listens so: those that it was given,
/// or its family's, and those of single addresses.
pub(crate) fn entrance_keys(network: Option<&Network>, family: &AuthKey) -> Box<[AuthKey]> {
    let given = |keys: &[Secret]| keys.iter().map(|key| key.0.into()).collect::<Vec<_>>();
    let mut keys = network.map_or_else(Vec::new, |network| given(&network.keys));
    if keys.is_empty() {
        keys.push(family.clone());
    }
    let entries = network.map_or(&[][..], |network| &network.listen);
    keys.extend(entries.iter().flat_map(|entry| given(&entry.keys)));
    keys.into()
}

/// The keys of which one opens each place at which an actor listens so.
pub(crate) fn keys_of_doors(network: &Network, family: &AuthKey) -> Vec<Arc<[AuthKey]>> {
    let given = |keys: &[Secret]| keys.iter().map(|key| AuthKey::from(key.0)).collect();
    let usual: Arc<[_]> = match network.keys.as_slice() {
        [] => Arc::from([family.clone()]),
        keys => given(keys),
    };
    let keys = network.listen.iter().map(|entry| match &*entry.keys {
        [] => Arc::clone(&usual),
        keys => given(keys),
    });
    keys.collect()
}

/// What an actor's process has of its network before the actor is there.
pub(crate) struct Places {
    /// Each with the keys that open it.
    bound: Vec<(Bound, Arc<[AuthKey]>)>,
    addresses: Vec<Address>,
    /// What opens the entrance for the family.
    keys: Box<[AuthKey]>,
    limits: Limits,
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
        let texts = network.listen.iter().map(|entry| entry.address.clone());
        let texts: Vec<_> = texts.collect();
        let ports = network.listen.iter().map(|entry| entry.port);
        let places: Vec<_> = parse(&texts)?.into_iter().zip(ports).collect();
        let bound = bind(&places);
        let bound = bound.map_err(|(address, error)| refused(&address, &error))?;
        let port = bound.iter().find_map(|bound| bound.address().port());
        let advertised = parse(&network.advertise)?.into_iter();
        let mut addresses: Vec<_> = advertised.map(|address| address.or_port(port)).collect();
        if addresses.is_empty() {
            addresses = bound.iter().map(|bound| bound.address().clone()).collect();
        }
        let family = family_key::of_this_process();
        let family = family.map_err(|error| GreetRefusal::System(error.to_string()))?;
        let keys = keys_of_doors(network, &family);
        let connections_max = usize::try_from(network.connections_max);
        Ok(Self {
            bound: bound.into_iter().zip(keys).collect(),
            addresses,
            keys: entrance_keys(Some(network), &family),
            limits: Limits {
                connections_max: connections_max.unwrap_or(usize::MAX),
                blob_limit: network.blob_limit,
            },
        })
    }

    /// Where callers reach the actor.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Copies of the sockets, as many as are kept; none, if they are not to be had.
    pub(crate) fn copies(&self) -> Vec<OwnedFd> {
        let copies = self.bound.iter().take(SOCKETS_MAX);
        let copies = copies.map(|(bound, _)| bound.copy());
        copies.collect::<io::Result<_>>().unwrap_or_default()
    }

    /// What is left of them when the actor has ended.
    pub(crate) fn will(&self) -> Will {
        let mut sockets = Sockets::default();
        sockets.keep_doors(self.copies());
        Will {
            sockets,
            keys: self.keys.clone(),
            keys_of_doors: self
                .bound
                .iter()
                .map(|(_, keys)| Arc::clone(keys))
                .collect(),
        }
    }

    /// The ports, in the order in which the addresses were said; 0 of one that has none.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let bound = self.bound.iter();
        let ports = bound.map(|(bound, _)| bound.address().port().unwrap_or_default());
        ports.collect()
    }

    /// A door at these places, which opens once the actor is there.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn door(self, behind: Behind) -> io::Result<Door> {
        let door = Door::new(behind, (self.keys, self.addresses.into()), self.limits)?;
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
    /// Where a [supervised](crate::supervision) actor may listen at any port, its next life takes
    /// the one that the first has got, if that is still to be had: callers find it there again.
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

    /// Has the actor [listen](Self::listen) at a further address, with keys of its own: who comes
    /// there must have one of these, and [other keys](Self::authkey) of the actor open nothing
    /// there, nor these anything elsewhere. For an actor that several groups call who do not trust
    /// each other, or have different rights to get at the address.
    ///
    /// Several keys are for the time in which one of them is [changed](Self::or_authkey). A process
    /// of this program that gets a proxy of the actor [in a message](crate::Proxy#in-messages) may
    /// call it if it has any of the actor's keys.
    ///
    /// # Errors
    /// [`SpawnError::Listen`] when the address is none, or is not to be had, when there is no key,
    /// or are more than four for one address or 16 in all.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let partners = AuthKey::from_file("/etc/echo/partners")?;
    /// let staff = AuthKey::from_file("/etc/echo/staff")?;
    /// let echo = Echo::spawn()
    ///     .listen_with("tcp://0.0.0.0:7000", [&partners])
    ///     .listen_with("tcp://10.0.0.7:7001", [&staff])
    ///     .await?;
    /// # Ok(echo)
    /// # }
    /// ```
    pub fn listen_with<A, K>(mut self, address: A, keys: impl IntoIterator<Item = K>) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        K: Into<AuthKey>,
    {
        self.options.listening.listen_with(address, keys);
        self
    }

    /// What callers of other programs must have, wherever the address has no [key of its
    /// own](Self::listen_with). Default: the key of this program's [family](AuthKey::of_family),
    /// which the actors have that it starts and nobody else.
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

    /// How many callers of other programs the actor has at most that are connected to it. More are
    /// told to come again; who has not shown that they have the key takes nobody's place. Default:
    /// 1024. Those of this machine to whom its proxy came [in a message](crate::Proxy#in-messages)
    /// are counted apart, up to 1024 as well.
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

    /// How many bytes of [blobs](crate::Blob#over-a-network) may have come from one caller of
    /// another program that is connected, and be in use at the same time. What goes beyond it is an
    /// error of the call that it came with. Default: 4 GiB.
    ///
    /// It is the limit of each connection: with 16 [connections](Self::connections) the blobs of
    /// all of them take 16 times that at most.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start(key: AuthKey) -> callboard::Result<EchoProxy> {
    /// let echo = Echo::spawn().listen("tcp://[::]:7000").authkey(key);
    /// Ok(echo.connections(16).blob_limit(256 << 20).await?)
    /// # }
    /// ```
    pub fn blob_limit(mut self, bytes: u64) -> Self {
        self.options.listening.blob_limit = bytes;
        self
    }
}
