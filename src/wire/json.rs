//! Arguments, results and errors between JSON and their archives, for calls by name. Pure.
//!
//! ```text
//!  {"by": 5} ── reader of each argument ──> (5,) ── codec ──> archive ── the call
//!         15 <── serde ── value <── codec ── archive of the result
//! ```
//!
//! The types are the user's, and most of what can travel need not be serde's. In an expansion they
//! are written out, and so the compiler can be asked: of `(&&Typed::<T>::NEW).reader()` it takes
//! the method that needs the fewest dereferences, and so the one that works, if `T` allows it.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use rkyv::ser::Writer;
use rkyv::{Archive, Place, Serialize};
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Error, Value};

use super::codec::{self, Buffer, DecodeError, EncodeError, Encoder, Message};
use super::view::Reply;
use crate::sys::body::Body;

/// How a method is called with JSON. It says nothing of what the method is, so it is equal to any
/// other one.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it down")]
pub struct Json {
    /// The arguments' names.
    pub names: &'static [&'static str],
    /// The archive of all arguments.
    pub arguments: fn(&Given) -> Result<Buffer, Fault>,
    /// What an archive of the result says.
    pub reply: fn(&[u8]) -> Result<Value, Fault>,
    /// What an archive of the method's own error says.
    pub failure: fn(&[u8]) -> Result<OwnError, DecodeError>,
}

impl PartialEq for Json {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Json {}

/// Why a method is not called with JSON, or its result not told.
#[doc(hidden)]
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "it is not seen by users")]
pub enum Fault {
    /// A type is not serde's.
    NotInvokable(&'static str),
    /// Something else was given than the method takes; for which argument, if for one.
    Argument(Option<&'static str>, Error),
    /// The arguments cannot be sent.
    Encode(EncodeError),
    /// The result cannot be read.
    Decode(DecodeError),
    /// The result's type does not become JSON.
    Result(Error),
}

/// The arguments that were given, in the order in which the method takes them.
#[doc(hidden)]
#[derive(Debug)]
pub struct Given {
    names: &'static [&'static str],
    /// None for what was left out.
    values: Vec<Option<Value>>,
    message_len_max: usize,
}

/// Makes an argument of what was given for it.
#[doc(hidden)]
pub type Reader<T> = fn(&Value) -> Result<T, Error>;

impl Given {
    /// Sorts `arguments`: an array by position, an object by name. Null is none.
    ///
    /// # Errors
    /// [`Fault::Argument`] when there are too many or too few, or of another name.
    pub(crate) fn new(
        names: &'static [&'static str],
        arguments: Value,
        message_len_max: usize,
    ) -> Result<Self, Fault> {
        let whole = |error| Fault::Argument(None, error);
        let mut values = vec![None; names.len()];
        match arguments {
            Value::Null => {}
            Value::Array(given) if given.len() == names.len() => {
                values = given.into_iter().map(Some).collect();
            }
            Value::Array(given) => {
                let expected = format!("{} arguments", names.len());
                return Err(whole(Error::invalid_length(
                    given.len(),
                    &expected.as_str(),
                )));
            }
            Value::Object(given) => {
                for (name, value) in given {
                    let Some(place) = names.iter().position(|known| *known == name) else {
                        return Err(whole(Error::unknown_field(&name, names)));
                    };
                    values[place] = Some(value);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                let text = "arguments are an array, by position, or an object, by name";
                return Err(whole(Error::custom(text)));
            }
        }
        Ok(Self {
            names,
            values,
            message_len_max,
        })
    }

    /// The argument at `place`. What was left out is null, where its type takes that.
    ///
    /// # Errors
    /// [`Fault::Argument`] with what serde said.
    pub fn read<T>(&self, place: usize, reader: Reader<T>) -> Result<T, Fault> {
        let name = self.names[place];
        let read = match &self.values[place] {
            Some(value) => reader(value),
            None => reader(&Value::Null).map_err(|_| Error::missing_field(name)),
        };
        read.map_err(|error| Fault::Argument(Some(name), error))
    }
}

/// A type about to say what can be done with it.
#[doc(hidden)]
pub struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Typed<T> {
    /// The only one.
    pub const NEW: Self = Self(PhantomData);
}

impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&type_name::<T>()).finish()
    }
}

fn refused<T>() -> Fault {
    Fault::NotInvokable(type_name::<T>())
}

/// An argument's type that is serde's.
#[doc(hidden)]
pub trait Reads {
    /// The type.
    type Value;

    /// What reads it.
    ///
    /// # Errors
    /// None.
    fn reader(&self) -> Result<Reader<Self::Value>, Fault>;
}

impl<T: DeserializeOwned> Reads for &Typed<T> {
    type Value = T;

    fn reader(&self) -> Result<Reader<T>, Fault> {
        Ok(|value| T::deserialize(value))
    }
}

