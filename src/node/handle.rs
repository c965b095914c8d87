//! A living actor in the hands of its owner.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::being::Being;
use super::census::Life;
use super::output::Tails;
use super::ward::Ward;
use crate::proxy::call::Call;
#[cfg(feature = "json")]
use crate::proxy::call::DecodeFailure;
use crate::proxy::exchange::{Exchange, Peer};
use crate::proxy::target::{Choose, Route, Target};
use crate::proxy::{Bound, Caller};
use crate::transport::address::Address;
use crate::transport::link_kind::LinkKind;
#[cfg(feature = "json")]
use crate::wire::codec::Buffer;
use crate::wire::codec::{Arguments, Message};
#[cfg(feature = "json")]
use crate::wire::frame::Kind;
use crate::wire::hello::Tables;
use crate::wire::interface::Interface;
#[cfg(feature = "json")]
use crate::wire::json::{Unread, Written};

pub use super::every_proxy::Proxy;

/// What keeps an actor alive: dropped with the last proxy and pending call, it ends the actor.
pub(crate) struct Owner {
    pub(crate) life: Life,
    pub(crate) tails: Tails,
    pub(crate) link: LinkKind,
    /// Where others reach it; known once it has greeted.
    pub(crate) addresses: OnceLock<Box<[Address]>>,
}

impl Owner {
    /// Of an actor that only this program reaches, as far as is known.
    pub(crate) fn new(life: Life, tails: Tails, link: LinkKind) -> Self {
        Self {
            life,
            tails,
            link,
            addresses: OnceLock::new(),
        }
    }

    /// Others reach it here, as it has said. Once.
    pub(super) fn set_addresses(&self, said: &[String]) {
        let addresses = said.iter().flat_map(|address| address.parse());
        let _ = self.addresses.set(addresses.collect());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.life.being.is_kept() {
            self.life.ask_to_stop();
        }
    }
}

impl Peer for Ward {
    fn stands_still(&self) -> bool {
        self.is_stopped()
    }
}

/// The untyped proxy inside a generated one.
#[doc(hidden)]
#[derive(Clone)]
pub struct Handle {
    caller: Caller,
    owner: Arc<Owner>,
    /// Of a proxy for several actors: the way to one of them.
    route: Option<Arc<Route>>,
}

impl Handle {
    pub(crate) fn new(caller: Caller, owner: Arc<Owner>) -> Self {
        Self {
            caller,
            owner,
            route: None,
        }
    }

    /// A handle whose calls go to one of several actors, which live and end as `being` says, and
    /// have in common what `first` knows.
    pub(crate) fn of_many(first: &Self, being: Being, choose: Arc<dyn Choose>) -> Self {
        let Owner { life, link, .. } = &*first.owner;
        let life = Life {
            being,
            ..life.clone()
        };
        let owner = Arc::new(Owner::new(life, Tails::default(), *link));
        let caller = first.caller.apart();
        let route = Route::new(caller.clone(), choose, Arc::clone(&owner) as _);
        Self {
            route: Some(Arc::new(route)),
            ..Self::new(caller, owner)
        }
    }

    /// A handle of an actor whose link is chosen when it is used; `caller` knows what it offers.
    pub(crate) fn to_one(caller: Caller, owner: Arc<Owner>, choose: Arc<dyn Choose>) -> Self {
        let route = Route::to_one(caller.clone(), choose, Arc::clone(&owner) as _);
        Self {
            route: Some(Arc::new(route)),
            ..Self::new(caller, owner)
        }
    }

    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn life(&self) -> &Life {
        &self.owner.life
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn bounded(&self, bound: Bound) -> Self {
        Self {
            caller: self.caller.bounded(bound),
            owner: Arc::clone(&self.owner),
            route: self
                .route
                .as_ref()
                .map(|route| Arc::new(route.bounded(bound))),
        }
    }

    /// Whom a call goes to.
    #[inline]
    pub(super) fn target(&self) -> Target<'_> {
        match &self.route {
            None => self.caller.target(),
            Some(route) => Target::Open(route),
        }
    }

