//! Arguments that a call borrows instead of owning. Pure.
//!
//! What is lent has the archive of what would be owned, byte for byte: `&str` that of `String`,
//! `&[u8]` that of `Vec<u8>`, `&T` that of `T`. So the two sides need not agree on who owns what.

use std::fmt;
use std::sync::Arc;

use rkyv::rancor::{Error as Cause, Source as _};
use rkyv::ser::Writer;
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Archived, Place, Serialize};

use super::attached::{Attached, attach};
use super::codec::{self, Arguments, Buffer, EncodeError, Encoder, Message};

/// An argument that a call borrows until it is sent: what a proxy's method makes of `&str`,
/// `&[u8]`, and of the `&T` that stands for `&Archived<T>`.
///
/// It is met in the types of calls that are handed on. The borrow lives in the [`Call`], and ends
/// with it, or when the call is [started](crate::Call::start): then its message is written.
///
/// [`Call`]: crate::Call
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::{Call, Lent};
///
/// pub struct Greeter;
///
/// #[actor]
/// impl Greeter {
///     pub fn new() -> Self { Self }
///     pub fn greet(&self, name: &str) -> String { format!("hello, {name}") }
/// }
///
/// fn announced<'a>(
///     call: Call<'a, (Lent<'a, str>,), String>,
/// ) -> Call<'a, (Lent<'a, str>,), String> {
///     println!("{call:?}");
///     call
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let greeter = Greeter::spawn().await?;
///     let name = String::from("you");
///     assert_eq!(announced(greeter.greet(&name)).await?, "hello, you");
///     greeter.shutdown().await
/// }
/// ```
pub struct Lent<'a, T: ?Sized>(&'a T);

impl<'a, T: ?Sized> Lent<'a, T> {
    /// Lends `value` to a call.
    #[doc(hidden)]
    pub const fn new(value: &'a T) -> Self {
        Self(value)
    }
}

impl<T: ?Sized> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Lent<'_, T> {}

impl<T: ?Sized> fmt::Debug for Lent<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = std::any::type_name::<T>();
        f.debug_tuple("Lent").field(&type_name).finish()
    }
}

/// What can be lent to a call, and borrowed from its message.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a method cannot borrow `{Self}` from a call's message",
    label = "not borrowed like this",
    note = "a message lends `&str`, `&[u8]` and other slices of single bytes, and `&Archived<T>` \
            of every message `T`; for `&[T]` write `&Archived<Vec<T>>`"
)]
pub trait Lend {
    /// What has the same archive.
    type Owned: Message;

    /// What a method sees of it where the message lies.
    type Seen: ?Sized;

    /// As of the archive of what is owned.
    type Resolver;

    /// Writes what the archive refers to.
    ///
    /// # Errors
    /// Archiving failed.
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, Cause>;

    /// Writes the archive.
    fn resolve(&self, resolver: Self::Resolver, out: Place<Archived<Self::Owned>>);

    /// Finds it in a checked archive.
    fn see(archived: &Archived<Self::Owned>) -> &Self::Seen;
}

impl Lend for str {
    type Owned = String;
    type Seen = Self;
    type Resolver = StringResolver;

    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<StringResolver, Cause> {
        ArchivedString::serialize_from_str(self, encoder)
    }

    #[inline]
    fn resolve(&self, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(self, resolver, out);
    }

    #[inline]
    fn see(archived: &ArchivedString) -> &Self {
        archived.as_str()
    }
}

#[diagnostic::do_not_recommend]
impl<T: Message + Archive<Archived = T>> Lend for [T] {
    type Owned = Vec<T>;
    type Seen = Self;
    type Resolver = VecResolver;

    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<VecResolver, Cause> {
        ArchivedVec::<T>::serialize_from_slice(self, encoder)
    }

    #[inline]
    fn resolve(&self, resolver: VecResolver, out: Place<ArchivedVec<T>>) {
        ArchivedVec::resolve_from_slice(self, resolver, out);
    }

    #[inline]
    fn see(archived: &ArchivedVec<T>) -> &Self {
        archived.as_slice()
    }
}

#[diagnostic::do_not_recommend]
impl<T: Message> Lend for T {
    type Owned = Self;
    type Seen = T::Archived;
    type Resolver = <T as Archive>::Resolver;

    #[inline]
    fn serialize(&self, encoder: &mut Encoder<'_>) -> Result<Self::Resolver, Cause> {
        Serialize::serialize(self, encoder)
    }

