//! The members of a pool: who they are now, which of them gets a call, and how they end.
//!
//! ```text
//!  call ── choose ──> seat 0  proxy ──> process        each seat has a task that waits for its
//!                     seat 1  proxy ──> process        member's end, and starts another one
//!  stop, kill ──────> ..
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::balance::Routing;
use crate::node::being::Group;
use crate::node::census::Life;
use crate::node::handle::Proxy;
use crate::proxy::Caller;
use crate::proxy::failure::Death;
use crate::proxy::target::Choose;
use crate::supervision::restart::{History, Restart};
use crate::sys::process::Exit;

/// How often a member that is replaced is looked at until nobody calls it any more.
const DRAIN_PERIOD: Duration = Duration::from_millis(2);

/// Starts the member of a seat; none: it could not be, and why was logged.
pub(super) type Start<P> =
    Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Option<P>> + Send>> + Send + Sync>;

/// The members of a pool.
pub(super) struct Crew<P> {
    seats: RwLock<Vec<Seat<P>>>,
    turn: AtomicU64,
    routing: Routing,
    restart: Restart,
    start: Start<P>,
    phase: watch::Sender<Phase>,
}

/// The place of a member, which outlives it.
struct Seat<P> {
    proxy: P,
    restarts: u64,
    /// How its last member ended, once nobody follows.
    left: Option<Exit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Works,
    Stops,
    /// All have ended, as the first that ended badly did.
    Ended(Exit),
}

/// One member of a pool as it is now.
///
/// # Examples
/// ```
/// # use callboard::prelude::*;
/// # use callboard::pool::Pool;
/// fn print<P: Proxy>(pool: &Pool<P>) {
///     for member in pool.members() {
///         println!("{}: {} calls", member.process_id, member.in_flight);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its process, as it was while it lived.
    pub process_id: u32,
    /// Whether it lives and takes calls.
    pub is_alive: bool,
    /// Answers that it owes this process, and calls that wait here to be sent to it.
    pub in_flight: usize,
    /// How often it was started again.
    pub restarts: u64,
}

impl<P: Proxy> Crew<P> {
    /// A crew of these members, which are watched from now on.
    pub(super) fn new(
        members: Vec<P>,
        start: Start<P>,
        (routing, restart): (Routing, Restart),
    ) -> Arc<Self> {
        let count = members.len();
        let seats = members.into_iter().map(Seat::new).collect();
        let crew = Arc::new(Self {
            seats: RwLock::new(seats),
            turn: AtomicU64::new(0),
            routing,
            restart,
            start,
            phase: watch::Sender::new(Phase::Works),
        });
        for at in 0..count {
            tokio::spawn(Arc::clone(&crew).keep(at));
        }
        crew
    }

    pub(super) fn len(&self) -> usize {
        self.read(|seats| seats.len())
    }

    /// The proxies of those who take calls.
    pub(super) fn proxies(&self) -> Vec<P> {
        self.read(|seats| {
            let working = seats.iter().filter(|seat| seat.load().is_some());
            working.map(|seat| seat.proxy.clone()).collect()
        })
    }

    /// The proxy of the member that `pick` names, which is told how many there are and which of
    /// them take calls; if it names none, of one that takes none.
    pub(super) fn picked(
        &self,
        pick: impl FnOnce(usize, &dyn Fn(usize) -> bool) -> Option<usize>,
    ) -> P {
        self.read(|seats| {
            let at = pick(seats.len(), &|at: usize| seats[at].load().is_some());
            seats[at.unwrap_or(0)].proxy.clone()
        })
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.read(|seats| seats.iter().map(Seat::member).collect())
    }

    /// Replaces the member of one seat by a new one, and ends the old one when what it was sent is
    /// done. False: there is no new one, and the old one stays.
    pub(super) async fn replace(self: &Arc<Self>, at: usize) -> bool {
        let Some(new) = (self.start)(at).await else {
            return false;
        };
        let old = self.write(|seats| seats[at].refill(new));
        tokio::spawn(Arc::clone(self).keep(at));
        self.stop_latecomer(at);
        // Nobody chooses it any more: it is drained when the calls that did are over.
        let until = Instant::now() + old.__handle().grace();
        while old.__handle().caller().is_shared() && Instant::now() < until {
            tokio::time::sleep(DRAIN_PERIOD).await;
        }
        if let Err(error) = old.stop().await {
            tracing::warn!(%error, "a member that was replaced did not end in order");
        }
        true
    }

