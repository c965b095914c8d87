//! Doorbells wake a sleeping peer: an eventfd that is only ever written.
//!
//! One end rings ([`Doorbell`]), the other waits ([`Ear`]). The waiting end never reads the
//! counter: epoll, edge-triggered, reports each write anew, so a wake-up costs one `write` here
//! and none there. A ring before anybody waits is kept.
//!
//! A bell says only that something has happened since the last look, perhaps several times,
//! perhaps long ago; whoever wakes looks for itself. When to ring is known to `ring`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The end that rings; both processes hold the same bell.
#[derive(Debug)]
pub(crate) struct Doorbell(OwnedFd);

impl Doorbell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    /// A bell that came over a lifeline.
    pub(crate) const fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, to be sent to the peer or watched.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The same bell under a second descriptor.
    ///
    /// # Errors
    ///
    /// The system's: no descriptor is free.
    #[cfg(test)]
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Wakes whoever waits, now or at the next wait. One `write`, never blocks, never fails.
    pub(crate) fn ring(&self) {
        // Adding one to an eventfd fails only when it is full, and then it is rung already. What a
        // peer has sent in place of an eventfd may fail otherwise: nobody is to be woken then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// The end that waits, bound to the tokio runtime it was made in.
#[derive(Debug)]
pub(crate) struct Ear(AsyncFd<OwnedFd>);

impl Ear {
    /// Listens to `bell`.
    ///
    /// # Errors
    ///
    /// The system's, if the bell cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver.
    pub(crate) fn new(bell: Doorbell) -> io::Result<Self> {
        // SAFETY: the `OwnedFd` is open, moves into the `AsyncFd`, which never gives it out by
        // value or `&mut`, so it stays open and the same description until the `AsyncFd` is
        // dropped; an `OwnedFd` always answers `as_raw_fd` with its one descriptor.
        let registered = unsafe { AsyncFd::register_with_interest(bell.0, Interest::READABLE) };
        registered.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Ready once for the rings since the last time it was ready; only the last waker is kept.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub(crate) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Cleared without a read: the next write is a new edge, whatever the counter holds. A ring
        // between epoll's report and this line is kept by the guard, which knows which report it
        // clears.
        ready!(self.0.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    async fn rung(ear: &Ear) -> bool {
        let wait = Duration::from_millis(50);
        tokio::time::timeout(wait, poll_fn(|cx| ear.poll_rung(cx)))
            .await
            .is_ok_and(|r| r.is_ok())
    }

    #[tokio::test]
    async fn each_ring_wakes_once_and_nobody_reads_the_counter() {
        // Rings from another thread, twice in a row; then silence.
        let bell = Doorbell::new().unwrap();
        let ear = Ear::new(bell.try_clone().unwrap()).unwrap();
        assert!(!rung(&ear).await);
        for _ in 0..2 {
            let bell = bell.try_clone().unwrap();
            let ringer = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                bell.ring();
            });
            poll_fn(|cx| ear.poll_rung(cx)).await.unwrap();
            ringer.join().unwrap();
            assert!(!rung(&ear).await);
        }
        let mut count = [0; 8];
        rustix::io::read(bell.as_fd(), &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 2);
    }

    #[tokio::test]
    async fn rings_before_the_wait_are_kept() {
        // Before the ear exists, before its first wait, and several as one.
        let bell = Doorbell::new().unwrap();
        bell.ring();
        let ear = Ear::new(bell.try_clone().unwrap()).unwrap();
        assert!(rung(&ear).await);
        bell.ring();
        bell.ring();
        assert!(rung(&ear).await);
        assert!(!rung(&ear).await);
    }

    #[test]
    fn a_full_bell_can_be_rung() {
        // The write that would block is dropped.
        let bell = Doorbell::new().unwrap();
        rustix::io::write(bell.as_fd(), &(u64::MAX - 1).to_ne_bytes()).unwrap();
        bell.ring();
    }
}
