//! What an error says, whatever it can say: for logs, hooks and other processes.
//!
//! The type of an error is the user's. In an expansion it is written out, and so the compiler can
//! be asked what it implements: of `(&&&&Described(&error)).text()` it takes the method that needs
//! the fewest dereferences, and so the first of the traits below that the type allows.

use std::any::type_name;
use std::error::Error;
use std::fmt::{Debug, Display};

use super::replies::describe;

/// An error about to say what it is.
#[doc(hidden)]
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it down")]
pub struct Described<'a, E: ?Sized>(pub &'a E);

/// Says it with its causes.
#[doc(hidden)]
pub trait ByError {
    /// The text.
    fn text(&self) -> String;
}

impl<E: Error> ByError for &&&Described<'_, E> {
    fn text(&self) -> String {
        describe(self.0)
    }
}

/// Says it to people.
#[doc(hidden)]
pub trait ByDisplay {
    /// The text.
    fn text(&self) -> String;
}

impl<E: Display + ?Sized> ByDisplay for &&Described<'_, E> {
    fn text(&self) -> String {
        self.0.to_string()
    }
}

/// Says it to programmers.
#[doc(hidden)]
pub trait ByDebug {
    /// The text.
    fn text(&self) -> String;
}

impl<E: Debug + ?Sized> ByDebug for &Described<'_, E> {
    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Says no more than what it is.
#[doc(hidden)]
pub trait ByName {
    /// The text.
    fn text(&self) -> String;
}

impl<E: ?Sized> ByName for Described<'_, E> {
    fn text(&self) -> String {
        type_name::<E>().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Odd;

    struct Mute;

    /// Each error says the most that it can.
    #[expect(clippy::needless_borrow, reason = "as the macros write it")]
    #[test]
    fn errors_say_what_they_can() {
        let caused = crate::wire::codec::decode::<String>(&[1]).unwrap_err();
        assert_eq!((&&&&Described(&caused)).text(), describe(&caused));
        let plain = io::Error::other("no room");
        assert_eq!((&&&&Described(&plain)).text(), "no room");
        let text = String::from("no luck");
        assert_eq!((&&&&Described(&text)).text(), "no luck");
        assert_eq!((&&&&Described("no luck")).text(), "no luck");
        assert_eq!((&&&&Described(&Odd)).text(), "Odd");
        assert!((&&&&Described(&Mute)).text().ends_with("::Mute"));
    }
}
