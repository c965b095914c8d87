//! A callback: one method of one actor, as a value.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use rkyv::rancor::{Fallible, Source};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::far::Far;
use super::value::Serializes;
use crate::node::faces::AnyProxy;
use crate::node::handle::{Handle, Proxy as _};
use crate::proxy::call::{Call, DecodeFailure};
use crate::wire::codec::{self, Message};
use crate::wire::frame::Kind;
use crate::wire::interface::{Interface, Method};
use crate::wire::passport::Passport;

/// How many methods of programs are remembered by name: more than any program calls.
const NAMES_MAX: usize = 4096;

/// The longest name of a method that travels in a callback, in bytes: so that all that is
/// remembered has a bound. Nobody writes one by hand, with that of its trait, that is as long.
const NAME_LEN_MAX: usize = 1024;

/// One method of one actor, as a value: what a proxy is for all of its methods.
///
/// Every proxy makes them, by `proxy.callback().method()`. Like the proxy it is a
/// [message](Message): it travels in arguments, results, one's own types and collections, and who
/// gets it [calls](Self::call) the actor directly, whoever handed it on; what is said of proxies
/// [in messages](crate::Proxy#in-messages) holds for it, too. It knows no more of the actor than
/// that one method: for "tell me when it is done", "ask him for the price".
///
/// `Args` is what the method takes: nothing `()`, one argument its type, several a tuple of them;
/// of what is borrowed the owned type, `String` for `&str`. `T` is what it returns. Of a method
/// that returns `Result<T, E>` it is a `Callback<Args, T, Fails<E>>`.
///
/// Methods that return or take streams have none, and neither has an actor whose own method is
/// called `callback`. Like each call, one of a method that the actor's program has with another
/// signature, or not at all, fails with [`CallError::Schema`](crate::CallError::Schema) or
/// [`CallError::UnknownMethod`](crate::CallError::UnknownMethod).
///
/// # Examples
/// ```standalone_crate
/// use callboard::Callback;
/// use callboard::prelude::*;
///
/// pub struct Pinger;
///
/// #[actor]
/// impl Pinger {
///     pub fn new() -> Self { Self }
///     pub async fn send(&self, target: Callback<String, String>) -> String {
///         target.call("ping".into()).await.expect("it answers")
///     }
/// }
///
/// pub struct Ponger;
///
/// #[actor]
/// impl Ponger {
///     pub fn new() -> Self { Self }
///     pub fn receive(&self, message: String) -> String { format!("{message}, pong") }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let (a, b) = (Pinger::spawn().await?, Ponger::spawn().await?);
///     let target: Callback<String, String> = b.callback().receive();
///     assert_eq!(a.send(target).await?, "ping, pong");
///     Ok(())
/// }
/// ```
pub struct Callback<Args, T, K = Infallible> {
    handle: Handle,
    method: &'static Method,
    kind: PhantomData<fn(Args) -> (T, K)>,
}

/// Marks a [`Callback`] of a method whose own error is an `E`.
///
/// # Examples
/// ```
/// use callboard::{CallError, Callback, Fails};
///
/// async fn parse(parser: &Callback<String, u64, Fails<String>>) -> Option<u64> {
///     match parser.call("seven".into()).await {
///         Err(CallError::Actor(reason)) => { println!("{reason}"); None }
///         other => other.ok(),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Fails<E>(PhantomData<fn() -> E>, Infallible);

/// What errors a callback's method has of its own: [`Infallible`] none, [`Fails<E>`](Fails) an `E`.
///
/// # Examples
/// ```
/// use callboard::{CallError, Callback, Message, OwnErrors};
///
/// async fn ring<K: OwnErrors>(bell: &Callback<(), u32, K>) -> Result<u32, CallError<K::Error>> {
///     bell.call(()).await
/// }
/// ```
pub trait OwnErrors: 'static {
    /// The error.
    type Error: Send + 'static;

    #[doc(hidden)]
    const __DECODE: DecodeFailure<Self::Error>;
}

