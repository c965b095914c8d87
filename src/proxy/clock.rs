//! One clock for all links of this process: once a second, while calls wait, somebody looks who
//! waits too long, and whether a peer is stopped.
//!
//! It is a thread of its own and no timer of the callers' runtimes: a runtime that keeps a timer
//! reads the clock whenever it has nothing to do, and so twice in a call that waits. The thread
//! comes with the first link; while no call waits, it sleeps.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::exchange::Exchange;
use super::failure::Outcome;
use super::timer::usual_looks;

/// How often a link whose calls wait is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// After more than this many looks in a row at a stopped peer the calls in flight are given up. The
/// first came a part of a period after the stop: the bound of `Unreachable` is so many periods, and
/// at most one more.
const STOPPED_MAX: u32 = 3;

/// For how many links that wait at once there is room from the beginning: no call allocates it.
const LINKS: usize = 64;

static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    links: Vec::new(),
    is_running: false,
});

/// There are links to be looked at.
static TOLD: Condvar = Condvar::new();

struct Watched {
    /// Those with calls that wait. A link tells once, and stays until it is found to have none.
    links: Vec<Weak<Exchange>>,
    is_running: bool,
}

fn watched() -> MutexGuard<'static, Watched> {
    // A list is whole after each step.
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sees to it that the thread is there, and gives what it looks at.
fn running() -> io::Result<MutexGuard<'static, Watched>> {
    let mut watched = watched();
    if !watched.is_running {
        watched.links.reserve(LINKS);
        thread::Builder::new()
            .name("callboard-clock".into())
            .spawn(run)?;
        watched.is_running = true;
    }
    Ok(watched)
}

/// Starts the thread, if it does not run. Where that fails, the calls that wait try again.
pub(super) fn start() {
    if let Err(error) = running() {
        tracing::debug!(%error, "no thread for the clock yet");
    }
}

/// Looks at `link` from the next period on.
fn watch(link: Weak<Exchange>) -> io::Result<()> {
    running()?.links.push(link);
    TOLD.notify_one();
    Ok(())
}

#[expect(
    clippy::infinite_loop,
    reason = "a thread of the process, for as long as that lives"
)]
fn run() {
    let mut round = Vec::with_capacity(LINKS);
    loop {
        let nobody = |watched: &mut Watched| watched.links.is_empty();
        drop(TOLD.wait_while(watched(), nobody));
        thread::sleep(PERIOD);
        round.append(&mut watched().links);
        let waits = |link: &Weak<Exchange>| link.upgrade().is_some_and(|link| link.look());
        round.retain(waits);
        watched().links.append(&mut round);
    }
}

impl Exchange {
    /// Has the clock looked at for the calls that wait, which the core has noted.
    #[cold]
    pub(super) fn watch(self: &Arc<Self>) {
        if let Err(error) = watch(Arc::downgrade(self)) {
            tracing::warn!(%error, "no thread for the clock: calls that wait have no usual bound");
            // The next call tries again.
            self.lock().state.watched = false;
        }
    }

    fn is_peer_stopped(&self) -> bool {
        self.peer.get().is_some_and(|peer| peer.stands_still())
    }

    /// Another look at the clock and at the peer. Whether there is to be one more.
    fn look(&self) -> bool {
        let is_watched = self.end_late();
        let is_stopped = is_watched && self.is_peer_stopped();
        let mut held = self.lock();
        let looks = &mut held.state.stopped_looks;
        *looks = if is_stopped { *looks + 1 } else { 0 };
        let is_given_up = *looks > STOPPED_MAX;
        drop(held);
        // Room beside the ring may come from elsewhere, and nobody rings for that.
        self.sender.room_freed();
        if is_given_up {
            self.give_up_waiting();
        }
        is_watched
    }

    /// Ends what has waited for the usual time. Whether anything waits still.
    fn end_late(&self) -> bool {
        let mut held = self.lock();
        let core = &mut held.state;
        core.looks = core.looks.wrapping_add(1);
        if let Some(usual) = usual_looks(PERIOD) {
            let now = (core.looks, usual);
            let cancel = |call| {
                let is_withdrawn = self.board.withdraw(call);
                self.board.cancel(call);
                if is_withdrawn {
                    Outcome::NotRun
                } else {
                    Outcome::MayHaveRun
                }
            };
            let wakers = core.in_flight.lose_late(now, PERIOD, cancel);
            if !wakers.is_empty() {
                core.queue.wake_first();
            }
            if core.queue.lose_late(now, PERIOD) {
                self.late.notify_waiters();
            }
            wakers.into_iter().for_each(Waker::wake);
        }
        core.watched = core.in_flight.waiting() > 0 || !core.queue.is_empty() || core.streams > 0;
        let is_watched = core.watched;
        if !is_watched && held.state.receiver.listens() {
            // Nothing has been called for a while: what the peer lets go of is to be rung for.
            self.doze(&mut held);
        }
        is_watched
    }
}
