//! What a reply becomes: a value of its own, or a view of the archive where it lies. Pure.

use std::fmt;
use std::ops::Deref;

use super::attached::Attached;
use super::codec::{self, DecodeError, Message};
use crate::sys::body::Body;
use crate::sys::checked::Checked;

/// A result that is read where it lies: what [`Call::view`](crate::Call::view) gives.
///
/// It is the archive of a `T`, checked once: nothing is deserialised. One that is short lies in
/// memory of its own, copied out of the link. One that is longer than a frame (some 16 KiB) lies
/// where the actor wrote it, in shared memory, and is not copied at all: as long as the view lives,
/// the actor does not use that place again. Dropped, its memory is. It may go to other threads, and
/// may outlive its actor.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// #[message]
/// pub struct Page { title: String, lines: Vec<String> }
///
/// pub struct Book;
///
/// #[actor]
/// impl Book {
///     pub fn new() -> Self { Self }
///     pub fn page(&self, number: u32) -> Page {
///         let lines = ["once upon", "a time"].map(String::from).into();
///         Page { title: format!("Page {number}"), lines }
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let book = Book::spawn().await?;
///     let page = book.page(7).view().await?;
///     assert_eq!(page.title.as_str(), "Page 7");
///     assert_eq!(page.lines.len(), 2);
///     let owned: Page = page.deserialize()?;
///     assert_eq!(owned.lines[1], "a time");
///     book.shutdown().await
/// }
/// ```
pub struct View<T: Message>(Checked<T::Archived>, Attached);

impl<T: Message> View<T> {
    /// Copies the value out.
    ///
    /// # Errors
    /// [`DecodeError`] when the type's own deserialising fails; that of callboard's and the usual
    /// types does not.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{DecodeError, View};
    /// fn words(view: &View<Vec<String>>) -> Result<Vec<String>, DecodeError> {
    ///     view.deserialize()
    /// }
    /// ```
    pub fn deserialize(&self) -> Result<T, DecodeError> {
        let owned = self.1.within(|| codec::own(&*self.0));
        owned.map_err(|cause| DecodeError::new::<T>(self.0.len(), &cause))
    }
}

impl<T: Message> Deref for View<T> {
    type Target = T::Archived;

    #[inline]
    fn deref(&self) -> &T::Archived {
        &self.0
    }
}

/// The type and the archive's length, not what is in it.
impl<T: Message> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("type", &std::any::type_name::<T>())
            .field("len", &self.0.len())
            .finish()
    }
}

/// What a call gives: a [`Message`] copied out of its reply, or a [`View`] of one.
///
/// Implemented for these and nothing else.
///
/// # Examples
/// ```
/// use callboard::{Call, CallError, Reply};
///
/// async fn twice<T: Reply>(a: Call<'_, (), T>, b: Call<'_, (), T>) -> Result<(T, T), CallError> {
///     let (a, b) = (a.start(), b.start());
///     Ok((a.await?, b.await?))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel from an actor",
    note = "put `#[message]` on the type, or use owned types such as `String` and `Vec<u8>`"
)]
pub trait Reply: Sized {
    /// Makes it of a reply's archive.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no such archive.
    #[doc(hidden)]
    fn __read(body: Body) -> Result<Self, DecodeError>;
}

#[diagnostic::do_not_recommend]
impl<M: Message> Reply for M {
    #[inline]
    fn __read(body: Body) -> Result<Self, DecodeError> {
        let decoded = codec::decode(&body);
        codec::recycle(body);
        decoded
    }
}

impl<M: Message> Reply for View<M> {
    #[inline]
    fn __read(body: Body) -> Result<Self, DecodeError> {
        let checked = Checked::new(body, codec::check::<M>, codec::recycle);
        checked.map(|checked| Self(checked, Attached::here()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive<M: Message>(message: &M) -> Body {
        codec::encode(message, usize::MAX, codec::copy)
            .unwrap()
            .into()
    }

    /// A view shows what was written, can become a value, and gives its memory back.
    #[test]
    fn views_show_and_give_back() {
        let words = vec![String::from("one"), String::from("two, and more than that")];
        let body = archive(&words);
        let place = body.as_ptr();
        let view = View::<Vec<String>>::__read(body).unwrap();
        assert_eq!(view[1].as_str(), "two, and more than that");
        assert_eq!(view.deserialize().unwrap(), words);
        assert!(format!("{view:?}").contains("String"), "{view:?}");
        drop(view);
        assert_eq!(codec::spare().as_ptr(), place, "it is the next to be used");
    }

    /// What is no archive is an error, and its memory is given back as well.
    #[test]
    fn foreign_bytes_give_no_view() {
        let body = archive(&7_u8);
        let place = body.as_ptr();
        assert!(View::<Vec<String>>::__read(body).is_err());
        assert_eq!(codec::spare().as_ptr(), place);
        assert!(View::<()>::__read(archive(&())).is_ok());
    }

    /// A view of what other threads may see goes to other threads.
    #[test]
    fn views_are_sent_and_shared() {
        fn travels<T: Send + Sync + Unpin + 'static>(_: &T) {}
        travels(
            &View::<(u64, Vec<String>)>::__read(archive(&(7_u64, vec![String::new()]))).unwrap(),
        );
    }
}
