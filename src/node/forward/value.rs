//! A proxy in a message: its archive is a passport.

use rkyv::rancor::{Fallible, Source};
use rkyv::ser::{Allocator, Writer};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::far::Far;
use crate::node::faces::{AnyProxy, DowncastError, Face};
use crate::node::handle::{Handle, Proxy};
use crate::wire::hello::Tables;
use crate::wire::passport::{ArchivedPassport, Passport, PassportResolver};

/// What is known between the two steps of archiving a proxy.
#[doc(hidden)]
pub struct ProxyResolver {
    passport: Passport,
    resolver: PassportResolver,
}

impl std::fmt::Debug for ProxyResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyResolver").finish_non_exhaustive()
    }
}

/// What writes archives, and can say why not.
#[doc(hidden)]
pub trait Serializes: Fallible<Error: Source> + Allocator + Writer {}

impl<S: Fallible<Error: Source> + Allocator + Writer + ?Sized> Serializes for S {}

impl Handle {
    /// Archives what of the proxy travels.
    ///
    /// # Errors
    /// It cannot be handed on; the serializer's.
    pub fn serialize<S>(&self, serializer: &mut S) -> Result<ProxyResolver, S::Error>
    where
        S: Serializes + ?Sized,
    {
        let passport = self.passport().map_err(S::Error::new)?;
        let resolver = passport.serialize(serializer)?;
        Ok(ProxyResolver { passport, resolver })
    }
}

impl ProxyResolver {
    /// Puts it in its place.
    pub fn resolve(self, out: Place<ArchivedPassport>) {
        self.passport.resolve(self.resolver, out);
    }
}

impl Archive for AnyProxy {
    type Archived = ArchivedPassport;
    type Resolver = ProxyResolver;

    fn resolve(&self, resolver: ProxyResolver, out: Place<ArchivedPassport>) {
        resolver.resolve(out);
    }
}

impl<S: Serializes + ?Sized> Serialize<S> for AnyProxy {
    fn serialize(&self, serializer: &mut S) -> Result<ProxyResolver, S::Error> {
        self.__handle().serialize(serializer)
    }
}

impl<P: Proxy, D: Fallible<Error: Source> + ?Sized> Deserialize<P, D> for ArchivedPassport {
    fn deserialize(&self, deserializer: &mut D) -> Result<P, D::Error> {
        let passport: Passport = Deserialize::<Passport, D>::deserialize(self, deserializer)?;
        check::<P>(&passport.tables).map_err(D::Error::new)?;
        let handle = Far::handle(passport);
        Ok(match P::__FACE {
            Face::Any => P::__from_handle(handle),
            Face::Actor(interface) | Face::Trait(interface) => {
                P::__from_handle(handle.cast(interface))
            }
        })
    }
}

/// Whether the actor is what the proxy's type stands for. Single methods that an actor of this type
/// lacks are errors of their calls.
fn check<P: Proxy>(tables: &Tables) -> Result<(), DowncastError> {
    match P::__FACE {
        Face::Any => Ok(()),
        Face::Actor(interface) if interface.full_name() == tables.name() => Ok(()),
        Face::Actor(interface) => Err(DowncastError::OtherActor {
            expected: interface.full_name().into_owned(),
            found: tables.name().to_owned(),
        }),
        Face::Trait(interface) => tables
            .first_mismatch(interface)
            .map_or(Ok(()), |mismatch| Err(DowncastError::of(mismatch))),
    }
}