impl OwnErrors for Infallible {
    type Error = Self;
    // Never sent: a method without errors has no failures.
    const __DECODE: DecodeFailure<Self> = codec::unexpected;
}

impl<E: Message> OwnErrors for Fails<E> {
    type Error = E;
    const __DECODE: DecodeFailure<E> = codec::decode::<E>;
}

impl<Args, T, K> Callback<Args, T, K> {
    fn of(handle: &Handle, method: &'static Interface) -> Self {
        Self {
            handle: handle.cast(method),
            method: &method.methods[0],
            kind: PhantomData,
        }
    }

    /// The method's name on the wire; that of a trait's method begins with the trait's.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Callback;
    /// fn describe(callback: &Callback<u64, u64>) -> String {
    ///     format!("{} of {}", callback.method(), callback.actor())
    /// }
    /// ```
    #[must_use]
    pub fn method(&self) -> &str {
        self.method.name
    }

    /// The actor whose method it is.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Callback, Proxy};
    /// fn is_worth_a_call(callback: &Callback<String, ()>) -> bool {
    ///     callback.actor().is_alive()
    /// }
    /// ```
    #[must_use]
    pub fn actor(&self) -> AnyProxy {
        AnyProxy::__from_handle(self.handle.clone())
    }
}

impl<Args: Message, T: Message, K: OwnErrors> Callback<Args, T, K> {
    /// Calls the method, as a proxy's does: await it, [tell](Call::tell) it, [start](Call::start)
    /// it, give it a [bound](Call::timeout).
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, Callback};
    /// async fn tell_all(listeners: &[Callback<String, ()>], news: &str) -> Result<(), CallError> {
    ///     for listener in listeners {
    ///         listener.call(news.to_owned()).tell().await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn call(&self, args: Args) -> Call<'_, Args, T, K::Error> {
        self.handle
            .target()
            .call_as(Kind::Call, 0, args, K::__DECODE)
    }
}

impl Handle {
    /// The method with number `method` of this interface, as a value.
    #[must_use]
    pub fn callback<Args, T, K>(&self, method: u16) -> Callback<Args, T, K> {
        let interface = self.caller().interface();
        let method = interface.method(method);
        let Method {
            name,
            signature,
            exclusive,
            ..
        } = method.unwrap_or(const { &Method::new("?", 0) });
        Callback::of(self, alone(name, *signature, *exclusive))
    }
}

/// The interface of a method too many.
static NAMELESS: Interface = Interface::alone(const { &[Method::new("?", 0)] });

/// The interfaces of one method each, by its name, signature and whether it runs alone.
type Alone = HashMap<(String, u64, bool), &'static Interface>;

/// An interface of one method alone. Each is kept as long as the process lives; of more than there
/// are in any program, only the signature.
fn alone(name: &str, signature: u64, exclusive: bool) -> &'static Interface {
    static ALONE: Mutex<Option<Alone>> = Mutex::new(None);
    let mut alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let alone = alone.get_or_insert_default();
    let key = (name.to_owned(), signature, exclusive);
    if let Some(known) = alone.get(&key) {
        return known;
    }
    if alone.len() >= NAMES_MAX {
        tracing::warn!(name, "a callback of one method too many");
        return &NAMELESS;
    }
    let method = Method::new(String::leak(name.to_owned()), signature);
    let method = if exclusive {
        method.exclusive()
    } else {
        method
    };
    let made: &'static Interface = Box::leak(Box::new(Interface::alone(Vec::leak(vec![method]))));
    alone.insert(key, made);
    made
}

impl<Args, T, K> Clone for Callback<Args, T, K> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            ..*self
        }
    }
}

/// Two are equal if they call the same method of the same actor.
impl<Args, T, K> PartialEq for Callback<Args, T, K> {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle && self.method.name == other.method.name
    }
}

impl<Args, T, K> Eq for Callback<Args, T, K> {}

