//! What wakes the other end of a link: a doorbell between processes, a waker within one.
//!
//! Both say the same: something has happened since the last look. A ring before anybody waits is
//! kept, several are heard as one, and who wakes looks for itself. Within a process no system call
//! is made for it, and the two ends may be on different threads and runtimes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use super::relay::Relay;
use super::sleeper::{Bed, Sleeper};
use crate::sys::doorbell::{self, Doorbell};

/// The end that rings.
#[derive(Debug)]
pub(crate) enum Bell {
    /// The peer is another process.
    Door(Doorbell),
    /// The peer is in this process.
    Chime(Chime),
    /// Somebody carries the records to the peer.
    Relay(Arc<dyn Relay>),
}

impl Bell {
    /// Wakes whoever waits, now or at the next wait. Never blocks, never fails.
    #[inline]
    pub(crate) fn ring(&self) {
        match self {
            Self::Door(doorbell) => doorbell.ring(),
            Self::Chime(chime) => chime.ring(),
            Self::Relay(relay) => relay.kick(),
        }
    }
}

/// The end that waits.
#[derive(Debug)]
pub(crate) enum Ear {
    /// Bound to the runtime in which it was made.
    Door(doorbell::Ear),
    /// In any runtime, or none.
    Chime(Listening),
}

impl Ear {
    /// Ready once for the rings since the last time it was ready; only the last waker is kept.
    ///
    /// # Errors
    /// The runtime to which it is bound is shutting down.
    #[inline]
    pub(crate) fn poll_rung(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Door(ear) => ear.poll_rung(cx),
            Self::Chime(listening) => listening.poll_rung(cx).map(Ok),
        }
    }

    /// Whether it was rung since it was last heard, if that costs no system call to know: who is
    /// about to wait need not be told again of what woke it.
    #[inline]
    pub(crate) fn take_rung(&self) -> bool {
        match self {
            Self::Door(_) => false,
            Self::Chime(listening) => listening.chime.take(),
        }
    }
}

/// A bell within one process; a clone is the same bell.
#[derive(Clone, Default)]
pub(crate) struct Chime(Arc<Rope>);

#[derive(Default)]
struct Rope {
    rung: AtomicBool,
    sleeper: Sleeper,
}

impl Chime {
    /// The end that hears it; there is one.
    pub(super) fn ear(&self) -> Ear {
        Ear::Chime(Listening {
            chime: self.clone(),
            bed: Bed::default(),
        })
    }

    pub(super) fn ring(&self) {
        // Release: pairs with the Acquire in `take`, for what was done before the ring. Who sleeps
        // is woken after it, and who lies down after that sees the flag, by the sleeper's lock.
        self.0.rung.store(true, Ordering::Release);
        self.0.sleeper.wake();
    }

    /// Whether it was rung since the last question. A look costs nothing when it was not.
    fn take(&self) -> bool {
        self.0.rung.load(Ordering::Relaxed) && self.0.rung.swap(false, Ordering::Acquire)
    }
}

/// The end of a chime that waits.
#[derive(Debug)]
pub(crate) struct Listening {
    chime: Chime,
    bed: Bed,
}

impl Listening {
    fn poll_rung(&mut self, cx: &Context<'_>) -> Poll<()> {
        let rope = &*self.chime.0;
        self.bed.lie_down(&rope.sleeper, cx);
        if self.chime.take() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.chime.0.sleeper.leave();
    }
}

impl fmt::Debug for Chime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chime").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn heard(ear: &mut Ear) -> bool {
        poll_fn(|cx| ear.poll_rung(cx)).now_or_never().is_some()
    }

    /// Rings before the wait are kept, several are one, and each is heard once.
    #[test]
    fn rings_are_kept_and_heard_once() {
        let chime = Chime::default();
        let (mut ear, bell) = (chime.ear(), Bell::Chime(chime));
        assert!(!heard(&mut ear));
        for _ in 0..2 {
            bell.ring();
            bell.ring();
            assert!(heard(&mut ear));
            assert!(!heard(&mut ear));
        }
    }

    /// Two threads that wake each other in turn, each on a runtime of its own, lose no ring.
    #[test]
    fn threads_wake_each_other() {
        const ROUNDS: u32 = 20_000;
        let chimes = [Chime::default(), Chime::default()];
        let player = |own: usize, begins: bool| {
            let mut ear = chimes[own].ear();
            let bell = Bell::Chime(chimes[1 - own].clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    for round in 0..ROUNDS {
                        if begins || round > 0 {
                            bell.ring();
                        }
                        let rung = poll_fn(|cx| ear.poll_rung(cx));
                        let rung = tokio::time::timeout(Duration::from_secs(20), rung).await;
                        rung.expect("no ring is lost").unwrap();
                    }
                    bell.ring();
                });
            }
        };
        let players = [
            std::thread::spawn(player(0, true)),
            std::thread::spawn(player(1, false)),
        ];
        players
            .into_iter()
            .for_each(|player| player.join().unwrap());
    }
}
