//! The members of a pool: who they are now, which of them gets a call, and how they end.
//!
//! ```text
//!  call ── choose ──> seat 0  proxy ──> process      a supervisor has all seats in its care, each
//!                     seat 1  proxy ──> process      for itself: it hears of ends, and has others
//!  stop, kill ──────> ..                             seated
//! ```
//!
//! The proxies stand side by side under one lock, and not each in a supervised actor's own seat: a
//! call compares all of them, and is to take no lock for each.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

use super::balance::Routing;
use super::elastic::Gauge;
use super::member_post::MemberPost;
use super::seat::{Member, Seat, is_same};
use crate::node::being::Group;
use crate::node::census::Life;
use crate::node::handle::Proxy;
use crate::proxy::Caller;
use crate::proxy::failure::Death;
use crate::proxy::target::Choose;
use crate::supervision::restart::Restart;
use crate::supervision::{Strategy, Supervisor};
use crate::sys::process::Exit;

/// How often a member that is replaced is looked at until nobody calls it any more.
const DRAIN_PERIOD: Duration = Duration::from_millis(2);

/// Starts the member of a seat; none: it could not be, and why was logged.
pub(super) type Start<P> =
    Box<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Option<P>> + Send>> + Send + Sync>;

/// The members of a pool.
pub(super) struct Crew<P> {
    /// And whether more are coming.
    seats: RwLock<(Vec<Seat<P>>, bool)>,
    turn: AtomicU64,
    routing: Routing,
    pub(super) start: Start<P>,
    /// Who has the seats in its care, by their places; none: all have ended.
    care: Mutex<Option<Supervisor>>,
    phase: watch::Sender<Phase>,
    /// Whether somebody who does not own it has asked a member for its end, in whichever life.
    asked: watch::Sender<bool>,
    /// Of a crew whose size follows its work.
    gauge: Option<Gauge>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Works,
    Stops,
    /// All have ended, as the first that ended badly did.
    Ended(Exit),
}

impl<P: Proxy> Crew<P> {
    /// A crew of these members, which are watched from now on.
    pub(super) fn new(
        members: Vec<P>,
        start: Start<P>,
        (routing, restart): (Routing, Restart),
        gauge: Option<Gauge>,
    ) -> Arc<Self> {
        let count = members.len();
        let seats = members.into_iter().map(Seat::new).collect();
        let care = Supervisor::builder(Strategy::OneForOne).restart(restart);
        let care = care.start_each_alone();
        let crew = Arc::new(Self {
            seats: RwLock::new((seats, false)),
            turn: AtomicU64::new(0),
            routing,
            start,
            care: Mutex::new(Some(care)),
            phase: watch::Sender::new(Phase::Works),
            asked: watch::Sender::new(false),
            gauge,
        });
        for at in 0..count {
            crew.keep(at);
        }
        if crew.gauge.is_some() {
            tokio::spawn(Arc::clone(&crew).follow());
        }
        crew
    }

    pub(super) fn len(&self) -> usize {
        self.read(|seats| seats.iter().filter(|seat| !seat.is_vacant).count())
    }

    /// The seats that somebody has.
    pub(super) fn taken(&self) -> Vec<usize> {
        self.read(|seats| {
            let places = 0..seats.len();
            places.filter(|at| !seats[*at].is_vacant).collect()
        })
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
        self.read(|seats| {
            let taken = seats.iter().filter(|seat| !seat.is_vacant);
            taken.map(Seat::member).collect()
        })
    }

    /// The proxy of one who takes calls, and is not `other`, with the least to do.
    pub(super) fn another(&self, other: Option<&P>) -> Option<P> {
        let turn = self.next_turn();
        self.read(|seats| {
            let is_other = |at: usize| {
                other.is_some_and(|other| is_same(seats[at].life(), other.__handle().life()))
            };
            let load = |at: usize| seats[at].load().filter(|_| !is_other(at));
            let at = self.routing.pick(turn, seats.len(), load)?;
            Some(seats[at].proxy.clone())
        })
    }