    #[inline]
    fn resolve(&self, resolver: Self::Resolver, out: Place<T::Archived>) {
        Archive::resolve(self, resolver, out);
    }

    #[inline]
    fn see(archived: &T::Archived) -> &T::Archived {
        archived
    }
}

impl<T: Lend + ?Sized> Archive for Lent<'_, T> {
    type Archived = Archived<T::Owned>;
    type Resolver = T::Resolver;

    #[inline]
    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        self.0.resolve(resolver, out);
    }
}

impl<'e, T: Lend + ?Sized> Serialize<Encoder<'e>> for Lent<'_, T> {
    #[inline]
    fn serialize(&self, serializer: &mut Encoder<'e>) -> Result<Self::Resolver, Cause> {
        self.0.serialize(serializer)
    }
}

/// Arguments that were archived before, for whoever cannot keep a borrow: its archive is the bytes.
/// A clone is the same bytes.
#[derive(Clone)]
pub(crate) struct Encoded(Arc<(Buffer, Attached)>);

impl Encoded {
    /// The archive of `arguments`.
    ///
    /// # Errors
    /// [`EncodeError`] when it is longer than `limit` or they cannot be archived.
    pub(crate) fn new<A: Arguments>(arguments: &A, limit: usize) -> Result<Self, EncodeError> {
        codec::encode_with(arguments, limit, |archive, attached| {
            Self(Arc::new((codec::copy(archive), attached.clone())))
        })
    }
}

/// The bytes end with their own root, and nothing follows.
impl Archive for Encoded {
    type Archived = ();
    type Resolver = ();

    fn resolve(&self, (): (), _: Place<()>) {}
}

impl<'e> Serialize<Encoder<'e>> for Encoded {
    fn serialize(&self, serializer: &mut Encoder<'e>) -> Result<(), Cause> {
        let (archive, attached) = &*self.0;
        // They are the first of this message, and so have the numbers that the archive says.
        for (hold, used) in attached.used() {
            attach(hold, &used).map_err(Cause::new)?;
        }
        serializer.write(archive)
    }
}

#[cfg(test)]
mod tests {
    use super::super::codec::{check, copy, encode};
    use super::*;

    fn archive<A: Arguments>(arguments: &A) -> Buffer {
        encode(arguments, usize::MAX, copy).unwrap()
    }

    fn assert_same<A: Arguments, B: Arguments>(one: &A, other: &B) {
        assert_eq!(archive(one)[..], archive(other)[..]);
    }

    /// What is lent archives as what is owned, byte for byte, also beside others.
    #[test]
    fn lent_and_owned_have_one_archive() {
        for text in ["", "short", "longer than what is kept inline"] {
            let lent = (7_u8, Lent::new(text), 9_u64);
            assert_same(&lent, &(7_u8, text.to_owned(), 9_u64));
            let (bytes, words) = (text.as_bytes(), vec![text.to_owned(); 3]);
            let lent = (Lent::new(bytes), Lent::new(&words));
            assert_same(&lent, &(bytes.to_vec(), words.clone()));
        }
        let numbers = vec![1.5_f64, -0.0, f64::INFINITY];
        assert_same(&(Lent::new(&numbers),), &(numbers.clone(),));
    }

    /// What was archived before travels as if it were archived now.
    #[test]
    fn encoded_arguments_stay_as_they_are() {
        let arguments = (
            7_u8,
            String::from("longer than what is kept inline"),
            9_u128,
        );
        let encoded = Encoded::new(&arguments, usize::MAX).unwrap();
        assert_same(&encoded, &arguments);
        assert!(Encoded::new(&arguments, 8).is_err());
    }

    /// A method sees what lies in the message itself.
    #[test]
    fn what_is_seen_lies_in_the_message() {
        let message = archive(&(Lent::new("longer than what is kept inline"), [1_u8, 2]));
        let seen = check::<(String, [u8; 2])>(&message).unwrap();
        let text = <str as Lend>::see(&seen.0);
        assert_eq!(text, "longer than what is kept inline");
        assert!(message.as_ptr_range().contains(&text.as_ptr()));
        let message = archive(&(vec![3_u8; 100],));
        let bytes = <[u8] as Lend>::see(&check::<(Vec<u8>,)>(&message).unwrap().0);
        assert!(bytes.len() == 100 && message.as_ptr_range().contains(&bytes.as_ptr()));
    }
}