    /// Who has the next call that is made by this handle: of several, the one that is chosen.
    pub(crate) fn chosen(&self) -> Caller {
        match &self.route {
            None => self.caller.clone(),
            Some(route) => route.choose(),
        }
    }

    /// A call of a method without errors of its own.
    #[inline]
    pub fn call<Args: Arguments, T: Message>(&self, method: u16, args: Args) -> Call<'_, Args, T> {
        self.target().call(method, args)
    }

    /// A call of a method whose own error is an `E`.
    #[inline]
    pub fn call_fallible<Args: Arguments, T: Message, E: Message>(
        &self,
        method: u16,
        args: Args,
    ) -> Call<'_, Args, T, E> {
        self.target().call_fallible(method, args)
    }

    /// A call whose arguments are an archive already, and whose result stays one.
    #[cfg(feature = "json")]
    pub(crate) fn call_archived<E>(
        &self,
        method: u16,
        archive: Buffer,
        failure: DecodeFailure<E>,
    ) -> Call<'_, Written, Unread, E> {
        let args = Written(archive);
        self.target().call_as(Kind::Call, method, args, failure)
    }

    /// The longest message in bytes.
    #[cfg(feature = "json")]
    pub(crate) fn message_len_max(&self) -> usize {
        self.caller.message_len_max()
    }

    /// The same actor's handle by another interface, as far as the actor offers that.
    #[must_use]
    pub fn cast(&self, interface: &'static Interface) -> Self {
        let route = self.route.as_ref();
        Self {
            caller: self.caller.cast(interface),
            owner: Arc::clone(&self.owner),
            route: route.map(|route| Arc::new(route.cast(interface))),
        }
    }

    /// A handle of a part of the actor, whose methods begin at number `first` of this interface.
    #[must_use]
    pub fn part(&self, first: u16, interface: &'static Interface) -> Self {
        let route = self.route.as_ref();
        Self {
            caller: self.caller.part(first, interface),
            owner: Arc::clone(&self.owner),
            route: route.map(|route| Arc::new(route.part(first, interface))),
        }
    }

    /// A handle of the part of the actor that is called `path` there, whose methods are those of
    /// `interface`.
    pub(super) fn within(&self, path: &str, interface: &'static Interface) -> Self {
        let route = self.route.as_ref();
        Self {
            caller: self.caller.within(path, interface),
            owner: Arc::clone(&self.owner),
            route: route.map(|route| Arc::new(route.within(path, interface))),
        }
    }

    /// Whether both call one part of one actor, where both are of the part's type.
    #[must_use]
    pub fn is_same_part(&self, other: &Self) -> bool {
        self == other && self.caller.place() == other.caller.place()
    }

    /// What the actor said that it offers.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.caller.tables()
    }

    /// What a proxy called `name` says of itself to programmers.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("actor", &self.tables().map_or("?", Tables::name))
            .field("process", &self.owner.life.being.pid())
            .finish()
    }

    pub(super) fn addresses(&self) -> &[Address] {
        self.owner.addresses.get().map_or(&[], |known| &**known)
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        self.caller.exchange()
    }

    pub(crate) fn ask_to_stop(&self) {
        self.owner.life.ask_to_stop();
    }

    /// The time that it has to end.
    pub(crate) fn grace(&self) -> Duration {
        self.owner.life.grace
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug("Handle", f)
    }
}

/// What a proxy says of itself to users: type and process.
impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.tables().map_or("?", Tables::name);
        write!(f, "{name} in process {}", self.owner.life.being.pid())?;
        match (self.owner.link, self.addresses()) {
            (LinkKind::Network, [address, ..]) => write!(f, " at {address}"),
            _ => Ok(()),
        }
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Self) -> bool {
        self.caller.key() == other.caller.key()
    }
}

impl Eq for Handle {}

impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.caller.key().hash(state);
    }
}
