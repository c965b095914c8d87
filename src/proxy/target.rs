//! Whom a call is made on: one actor, or one of several that is chosen when the call is sent.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::call::Call;
use super::caller::{Bound, Caller};
use crate::wire::codec::{self, Arguments, Message};
use crate::wire::frame::Kind;
use crate::wire::interface::Interface;

/// Chooses among actors.
pub(crate) trait Choose: Send + Sync {
    /// The one for the next call; none: nobody is left.
    fn choose(&self) -> Option<Caller>;
}

/// The way to one of several actors.
#[derive(Clone)]
pub(crate) struct Route {
    /// Knows what all of them have in common; called if nobody is left, so that its end is told.
    face: Caller,
    choose: Arc<dyn Choose>,
    /// By which interface they are called, if not by their own.
    cast: Option<&'static Interface>,
}

impl Route {
    pub(crate) fn new(face: Caller, choose: Arc<dyn Choose>) -> Self {
        Self {
            face,
            choose,
            cast: None,
        }
    }

    /// The same way, with another bound for calls that say nothing themselves.
    pub(crate) fn bounded(&self, bound: Bound) -> Self {
        Self {
            face: self.face.bounded(bound),
            ..self.clone()
        }
    }

    /// The same way to the same actors by `interface`.
    pub(crate) fn cast(&self, interface: &'static Interface) -> Self {
        Self {
            face: self.face.cast(interface),
            cast: Some(interface),
            ..self.clone()
        }
    }

    fn choose(&self) -> Caller {
        match (self.choose.choose(), self.cast) {
            (None, _) => self.face.clone(),
            (Some(chosen), None) => chosen,
            (Some(chosen), Some(interface)) => chosen.cast(interface),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

/// Whom a call is made on. What it gives before the choice holds for all that may be chosen.
#[derive(Clone)]
pub(crate) enum Target<'a> {
    Fixed(&'a Caller),
    Open(&'a Route),
    Chosen(Caller),
}

impl Caller {
    /// Calls are made on this one.
    #[inline]
    pub(crate) fn target(&self) -> Target<'_> {
        Target::Fixed(self)
    }
}

impl<'a> Target<'a> {
    /// A call of `method` that has no error of its own.
    #[inline]
    pub(crate) fn call<Args: Arguments, T: Message>(
        self,
        method: u16,
        args: Args,
    ) -> Call<'a, Args, T> {
        // Never sent: a method without errors has no failures.
        self.call_as(Kind::Call, method, args, codec::unexpected)
    }

    /// A call of `method` whose own error is an `E`.
    #[inline]
    pub(crate) fn call_fallible<Args: Arguments, T: Message, E: Message>(
        self,
        method: u16,
        args: Args,
    ) -> Call<'a, Args, T, E> {
        self.call_as(Kind::Call, method, args, codec::decode::<E>)
    }

    /// Chooses, if that is still to be done.
    #[inline]
    pub(super) fn settle(&mut self) {
        if let Self::Open(route) = self {
            *self = Self::Chosen(route.choose());
        }
    }
}

impl Deref for Target<'_> {
    type Target = Caller;

    #[inline]
    fn deref(&self) -> &Caller {
        match self {
            Self::Fixed(caller) => caller,
            Self::Open(route) => &route.face,
            Self::Chosen(caller) => caller,
        }
    }
}