/// Any other argument's type.
#[doc(hidden)]
pub trait ReadsNot {
    /// The type.
    type Value;

    /// Nothing reads it.
    ///
    /// # Errors
    /// Always [`Fault::NotInvokable`].
    fn reader(&self) -> Result<Reader<Self::Value>, Fault>;
}

impl<T> ReadsNot for Typed<T> {
    type Value = T;

    fn reader(&self) -> Result<Reader<T>, Fault> {
        Err(refused::<T>())
    }
}

/// A result's type that is serde's.
#[doc(hidden)]
pub trait Writes {
    /// Says whether it becomes JSON, before there is a call.
    ///
    /// # Errors
    /// None.
    fn writable(&self) -> Result<(), Fault>;

    /// What an archive says.
    ///
    /// # Errors
    /// [`Fault`] when it is no such archive, or has no form in JSON.
    fn write(&self, archive: &[u8]) -> Result<Value, Fault>;
}

impl<T: serde::Serialize + Message> Writes for &Typed<T> {
    fn writable(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn write(&self, archive: &[u8]) -> Result<Value, Fault> {
        let value: T = codec::decode(archive).map_err(Fault::Decode)?;
        serde_json::to_value(value).map_err(Fault::Result)
    }
}

/// Any other result's type.
#[doc(hidden)]
pub trait WritesNot {
    /// Says that it does not become JSON.
    ///
    /// # Errors
    /// Always [`Fault::NotInvokable`].
    fn writable(&self) -> Result<(), Fault>;

    /// Says the same.
    ///
    /// # Errors
    /// Always [`Fault::NotInvokable`].
    fn write(&self, archive: &[u8]) -> Result<Value, Fault>;
}

impl<T> WritesNot for Typed<T> {
    fn writable(&self) -> Result<(), Fault> {
        Err(refused::<T>())
    }

    fn write(&self, _: &[u8]) -> Result<Value, Fault> {
        Err(refused::<T>())
    }
}

/// Arguments that can travel.
#[doc(hidden)]
pub trait Archives {
    /// The arguments.
    type Arguments;

    /// Writes their archive.
    ///
    /// # Errors
    /// [`Fault::Encode`].
    fn archive(&self, given: &Given, arguments: Self::Arguments) -> Result<Buffer, Fault>;
}

impl<A: Message> Archives for &Typed<A> {
    type Arguments = A;

    fn archive(&self, given: &Given, arguments: A) -> Result<Buffer, Fault> {
        codec::encode(&arguments, given.message_len_max, codec::copy).map_err(Fault::Encode)
    }
}

/// Those that cannot: the signature says so to the compiler, and this says nothing more.
#[doc(hidden)]
pub trait ArchivesNot {
    /// The arguments.
    type Arguments;

    /// Nothing writes them.
    ///
    /// # Errors
    /// Always [`Fault::NotInvokable`].
    fn archive(&self, given: &Given, arguments: Self::Arguments) -> Result<Buffer, Fault>;
}

impl<A> ArchivesNot for Typed<A> {
    type Arguments = A;

    fn archive(&self, _: &Given, _: A) -> Result<Buffer, Fault> {
        Err(refused::<A>())
    }
}

/// An error's type that is serde's.
#[doc(hidden)]
pub trait FailsByValue {
    /// The type.
    type Error;

    /// What an archive says, in JSON and as `text`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no such archive.
    fn failure(
        &self,
        archive: &[u8],
        text: fn(&Self::Error) -> String,
    ) -> Result<OwnError, DecodeError>;
}

impl<E: serde::Serialize + Message> FailsByValue for &&Typed<E> {
    type Error = E;

    fn failure(&self, archive: &[u8], text: fn(&E) -> String) -> Result<OwnError, DecodeError> {
        let error: E = codec::decode(archive)?;
        let text = text(&error);
        let value = serde_json::to_value(error).unwrap_or_else(|_| Value::String(text.clone()));
        Ok(OwnError { text, value })
    }
}

/// An error's type that is not.
#[doc(hidden)]
pub trait FailsByText {
    /// The type.
    type Error;

    /// What an archive says, as `text`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no such archive.
    fn failure(
        &self,
        archive: &[u8],
        text: fn(&Self::Error) -> String,
    ) -> Result<OwnError, DecodeError>;
}

impl<E: Message> FailsByText for &Typed<E> {
    type Error = E;

    fn failure(&self, archive: &[u8], text: fn(&E) -> String) -> Result<OwnError, DecodeError> {
        let text = text(&codec::decode(archive)?);
        let value = Value::String(text.clone());
        Ok(OwnError { text, value })
    }
}

/// An error's type that cannot travel: the signature says so to the compiler.
#[doc(hidden)]
pub trait FailsNot {
    /// The type.
    type Error;

    /// Nothing is read.
    ///
    /// # Errors
    /// Always.
    fn failure(
        &self,
        archive: &[u8],
        text: fn(&Self::Error) -> String,
    ) -> Result<OwnError, DecodeError>;
}

impl<E> FailsNot for Typed<E> {
    type Error = E;

