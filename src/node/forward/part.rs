//! A part's proxy in a message: the passport of its actor, and the part's name there.

use rkyv::rancor::{Fallible, Source};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::HandOnError;
use super::far::Far;
use super::value::Serializes;
use crate::node::faces::DowncastError;
use crate::node::handle::Handle;
use crate::node::part::PartProxy;
use crate::wire::interface::Interface;
use crate::wire::passport::Passport;

/// What of a part's proxy travels.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Clone, Debug)]
#[rkyv(
    archived = ArchivedPartCard,
    resolver = PartCardResolver,
    attr(
        doc = "What a message says of a part's proxy in it. Deserialised it is the proxy.",
        derive(Debug)
    )
)]
pub struct PartCard {
    passport: Passport,
    /// The part's name in the actor; of a part of a part, with the other one's before it.
    path: String,
}

/// What is known between the two steps of archiving a part's proxy.
#[doc(hidden)]
#[derive(Debug)]
pub struct PartProxyResolver(PartCard, PartCardResolver);

impl std::fmt::Debug for PartCardResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartCardResolver").finish_non_exhaustive()
    }
}

impl PartProxyResolver {
    /// Puts it in its place.
    pub fn resolve(self, out: Place<ArchivedPartCard>) {
        self.0.resolve(self.1, out);
    }
}

impl Handle {
    /// Archives what of a part's proxy travels.
    ///
    /// # Errors
    /// It cannot be handed on; the serializer's.
    pub fn serialize_part<P, S>(&self, serializer: &mut S) -> Result<PartProxyResolver, S::Error>
    where
        P: PartProxy,
        S: Serializes + ?Sized,
    {
        let card = PartCard {
            passport: self.passport().map_err(S::Error::new)?,
            path: self.path::<P>().map_err(S::Error::new)?,
        };
        let resolver = card.serialize(serializer)?;
        Ok(PartProxyResolver(card, resolver))
    }

    /// The name of the part in its actor: what the actor's name of a method has before ours.
    ///
    /// # Errors
    /// [`HandOnError::NoPart`].
    fn path<P: PartProxy>(&self) -> Result<String, HandOnError> {
        let mut methods = (0_u16..).zip(P::METHODS);
        let path = methods.find_map(|(number, method)| {
            let theirs = self.caller().their_name(number)?;
            let path = theirs.strip_suffix(method.name)?.strip_suffix('.')?;
            Some(path.to_owned())
        });
        match path {
            // Nothing can be called there, wherever it is.
            None if P::METHODS.is_empty() => Ok(String::new()),
            None => Err(HandOnError::NoPart),
            Some(path) => Ok(path),
        }
    }
}

impl<P: PartProxy, D> Deserialize<P, D> for ArchivedPartCard
where
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, deserializer: &mut D) -> Result<P, D::Error> {
        let card: PartCard = Deserialize::<PartCard, D>::deserialize(self, deserializer)?;
        let interface = const { &Interface::alone(P::METHODS) };
        // Single methods that it lacks are errors of their calls; without any it is another thing.
        let numbers = card.passport.tables.methods_within(&card.path, interface);
        let all = (0_u16..).zip(interface.methods);
        let found = all.map(|(number, method)| (method, numbers.theirs(number)));
        let mut lacking = found.clone().filter(|(_, found)| found.is_err());
        if let Some((method, Err(mismatch))) = lacking.next()
            && found.clone().all(|(_, found)| found.is_err())
        {
            let error = DowncastError::of((method.name, mismatch));
            return Err(D::Error::new(error));
        }
        let handle = Far::handle(card.passport);
        Ok(P::from_handle(handle.within(&card.path, interface)))
    }
}
