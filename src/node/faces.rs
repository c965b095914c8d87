//! The faces of an actor: the proxy of its type, those of its traits, and the one without a type.
//!
//! ```text
//!              offers                     live table of the actor
//!  CatProxy ───────────> FelineProxy      new, purr, zoo::Feline::greet, zoo::Feline::name
//!     │                       │                      found by name and signature, once
//!     └──> AnyProxy <─────────┘ ──downcast──> any of them
//! ```
//!
//! All faces of an actor share its link; each has a table of its own that says by which number the
//! actor knows a method.

use std::fmt;
use std::future::Future;

use super::handle::{Handle, Proxy};
use crate::actor::incoming::Incoming;
use crate::actor::replies::Answer;
use crate::sys::machine;
use crate::wire::chain::ActorKey;
use crate::wire::hello::{Mismatch, Tables};
use crate::wire::interface::Interface;

/// What a proxy's type stands for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the macros write it down")]
pub enum Face {
    /// Actors of one type.
    Actor(&'static Interface),
    /// Actors of any type that offer a trait.
    Trait(&'static Interface),
    /// Any actor.
    Any,
}

/// What `#[actor_trait]` writes for the proxy of a trait.
#[doc(hidden)]
pub trait TraitProxy: Proxy {
    /// The trait's methods, and those of its supertraits.
    const INTERFACE: Interface;
}

/// A proxy whose actor offers the trait of the proxy `T`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the actors of `{Self}` do not offer the trait of `{T}`",
    note = "name the trait in `#[actor(..)]`, or a supertrait in `#[actor_trait(..)]`"
)]
pub trait Offers<T>: Proxy {
    /// The number of the trait's first method.
    const FIRST: u16;
}

/// What `#[actor_trait]` writes for the proxy of a trait, too: how its methods run where an actor
/// `A` lives, by their places in the trait's table.
#[doc(hidden)]
pub trait Serves<A>: TraitProxy {
    /// Runs a method that takes `&self` and is not async.
    fn run_shared(actor: &A, place: u16, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&mut self` and is not async.
    fn run_exclusive(actor: &mut A, place: u16, call: Incoming<'_>) -> Answer;

    /// Runs a method that takes `&self` and is async.
    fn await_shared(actor: &A, place: u16, call: Incoming<'_>) -> impl Future<Output = Answer>;

    /// Runs a method that takes `&mut self` and is async.
    fn await_exclusive(
        actor: &mut A,
        place: u16,
        call: Incoming<'_>,
    ) -> impl Future<Output = Answer>;
}

/// The proxy of a trait for an actor that offers it.
#[doc(hidden)]
#[must_use]
pub fn as_trait<P: Offers<T>, T: TraitProxy>(proxy: &P) -> T {
    T::__from_handle(proxy.__handle().cast(const { &T::INTERFACE }))
}

/// The place of `method` among the methods of the trait of `T`, if it is one of them.
#[doc(hidden)]
#[inline]
#[must_use]
pub fn place_of<T: TraitProxy, P: Offers<T>>(method: u16) -> Option<u16> {
    let place = method.checked_sub(P::FIRST)?;
    let count = const { T::INTERFACE.methods.len() };
    (usize::from(place) < count).then_some(place)
}

/// Which actor a proxy calls: a small value for maps, logs and comparisons.
///
/// No other actor has it, as long as the process lives that started this one. All lives of a
/// [supervised](crate::supervision) actor have one. Whoever keeps it does not keep the actor.
///
/// # Examples
/// ```
/// use callboard::{ActorId, Proxy};
/// use std::collections::HashMap;
///
/// fn count(calls: &mut HashMap<ActorId, u64>, actor: &impl Proxy) {
///     *calls.entry(actor.id()).or_default() += 1;
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub(super) ActorKey);

/// The process that started it, and a count: `4711.2`; of an actor on another machine, that too:
/// `4711.2@9f86d081884c7d65`.
impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.bits();
        write!(f, "{}.{}", bits >> 32, bits & u64::from(u32::MAX))?;
        match self.0.machine() {
            here if here == machine::id() => Ok(()),
            there => write!(f, "@{there:016x}"),
        }
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorId({self})")
    }
}

