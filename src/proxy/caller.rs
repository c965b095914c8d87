//! The untyped half of a proxy: whom it calls, by which table, and for how long.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::exchange::Exchange;
use crate::wire::chain::ActorKey;
use crate::wire::hello::{Mismatch, Numbers, Tables};
use crate::wire::interface::Interface;

/// The untyped half of a proxy: makes calls on one actor. A clone calls the same actor, and costs
/// one count: each started call has one.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Called>);

/// Whom a caller calls.
struct Called {
    exchange: Arc<Exchange>,
    interface: &'static Interface,
    /// How the actor numbers the methods of `interface`.
    numbers: Numbers,
    /// What the actor offers, where its link does not tell.
    tables: Option<Arc<Tables>>,
    key: ActorKey,
    message_len_max: usize,
    bound: Bound,
    /// Where the link is served; for tasks of callers that are in no runtime themselves.
    runtime: Option<Handle>,
    /// Lives as long as anybody can still call.
    owner: Arc<dyn Any + Send + Sync>,
}

/// How long calls may take that say nothing themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// As long as is [usual](super::timer::set_default_timeout).
    Usual,
    Within(Duration),
    Endless,
}

impl Caller {
    /// Calls the actor `key` of `interface` over `exchange`, and keeps `owner` alive meanwhile.
    pub(crate) fn new(
        exchange: Arc<Exchange>,
        (interface, key): (&'static Interface, ActorKey),
        message_len_max: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self(Arc::new(Called {
            exchange,
            interface,
            numbers: Numbers::Same,
            tables: None,
            key,
            message_len_max,
            bound: Bound::Usual,
            runtime: Handle::try_current().ok(),
            owner,
        }))
    }

    /// The same caller of an actor whose link does not tell what it offers: `tables`.
    pub(crate) fn of(self, tables: Arc<Tables>) -> Self {
        let called = &*self.0;
        Self(Arc::new(Called {
            exchange: Arc::clone(&called.exchange),
            owner: Arc::clone(&called.owner),
            runtime: called.runtime.clone(),
            numbers: called.numbers.clone(),
            tables: Some(tables),
            ..*called
        }))
    }

    /// What the actor said that it offers.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        let told = self.0.tables.as_deref();
        told.or_else(|| self.exchange().tables())
    }

    /// Calls the same actor, with another bound.
    pub(crate) fn bounded(&self, bound: Bound) -> Self {
        let called = &*self.0;
        Self(Arc::new(Called {
            exchange: Arc::clone(&called.exchange),
            owner: Arc::clone(&called.owner),
            runtime: called.runtime.clone(),
            tables: called.tables.clone(),
            numbers: called.numbers.clone(),
            bound,
            ..*called
        }))
    }

    /// The same caller, counted apart from its clones.
    pub(crate) fn apart(&self) -> Self {
        self.bounded(self.bound())
    }

    /// Whether the other one is a clone of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there are clones of it: another proxy, or calls that are made by it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Runs a task in this thread's runtime, or in the link's if there is none.
    ///
    /// # Panics
    /// If there is neither.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match (Handle::try_current(), &self.0.runtime) {
            (Err(_), Some(runtime)) => runtime.spawn(task),
            _ => tokio::spawn(task),
        }
    }

    /// The link's runtime, if it was made in one.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        self.0.runtime.as_ref()
    }

    /// Calls the same actor by `interface`, as far as the actor offers that. Its methods are looked
    /// up here, once; a call costs what any call costs.
    pub(crate) fn cast(&self, interface: &'static Interface) -> Self {
        let tables = self.tables();
        let numbers = tables.map_or(Numbers::Same, |tables| tables.methods(interface));
        self.numbered(interface, numbers)
    }

    /// Calls the same actor by `interface`, whose methods it numbers so.
    fn numbered(&self, interface: &'static Interface, numbers: Numbers) -> Self {
        let called = &*self.0;
        Self(Arc::new(Called {
            exchange: Arc::clone(&called.exchange),
            owner: Arc::clone(&called.owner),
            runtime: called.runtime.clone(),
            tables: called.tables.clone(),
            interface,
            numbers,
            ..*called
        }))
    }

    /// Calls the part of the same actor that is called `path` there, by `interface`.
    pub(crate) fn within(&self, path: &str, interface: &'static Interface) -> Self {
        let tables = self.tables();
        let unknown = || Numbers::Mapped(Box::default());
        let numbers = tables.map_or_else(unknown, |tables| tables.methods_within(path, interface));
        self.numbered(interface, numbers)
    }

    /// Calls a part of the same actor, whose methods begin at number `first` of ours.
    pub(crate) fn part(&self, first: u16, interface: &'static Interface) -> Self {
        let numbers = self.0.numbers.part(first, interface.methods.len());
        self.numbered(interface, numbers)
    }

    /// The actor's name of our method, if it has that.
    pub(crate) fn their_name(&self, method: u16) -> Option<&str> {
        self.tables()?.method_name(self.theirs(method).ok()?)
    }

    /// Which part of its actor it calls, if it calls one: the number of the first method there.
    pub(crate) fn place(&self) -> Option<u16> {
        let ours = (0_u16..).take(self.interface().methods.len());
        ours.filter_map(|ours| self.theirs(ours).ok()).next()
    }

    /// The actor's number of our method.
    ///
    /// # Errors
    /// [`Mismatch`] when the actor lacks or changed it.
    #[inline]
    pub(super) fn theirs(&self, method: u16) -> Result<u16, Mismatch> {
        self.0.numbers.theirs(method)
    }

    #[inline]
    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.0.exchange
    }

    /// How long calls may take that say nothing themselves.
    #[inline]
    pub(super) fn bound(&self) -> Bound {
        self.0.bound
    }

    /// Which actor is called.
    pub(crate) fn key(&self) -> ActorKey {
        self.0.key
    }

    pub(crate) fn interface(&self) -> &'static Interface {
        self.0.interface
    }

    /// Whether `method` takes `&mut self`.
    pub(super) fn is_exclusive(&self, method: u16) -> bool {
        let method = self.interface().method(method);
        method.is_some_and(|method| method.exclusive)
    }

    /// The most bytes of an argument's or a result's archive.
    #[inline]
    pub(crate) fn message_len_max(&self) -> usize {
        self.0.message_len_max
    }

    /// The name of a method, for errors.
    pub(super) fn method_name(&self, method: u16) -> &'static str {
        self.interface()
            .method(method)
            .map_or("?", |method| method.name)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("actor", &self.interface().name)
            .field("exchange", self.exchange())
            .finish_non_exhaustive()
    }
}