impl<Args, T, K> Hash for Callback<Args, T, K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.handle, self.method.name).hash(state);
    }
}

impl<Args, T, K> fmt::Debug for Callback<Args, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("method", &self.method.name)
            .field("actor", &self.handle)
            .finish()
    }
}

/// A callback that does not travel.
#[derive(Debug, thiserror::Error)]
#[error("a callback's method has a name of {0} bytes, and {NAME_LEN_MAX} are enough")]
struct NameTooLong(usize);

fn check(name: &str) -> Result<(), NameTooLong> {
    let is_short = name.len() <= NAME_LEN_MAX;
    is_short.then_some(()).ok_or(NameTooLong(name.len()))
}

/// What of a callback travels.
#[doc(hidden)]
#[derive(Archive, Serialize, Deserialize, Clone, Debug)]
#[rkyv(
    archived = ArchivedCallback,
    resolver = CardResolver,
    attr(
        doc = "What a message says of a [`Callback`] in it. Deserialised it is the callback.",
        derive(Debug)
    )
)]
pub struct Card {
    passport: Passport,
    method: String,
    signature: u64,
    exclusive: bool,
}

/// What is known between the two steps of archiving a callback.
#[doc(hidden)]
#[derive(Debug)]
pub struct CallbackResolver(Card, CardResolver);

impl fmt::Debug for CardResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CardResolver").finish_non_exhaustive()
    }
}

impl<Args, T, K> Archive for Callback<Args, T, K> {
    type Archived = ArchivedCallback;
    type Resolver = CallbackResolver;

    fn resolve(&self, resolver: CallbackResolver, out: Place<ArchivedCallback>) {
        resolver.0.resolve(resolver.1, out);
    }
}

impl<Args, T, K, S: Serializes + ?Sized> Serialize<S> for Callback<Args, T, K> {
    fn serialize(&self, serializer: &mut S) -> Result<CallbackResolver, S::Error> {
        check(self.method.name).map_err(S::Error::new)?;
        let card = Card {
            passport: self.handle.passport().map_err(S::Error::new)?,
            method: self.method.name.to_owned(),
            signature: self.method.signature,
            exclusive: self.method.exclusive,
        };
        let resolver = card.serialize(serializer)?;
        Ok(CallbackResolver(card, resolver))
    }
}

impl<Args, T, K, D> Deserialize<Callback<Args, T, K>, D> for ArchivedCallback
where
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, deserializer: &mut D) -> Result<Callback<Args, T, K>, D::Error> {
        // Before anything of it is copied or kept.
        check(&self.method).map_err(D::Error::new)?;
        let card: Card = Deserialize::<Card, D>::deserialize(self, deserializer)?;
        let method = alone(&card.method, card.signature, card.exclusive);
        Ok(Callback::of(&Far::handle(card.passport), method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hello::Tables;

    /// What a peer says of a callback whose method has a name of so many bytes.
    fn told(name_len: usize) -> Vec<u8> {
        let card = Card {
            passport: Passport {
                machine: 1,
                key: 2,
                pid: 3,
                tables: Tables::of(&Interface::NONE),
                home: None,
                addresses: Vec::new(),
            },
            method: "m".repeat(name_len),
            signature: 4,
            exclusive: false,
        };
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&card);
        bytes.expect("there is memory").to_vec()
    }

    /// Of what peers tell, no name is kept that is longer than any method's: the message that it
    /// came in is refused, with the reason.
    #[tokio::test]
    async fn long_names_are_refused() {
        let known = codec::decode::<Callback<u64, u64>>(&told(NAME_LEN_MAX)).unwrap();
        assert_eq!(known.method().len(), NAME_LEN_MAX);
        let refused = codec::decode::<Callback<u64, u64>>(&told(NAME_LEN_MAX + 1)).unwrap_err();
        let cause = std::error::Error::source(&refused).expect("there is one");
        assert_eq!(
            cause.to_string(),
            "a callback's method has a name of 1025 bytes, and 1024 are enough"
        );
    }
}