    fn failure(&self, archive: &[u8], _: fn(&E) -> String) -> Result<OwnError, DecodeError> {
        codec::unexpected(archive)
    }
}

/// The failure of a method that has no errors of its own.
///
/// # Errors
/// Always.
#[doc(hidden)]
pub fn never_fails(archive: &[u8]) -> Result<OwnError, DecodeError> {
    codec::unexpected(archive)
}

/// What an invoked method returned as its own error.
///
/// It prints itself as the error does; [`value`](Self::value) is the error in JSON.
///
/// # Examples
/// ```
/// use callboard::{CallError, InvokeError};
///
/// fn code(error: &InvokeError) -> Option<u64> {
///     match error {
///         InvokeError::Call(CallError::Actor(own)) => own.value().get("code")?.as_u64(),
///         _ => None,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OwnError {
    text: String,
    value: Value,
}

impl OwnError {
    /// The error as serde writes it; its text, if its type is not serde's.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

impl fmt::Display for OwnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for OwnError {}

/// Arguments that are an archive already. What it is read as begins at its end, so nothing is to be
/// written behind it.
pub(crate) struct Written(pub(crate) Buffer);

impl Archive for Written {
    type Archived = ();
    type Resolver = ();

    fn resolve(&self, (): (), _: Place<()>) {}
}

impl Serialize<Encoder<'_>> for Written {
    fn serialize(&self, serializer: &mut Encoder<'_>) -> Result<(), rkyv::rancor::Error> {
        serializer.write(&self.0)
    }
}

/// A result that stays the archive that it is.
pub(crate) struct Unread(Body);

impl Unread {
    /// Reads it, and gives its memory back.
    pub(crate) fn read<T>(self, read: impl FnOnce(&[u8]) -> T) -> T {
        let read = read(&self.0);
        codec::recycle(self.0);
        read
    }
}

impl Reply for Unread {
    fn __read(body: Body) -> Result<Self, DecodeError> {
        Ok(Self(body))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Odd;

    /// What was written once is sent byte for byte, and read where it begins: at its end.
    #[test]
    fn archives_are_sent_as_they_are() {
        let sample = (7_u8, String::from("longer than what lies in place"), 9_u64);
        let archive = codec::encode(&sample, usize::MAX, codec::copy).unwrap();
        let expected = archive.to_vec();
        let sent = codec::encode(&Written(archive), usize::MAX, codec::copy).unwrap();
        assert_eq!(sent.to_vec(), expected);
        assert_eq!(codec::decode::<(u8, String, u64)>(&sent).unwrap(), sample);
    }

    /// Each type allows what it is made for; what it is not made for names it.
    #[expect(clippy::needless_borrow, reason = "as the macros write it")]
    #[test]
    fn types_are_asked() {
        let given = Given::new(&["by"], json!([5]), 64).unwrap();
        let reader = (&&Typed::<u64>::NEW).reader().unwrap();
        assert_eq!(given.read(0, reader).unwrap(), 5);
        let archive = (&&Typed::<(u64,)>::NEW).archive(&given, (5,)).unwrap();
        assert_eq!((&&Typed::<u64>::NEW).write(&archive).unwrap(), json!(5));
        let refusals = [
            (&&Typed::<Odd>::NEW).reader().err(),
            (&&Typed::<Odd>::NEW).writable().err(),
            (&&Typed::<Odd>::NEW).write(&archive).err(),
            (&&Typed::<Odd>::NEW).archive(&given, Odd).err(),
        ];
        for refused in refusals {
            let named = matches!(refused, Some(Fault::NotInvokable(name)) if name.ends_with("Odd"));
            assert!(named, "{refused:?}");
        }
        let failure = (&&&Typed::<u64>::NEW).failure(&archive, u64::to_string);
        assert_eq!(failure.unwrap().value(), &json!(5));
        let failure = (&&&Typed::<Odd>::NEW).failure(&archive, |_| String::new());
        assert!(failure.is_err());
    }

    /// An archive that is longer than a message may be is an error, and so is a damaged one.
    #[test]
    fn archives_are_bounded_and_checked() {
        let given = Given::new(&["text"], json!(["x".repeat(100)]), 64).unwrap();
        let reader = (&&Typed::<String>::NEW).reader().unwrap();
        let text = (given.read(0, reader).unwrap(),);
        let archive = (&&Typed::<(String,)>::NEW).archive(&given, text);
        let too_large = matches!(
            archive,
            Err(Fault::Encode(EncodeError::TooLarge { limit: 64, .. }))
        );
        assert!(too_large, "{archive:?}");
        let damaged = (&&Typed::<String>::NEW).write(&[1]);
        assert!(matches!(damaged, Err(Fault::Decode(_))), "{damaged:?}");
    }
}