/// The proxy of an actor whose type is not known: it knows identity, type name and method names.
///
/// For code over actors of many types, and for tools. Every proxy becomes one by `into()`, and
/// [`downcast`](Self::downcast) gives a typed one back. It keeps the actor alive as any proxy does.
/// With the feature `json` it has `invoke`, which calls a method by name.
///
/// # Examples
/// ```standalone_crate
/// use callboard::AnyProxy;
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
///     let any: AnyProxy = Counter::spawn().await?.into();
///     assert!(any.type_name().ends_with("::Counter"));
///     assert!(any.methods().eq(["add"]));
///     let counter = any.downcast::<CounterProxy>()?;
///     assert_eq!(counter.add(5).await?, 5);
///     counter.shutdown().await
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AnyProxy(Handle);

impl AnyProxy {
    /// The name of the actor's type on the wire: its path, unless `#[actor(name = "..")]` says
    /// otherwise.
    ///
    /// # Examples
    /// ```
    /// # use callboard::AnyProxy;
    /// fn is_clock(any: &AnyProxy) -> bool {
    ///     any.type_name() == "clocks::Clock"
    /// }
    /// ```
    #[must_use]
    pub fn type_name(&self) -> &str {
        self.0.tables().map_or("?", Tables::name)
    }

    /// The names of the actor's methods on the wire. Those of a trait bear the trait's name:
    /// `zoo::Feline::greet`.
    ///
    /// # Examples
    /// ```
    /// # use callboard::AnyProxy;
    /// fn can_greet(any: &AnyProxy) -> bool {
    ///     any.methods().any(|method| method == "zoo::Feline::greet")
    /// }
    /// ```
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        let tables = self.0.tables().into_iter();
        tables.flat_map(Tables::method_names)
    }

    /// The proxy of the actor's type, or of a trait that it offers.
    ///
    /// What counts is what the living actor offers: every method of `P`, with the same signature.
    ///
    /// # Errors
    /// [`DowncastError`] when the actor is of another type, or lacks or changed a method.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AnyProxy, DowncastError, Proxy};
    /// fn first_of<P: Proxy>(actors: &[AnyProxy]) -> Option<P> {
    ///     actors.iter().find_map(|actor| actor.downcast().ok())
    /// }
    /// ```
    pub fn downcast<P: Proxy>(&self) -> Result<P, DowncastError> {
        let interface = match P::__FACE {
            Face::Any => return Ok(P::__from_handle(self.0.clone())),
            Face::Trait(interface) => interface,
            Face::Actor(interface) if interface.full_name() == self.type_name() => interface,
            Face::Actor(interface) => {
                return Err(DowncastError::OtherActor {
                    expected: interface.full_name().into_owned(),
                    found: self.type_name().to_owned(),
                });
            }
        };
        let tables = self.0.tables();
        match tables.and_then(|tables| tables.first_mismatch(interface)) {
            None => Ok(P::__from_handle(self.0.cast(interface))),
            Some(mismatch) => Err(DowncastError::of(mismatch)),
        }
    }
}

impl Proxy for AnyProxy {
    const __FACE: Face = Face::Any;

    fn __from_handle(handle: Handle) -> Self {
        Self(handle)
    }

    fn __handle(&self) -> &Handle {
        &self.0
    }
}

impl fmt::Debug for AnyProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.debug("AnyProxy", f)
    }
}

impl fmt::Display for AnyProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An actor is not what a proxy's type stands for.
///
/// # Examples
/// ```
/// use callboard::DowncastError;
///
/// fn was_built_apart(error: &DowncastError) -> bool {
///     !matches!(error, DowncastError::OtherActor { .. })
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DowncastError {
    /// It is of another type.
    #[error("the actor is a `{found}` and no `{expected}`")]
    OtherActor {
        /// The type that was asked for, by its name on the wire.
        expected: String,
        /// The actor's.
        found: String,
    },
    /// It lacks a method: it does not offer the trait, or was built apart.
    #[error("the actor has no method `{method}`")]
    UnknownMethod {
        /// The method's name.
        method: &'static str,
    },
    /// It has another signature of a method: it was built apart.
    #[error("the actor has another signature of `{method}`")]
    Schema {
        /// The method's name.
        method: &'static str,
    },
}

impl DowncastError {
    pub(super) fn of((method, mismatch): (&'static str, Mismatch)) -> Self {
        match mismatch {
            Mismatch::Unknown => Self::UnknownMethod { method },
            Mismatch::Changed => Self::Schema { method },
        }
    }
}
