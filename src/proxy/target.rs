//! Whom a call is made on: one actor, or one of several that is chosen when the call is sent.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Lives as long as anybody can still call this way.
    _owner: Arc<dyn Any + Send + Sync>,
    /// By which interface they are called, if not by their own.
    cast: Option<Cast>,
    /// Which part of them is called, if not the whole: where its methods begin, and they.
    part: Option<(u16, &'static Interface)>,
    /// Of the way to one that is mostly the same: who was chosen last, as it is called.
    last: Option<Arc<Last>>,
}

/// An interface by which actors are called.
#[derive(Clone)]
struct Cast {
    interface: &'static Interface,
    /// That of the part of this name in them.
    within: Option<Arc<str>>,
}

/// Who was chosen, and how it is called by this route.
type Last = Mutex<Option<(Caller, Caller)>>;

impl Route {
    /// The way to one of those among whom `choose` chooses, which keeps `owner` alive.
    pub(crate) fn new(
        face: Caller,
        choose: Arc<dyn Choose>,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            face,
            choose,
            _owner: owner,
            cast: None,
            part: None,
            last: None,
        }
    }

    /// The way to one actor, whose link may be another one after a while.
    pub(crate) fn to_one(
        face: Caller,
        choose: Arc<dyn Choose>,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            last: Some(Arc::default()),
            ..Self::new(face, choose, owner)
        }
    }

    /// For another face of those whom this is the way to.
    fn no_last(&self) -> Option<Arc<Last>> {
        self.last.as_ref().map(|_| Arc::default())
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
            cast: Some(Cast {
                interface,
                within: None,
            }),
            last: self.no_last(),
            ..self.clone()
        }
    }

    /// The same way to the part of the same actors that is called `path` there, by `interface`.
    pub(crate) fn within(&self, path: &str, interface: &'static Interface) -> Self {
        Self {
            face: self.face.within(path, interface),
            cast: Some(Cast {
                interface,
                within: Some(path.into()),
            }),
            last: self.no_last(),
            ..self.clone()
        }
    }

    /// The same way to a part of the same actors, whose methods begin at number `first` of ours.
    pub(crate) fn part(&self, first: u16, interface: &'static Interface) -> Self {
        let before = self.part.map_or(0, |(before, _)| before);
        Self {
            face: self.face.part(first, interface),
            part: Some((before + first, interface)),
            last: self.no_last(),
            ..self.clone()
        }
    }

    /// The one for the next call.
    pub(crate) fn choose(&self) -> Caller {
        let Some(chosen) = self.choose.choose() else {
            return self.face.clone();
        };
        let Some(last) = &self.last else {
            return self.turned(chosen);
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, turned)) = &*last
            && known.is_same(&chosen)
        {
            return turned.clone();
        }
        let turned = self.turned(chosen.clone());
        *last = Some((chosen, turned.clone()));
        turned
    }

    /// The one that was chosen, as it is called by this route.
    fn turned(&self, mut chosen: Caller) -> Caller {
        chosen = match &self.cast {
            None => chosen,
            Some(Cast {
                interface,
                within: None,
            }) => chosen.cast(interface),
            Some(Cast {
                interface,
                within: Some(path),
            }) => chosen.within(path, interface),
        };
        if let Some((first, interface)) = self.part {
            chosen = chosen.part(first, interface);
        }
        chosen
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
    /// The same, of a call that borrows nothing: it keeps those alive among whom is chosen.
    Kept(Box<Kept>),
    Chosen(Caller),
}

/// A way of its own, and who was chosen.
#[derive(Clone)]
pub(crate) struct Kept {
    route: Route,
    chosen: Option<Caller>,
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
        match self {
            Self::Fixed(_) | Self::Chosen(_) => {}
            Self::Open(route) => *self = Self::Chosen(route.choose()),
            Self::Kept(kept) => {
                kept.chosen.get_or_insert_with(|| kept.route.choose());
            }
        }
    }

    /// The same, and nothing of it is borrowed.
    pub(super) fn owned(&self) -> Target<'static> {
        match self {
            Self::Fixed(caller) => Target::Chosen(Caller::clone(caller)),
            Self::Open(route) => Target::Kept(Box::new(Kept {
                route: Route::clone(route),
                chosen: None,
            })),
            Self::Kept(kept) => Target::Kept(kept.clone()),
            Self::Chosen(caller) => Target::Chosen(caller.clone()),
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
            Self::Kept(kept) => kept.chosen.as_ref().unwrap_or(&kept.route.face),
            Self::Chosen(caller) => caller,
        }
    }
}