    /// Replaces the member of one seat by a new one, and ends the old one when what it was sent is
    /// done. False: there is no new one, and the old one stays.
    pub(super) async fn replace(self: &Arc<Self>, at: usize) -> bool {
        let Some(new) = (self.start)(at).await else {
            return false;
        };
        // Dismissed meanwhile, it needs nobody.
        let sit = |seat: &mut Seat<P>, new| {
            if seat.is_vacant {
                new
            } else {
                seat.refill(new)
            }
        };
        let Some(old) = self.seat(at, new, sit).await else {
            return false;
        };
        Self::drain(old).await;
        true
    }

    /// Ends a member that nobody chooses any more, when the calls that did are over.
    pub(super) async fn drain(old: P) {
        let until = Instant::now() + old.__handle().grace();
        while old.__handle().caller().is_shared() && Instant::now() < until {
            tokio::time::sleep(DRAIN_PERIOD).await;
        }
        if let Err(error) = old.stop().await {
            tracing::warn!(%error, "a member that was replaced did not end in order");
        }
    }

    pub(super) fn gauge(&self) -> Option<&Gauge> {
        self.gauge.as_ref()
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// How many members there are, of those that are not given up, and how many calls they have.
    pub(super) fn burden(&self) -> (usize, usize) {
        self.read(burden)
    }

    /// Starts members for so many seats that nobody has, at once. False: not all of them started.
    pub(super) async fn take_on(self: &Arc<Self>, count: usize) -> bool {
        // While some are coming, the crew has not ended.
        let vacant = self.write(|seats, coming| {
            *coming = true;
            let vacant = (0..seats.len()).filter(|at| seats[*at].is_vacant);
            let vacant = vacant.chain(seats.len()..).take(count);
            vacant.collect::<Vec<_>>()
        });
        let start = |at: &usize| {
            let at = *at;
            // What the user has written may panic, which is a start that has failed.
            AssertUnwindSafe(async move { (self.start)(at).await }).catch_unwind()
        };
        let started = join_all(vacant.iter().map(start)).await;
        let mut all = true;
        for (at, new) in vacant.into_iter().zip(started) {
            let seated = match new {
                Ok(Some(new)) => self.take_in(at, new).await,
                Ok(None) | Err(_) => false,
            };
            all &= seated;
        }
        self.write(|_, coming| *coming = false);
        self.end_with_the_last();
        all
    }

    /// Gives a seat that nobody has to `new`. False: there is no such seat.
    async fn take_in(self: &Arc<Self>, at: usize, new: P) -> bool {
        let seats = self.read(<[_]>::len);
        if at < seats {
            let sit = |seat: &mut Seat<P>, new| std::mem::replace(seat, Seat::new(new)).proxy;
            return self.seat(at, new, sit).await.is_some();
        }
        // It would have another number than it was started for: one before it has not come.
        let is_next = at == seats;
        if is_next {
            self.write(|seats, _| seats.push(Seat::new(new)));
            self.keep(at);
            self.stop_latecomer(at);
        }
        is_next
    }

    /// Empties the last seat that somebody has; gives who had it.
    pub(super) fn dismiss(&self) -> Option<P> {
        self.write(|seats, _| {
            let seat = seats.iter_mut().rev().find(|seat| !seat.is_vacant)?;
            seat.is_vacant = true;
            // Nobody is called by what stays, which is another caller, and no call that is drained.
            let apart = seat.proxy.without_timeout();
            Some(std::mem::replace(&mut seat.proxy, apart))
        })
    }

    /// Gives the seat at the end to the supervisor's care.
    fn keep(self: &Arc<Self>, at: usize) {
        if let Some(care) = self.care() {
            let post = MemberPost::new(Arc::clone(self), at);
            care.care_for(format!("member {at} of a pool"), Arc::new(post));
        }
    }

    /// Has the supervisor put `new` into a seat, as `sit` does, which gives who is not there any
    /// more; none: there is no supervisor any more, and `new` is gone.
    async fn seat(
        self: &Arc<Self>,
        at: usize,
        new: P,
        sit: impl FnOnce(&mut Seat<P>, P) -> P + Send + 'static,
    ) -> Option<P> {
        let (reply, left) = oneshot::channel();
        let crew = Arc::clone(self);
        let refill = move || {
            let left = crew.write(|seats, _| sit(&mut seats[at], new));
            crew.stop_latecomer(at);
            // If nobody waits for it, it ends with its last call.
            let _ = reply.send(left);
        };
        self.care()?.refill(at as u64, Box::new(refill));
        left.await.ok()
    }

    /// Puts `new` into a seat, unless somebody else than `before` sits there, or nobody is to.
    pub(super) fn follow_up(&self, at: usize, before: &Life, new: P) {
        let left = self.write(|seats, _| {
            let seat = &mut seats[at];
            if seat.is_of(before) && !seat.is_vacant {
                seat.refill(new)
            } else {
                new
            }
        });
        drop(left);
        self.stop_latecomer(at);
    }

    fn care(&self) -> Option<Supervisor> {
        self.care
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stops a new member that who stopped the pool has not seen.
    fn stop_latecomer(&self, at: usize) {
        if !self.works() {
            self.life(at).ask_to_stop();
        }
    }

    /// Notes that nobody follows in a seat.
    pub(super) fn leave(&self, at: usize, exit: Exit) {
        self.write(|seats, _| {
            let seat = &mut seats[at];
            // How one that was dismissed has ended is no end of the pool's.
            let exit = if seat.is_vacant { Exit::Code(0) } else { exit };
            seat.left = Some(exit);
        });
        self.end_with_the_last();
    }

    /// Somebody who does not own it has asked a member for its end.
    pub(super) fn note_asked(&self) {
        self.asked.send_replace(true);
    }

    /// Whether somebody is to sit there.
    pub(super) fn is_wanted(&self, at: usize) -> bool {
        self.works() && self.read(|seats| !seats[at].is_vacant)
    }

    /// Who sits there, or sat there last, and how often another one took the seat.
    pub(super) fn sitting(&self, at: usize) -> (P, u64) {
        self.read(|seats| (seats[at].proxy.clone(), seats[at].restarts))
    }

    /// Ends the pool if nobody is left, and nobody comes.
    fn end_with_the_last(&self) {
        let all = self.write(|seats, coming| {
            let exits: Option<Vec<_>> = seats.iter().map(|seat| seat.left).collect();
            exits.filter(|_| !*coming)
        });
        if let Some(exits) = all {
            let bad = exits.into_iter().find(|exit| *exit != Exit::Code(0));
            self.phase
                .send_replace(Phase::Ended(bad.unwrap_or(Exit::Code(0))));
            // The supervisor ends with this, and lets go of the crew.
            let mut care = self.care.lock().unwrap_or_else(PoisonError::into_inner);
            let last = care.take();
            drop(care);
            drop(last);
        }
    }

    pub(super) fn life(&self, at: usize) -> Life {
        self.read(|seats| seats[at].life().clone())
    }

    fn works(&self) -> bool {
        *self.phase.borrow() == Phase::Works
    }

    /// No user's code runs in `f`, and nothing waits.
    fn read<T>(&self, f: impl FnOnce(&[Seat<P>]) -> T) -> T {
        f(&self.seats.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// The same; `f` is given as well whether members are coming.
    fn write<T>(&self, f: impl FnOnce(&mut Vec<Seat<P>>, &mut bool) -> T) -> T {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        let (seats, coming) = &mut *seats;
        f(seats, coming)
    }

    fn next_turn(&self) -> u64 {
        // ORDERING: Relaxed; the numbers only have to differ, nothing is passed on with them.
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn lives(&self) -> Vec<Life> {
        self.read(|seats| seats.iter().map(|seat| seat.life().clone()).collect())
    }
}

/// How many have a seat, and how many calls they have.
fn burden<P: Proxy>(seats: &[Seat<P>]) -> (usize, usize) {
    let there = seats.iter().filter(|seat| !seat.is_vacant);
    let loads = there.map(|seat| seat.load().unwrap_or(0));
    loads.fold((0, 0), |(members, calls), load| (members + 1, calls + load))
}

impl<P: Proxy> Choose for Crew<P> {
    fn choose(&self) -> Option<Caller> {
        let turn = self.next_turn();
        self.read(|seats| {
            if let Some(gauge) = &self.gauge {
                let (members, calls) = burden(seats);
                gauge.note(members, calls + 1);
            }
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

    fn asked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let mut asked = self.asked.subscribe();
            tokio::select! {
                _ = self.exited() => {}
                // Its sender is borrowed.
                _ = asked.wait_for(|asked| *asked) => {}
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
