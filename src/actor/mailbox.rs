//! How much an actor's mailbox holds, and what happens when it is full. Pure.

/// How many calls wait for an actor at most, in number and in bytes, and what becomes of one more.
///
/// The mailbox is where calls lie that the actor has taken in and not begun: while a method of
/// `&mut self` waits for something, while 1024 `&self` calls run, or because others have a higher
/// priority. Before it lie the links: each process that calls the actor may have another 128 KiB on
/// their way to it. So no caller makes an actor grow, whatever it sends.
///
/// Both bounds hold at once. A call that is longer than all the bytes is let in when the mailbox is
/// empty. Bytes are those of the arguments as they travel; each call takes about 150 more.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::{Mailbox, Overflow};
/// use std::time::Duration;
///
/// pub struct Printer;
///
/// #[actor]
/// impl Printer {
///     pub fn new() -> Self { Self }
///     pub async fn print(&mut self, pages: u64) {
///         tokio::time::sleep(Duration::from_millis(300 * pages)).await;
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let mailbox = Mailbox::messages(2).bytes(64 * 1024).overflow(Overflow::Fail);
///     let printer = Printer::spawn().mailbox(mailbox).await?;
///     // One is being printed and two wait: there is no place for the fourth.
///     let jobs: Vec<_> = (0..4).map(|_| printer.print(1).start()).collect();
///     let mut results = Vec::new();
///     for job in jobs {
///         results.push(job.await);
///     }
///     assert!(results[..3].iter().all(Result::is_ok));
///     assert!(matches!(results[3], Err(CallError::Full { method: "print" })));
///     printer.shutdown().await
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    messages: usize,
    bytes: usize,
    overflow: Overflow,
}

/// What becomes of a call that finds the mailbox full.
///
/// A call that is not run for this reason ends with an error whose
/// [`outcome`](crate::CallError::outcome) is `NotRun`. Tells have nobody to be told: they are
/// counted, and the actor's process logs the count as a warning, once a second at most.
///
/// # Examples
/// ```
/// use callboard::{Mailbox, Overflow};
///
/// // Only what is newest counts: older positions make room for it.
/// let positions = Mailbox::messages(16).overflow(Overflow::DropOldest);
/// # let _ = positions;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// It waits on its link, and when that is full, with its caller: `await` takes longer, `try_`
    /// methods give the call back. Nothing is lost.
    #[default]
    Wait,
    /// It fails with [`CallError::Full`](crate::CallError::Full).
    Fail,
    /// The call that has waited longest among those of the lowest priority makes room, and fails
    /// with [`CallError::Dropped`](crate::CallError::Dropped). A call never makes room for one of a
    /// lower priority.
    DropOldest,
    /// The newest of the lowest priority fails with [`CallError::Dropped`]: the call that comes,
    /// unless one of a lower priority waits.
    ///
    /// [`CallError::Dropped`]: crate::CallError::Dropped
    DropNewest,
}

impl Mailbox {
    /// A mailbox for so many calls and tells, at least one. Default: 1024.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(callboard::Mailbox::messages(1024), callboard::Mailbox::default());
    /// ```
    #[must_use]
    pub const fn messages(messages: usize) -> Self {
        Self {
            messages: if messages == 0 { 1 } else { messages },
            bytes: 1 << 20,
            overflow: Overflow::Wait,
        }
    }

    /// For so many bytes of arguments. Default: 1 MiB.
    ///
    /// # Examples
    /// ```
    /// // As many bytes as four frames of a camera.
    /// let mailbox = callboard::Mailbox::default().bytes(4 * 1920 * 1080 * 3);
    /// # let _ = mailbox;
    /// ```
    #[must_use]
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// What becomes of a call that finds it full. Default: [`Overflow::Wait`].
    ///
    /// # Examples
    /// ```
    /// use callboard::{Mailbox, Overflow};
    ///
    /// let mailbox = Mailbox::default().overflow(Overflow::Fail);
    /// # let _ = mailbox;
    /// ```
    #[must_use]
    pub const fn overflow(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }

    /// As it travels in the greeting.
    pub(crate) fn numbers(self) -> (u64, u64, u8) {
        let overflow = match self.overflow {
            Overflow::Wait => 0,
            Overflow::Fail => 1,
            Overflow::DropOldest => 2,
            Overflow::DropNewest => 3,
        };
        (self.messages as u64, self.bytes as u64, overflow)
    }

    /// What travelled; an overflow that this version does not know is to wait.
    pub(crate) fn from_numbers((messages, bytes, overflow): (u64, u64, u8)) -> Self {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        let overflow = match overflow {
            1 => Overflow::Fail,
            2 => Overflow::DropOldest,
            3 => Overflow::DropNewest,
            _ => Overflow::Wait,
        };
        Self::messages(number(messages))
            .bytes(number(bytes))
            .overflow(overflow)
    }

    pub(super) fn messages_max(self) -> usize {
        self.messages
    }

    pub(super) fn bytes_max(self) -> usize {
        self.bytes
    }

    pub(super) fn on_overflow(self) -> Overflow {
        self.overflow
    }
}

/// 1024 messages, 1 MiB, and who comes then waits.
impl Default for Mailbox {
    fn default() -> Self {
        Self::messages(1024)
    }
}

/// A mailbox for so many messages: `.mailbox(64)`.
impl From<usize> for Mailbox {
    fn from(messages: usize) -> Self {
        Self::messages(messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every setting arrives at the other process as it was; what cannot be is made possible.
    #[test]
    fn settings_travel() {
        for overflow in [
            Overflow::Wait,
            Overflow::Fail,
            Overflow::DropOldest,
            Overflow::DropNewest,
        ] {
            let mailbox = Mailbox::messages(7).bytes(9).overflow(overflow);
            assert_eq!(Mailbox::from_numbers(mailbox.numbers()), mailbox);
        }
        let strange = Mailbox::from_numbers((0, u64::MAX, 200));
        assert_eq!(strange, Mailbox::messages(1).bytes(usize::MAX));
    }
}