    /// Waits for the end of a seat's member, and starts others in its place as long as it may.
    async fn keep(self: Arc<Self>, at: usize) {
        let mut history = History::default();
        let began = Instant::now();
        loop {
            let life = self.life(at);
            let exit = life.exited().await;
            if !self.is_in_seat(at, &life) {
                // Replaced; the new one has a keeper of its own.
                return;
            }
            let failed = exit != Exit::Code(0);
            let pause = history.restart(self.restart, failed, began.elapsed());
            let Some(pause) = pause.filter(|_| self.works() && !life.exchange.is_stopping()) else {
                if failed && self.works() {
                    tracing::error!(%exit, seat = at, "a pool's member died and is not replaced");
                }
                return self.leave(at, exit);
            };
            tracing::warn!(%exit, seat = at, "a pool's member ended and is started again");
            let mut phase = self.phase.subscribe();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = phase.wait_for(|phase| *phase != Phase::Works) => return self.leave(at, exit),
            }
            // If none comes, the next round sees the old one's end again, and may try once more.
            if let Some(new) = (self.start)(at).await {
                let left = self.write(|seats| {
                    let is_in_seat = is_same(seats[at].life(), &life);
                    // Somebody else has put another one there meanwhile.
                    if is_in_seat {
                        seats[at].refill(new)
                    } else {
                        new
                    }
                });
                drop(left);
                self.stop_latecomer(at);
            }
        }
    }

    /// Stops a new member that who stopped the pool has not seen.
    fn stop_latecomer(&self, at: usize) {
        if !self.works() {
            self.life(at).ask_to_stop();
        }
    }

    /// Notes that nobody follows in a seat; the last one to do so ends the pool.
    fn leave(&self, at: usize, exit: Exit) {
        let all = self.write(|seats| {
            seats[at].left = Some(exit);
            let exits: Option<Vec<_>> = seats.iter().map(|seat| seat.left).collect();
            exits
        });
        if let Some(exits) = all {
            let bad = exits.into_iter().find(|exit| *exit != Exit::Code(0));
            self.phase
                .send_replace(Phase::Ended(bad.unwrap_or(Exit::Code(0))));
        }
    }

    fn life(&self, at: usize) -> Life {
        self.read(|seats| seats[at].life().clone())
    }

    fn is_in_seat(&self, at: usize, life: &Life) -> bool {
        self.read(|seats| is_same(seats[at].life(), life))
    }

    fn works(&self) -> bool {
        *self.phase.borrow() == Phase::Works
    }

    /// No user's code runs in `f`, and nothing waits.
    fn read<T>(&self, f: impl FnOnce(&[Seat<P>]) -> T) -> T {
        f(&self.seats.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut [Seat<P>]) -> T) -> T {
        f(&mut self.seats.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn lives(&self) -> Vec<Life> {
        self.read(|seats| seats.iter().map(|seat| seat.life().clone()).collect())
    }
}

/// Whether both are of one actor.
fn is_same(one: &Life, other: &Life) -> bool {
    Arc::ptr_eq(&one.exchange, &other.exchange)
}

impl<P: Proxy> Seat<P> {
    fn new(proxy: P) -> Self {
        Self {
            proxy,
            restarts: 0,
            left: None,
        }
    }

    /// Somebody new sits here; gives who did.
    fn refill(&mut self, new: P) -> P {
        self.restarts += 1;
        self.left = None;
        std::mem::replace(&mut self.proxy, new)
    }

    fn life(&self) -> &Life {
        self.proxy.__handle().life()
    }

    /// How much its member has to do; none: it takes nothing.
    fn load(&self) -> Option<usize> {
        let exchange = &self.life().exchange;
        (!exchange.is_over() && !exchange.is_stopping()).then(|| exchange.load())
    }

    fn member(&self) -> Member {
        Member {
            process_id: self.proxy.process_id(),
            is_alive: self.load().is_some(),
            in_flight: self.load().unwrap_or(0),
            restarts: self.restarts,
        }
    }
}

impl<P: Proxy> Choose for Crew<P> {
    fn choose(&self) -> Option<Caller> {
        // ORDERING: Relaxed; the numbers only have to differ, nothing is passed on with them.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.read(|seats| {
            let at = self
                .routing
                .pick(turn, seats.len(), |at| seats[at].load())?;
            Some(seats[at].proxy.__handle().caller().clone())
        })
    }
}

impl<P: Proxy> Group for Crew<P> {
    fn pid(&self) -> u32 {
        let first = |seats: &[Seat<P>]| {
            let alive = seats.iter().find(|seat| seat.load().is_some());
            alive
                .or_else(|| seats.first())
                .map(|seat| seat.proxy.process_id())
        };
        self.read(first).unwrap_or(0)
    }

    fn exit(&self) -> Option<Exit> {
        match *self.phase.borrow() {
            Phase::Ended(exit) => Some(exit),
            Phase::Works | Phase::Stops => None,
        }
    }

    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        let mut phase = self.phase.subscribe();
        Box::pin(async move {
            loop {
                if let Phase::Ended(exit) = *phase.borrow_and_update() {
                    return exit;
                }
                if phase.changed().await.is_err() {
                    // Nobody keeps the seats any more: their runtime has ended.
                    return Exit::Dropped;
                }
            }
        })
    }

    fn stop(&self) {
        self.phase.send_if_modified(|phase| {
            let works = *phase == Phase::Works;
            if works {
                *phase = Phase::Stops;
            }
            works
        });
        self.lives().iter().for_each(Life::ask_to_stop);
    }

    fn kill(&self) {
        self.stop();
        self.lives().iter().for_each(|life| life.being.kill());
    }

    fn is_overdue(&self) -> bool {
        self.lives().iter().any(|life| life.being.is_overdue())
    }

    fn death(&self, exit: Exit) -> Death {
        let proxies = self.read(|seats| {
            let proxies: Vec<_> = seats.iter().map(|seat| seat.proxy.clone()).collect();
            proxies
        });
        let ended = |proxy: &&P| proxy.__handle().life().being.exit() == Some(exit);
        match proxies.iter().find(ended) {
            Some(proxy) => proxy.__handle().death(exit),
            None => Death::new(self.pid(), exit, None, None),
        }
    }
}

impl<P> fmt::Debug for Crew<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("routing", &self.routing)
            .field("phase", &self.phase.borrow())
            .finish_non_exhaustive()
    }
}
