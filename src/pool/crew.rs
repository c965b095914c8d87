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

use futures_util::future::join_all;
use tokio::sync::watch;

use super::balance::Routing;
use super::elastic::Gauge;
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
    /// And whether more are coming.
    seats: RwLock<(Vec<Seat<P>>, bool)>,
    turn: AtomicU64,
    routing: Routing,
    restart: Restart,
    start: Start<P>,
    phase: watch::Sender<Phase>,
    /// Of a crew whose size follows its work.
    gauge: Option<Gauge>,
}

/// The place of a member, which outlives it.
struct Seat<P> {
    proxy: P,
    restarts: u64,
    /// When its member took it.
    since: Instant,
    /// How its last member ended, once nobody follows.
    left: Option<Exit>,
    /// Nobody is to sit there until there is more work: its last member was dismissed.
    is_vacant: bool,
}

/// Whether somebody has a seat.
enum Sits {
    Yes,
    /// And is to leave it to nobody.
    Dismissed,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
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
    /// Calls that it was sent by this process, those in flight among them; tells are not counted.
    pub calls: u64,
    /// How long it is a member.
    pub uptime: Duration,
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
        let crew = Arc::new(Self {
            seats: RwLock::new((seats, false)),
            turn: AtomicU64::new(0),
            routing,
            restart,
            start,
            phase: watch::Sender::new(Phase::Works),
            gauge,
        });
        for at in 0..count {
            tokio::spawn(Arc::clone(&crew).keep(at));
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
        let (old, is_in) = self.write(|seats, _| {
            // Dismissed meanwhile, it needs nobody.
            let is_in = !seats[at].is_vacant;
            (if is_in { seats[at].refill(new) } else { new }, is_in)
        });
        if is_in {
            tokio::spawn(Arc::clone(self).keep(at));
            self.stop_latecomer(at);
        }
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
        let started = join_all(vacant.iter().map(|at| (self.start)(*at))).await;
        let mut all = true;
        for (at, new) in vacant.into_iter().zip(started) {
            let left = match new {
                Some(new) => self.seat(at, new),
                None => {
                    all = false;
                    continue;
                }
            };
            // It would have another number than it was started for: one before it has not come.
            all &= left.is_none();
        }
        self.write(|_, coming| *coming = false);
        self.end_with_the_last();
        all
    }

    /// Gives a seat that nobody has to `new`, or `new` back, if there is no such seat.
    fn seat(self: &Arc<Self>, at: usize, new: P) -> Option<P> {
        let left = self.write(|seats, _| {
            if at > seats.len() {
                return Some(new);
            }
            let seat = Seat::new(new);
            match seats.get_mut(at) {
                Some(vacant) => *vacant = seat,
                None => seats.push(seat),
            }
            None
        });
        if left.is_none() {
            tokio::spawn(Arc::clone(self).keep(at));
            self.stop_latecomer(at);
        }
        left
    }

    /// Empties the last seat that somebody has; gives who had it.
    pub(super) fn dismiss(&self) -> Option<P> {
        self.write(|seats, _| {
            let seat = seats.iter_mut().rev().find(|seat| !seat.is_vacant)?;
            seat.is_vacant = true;
            Some(seat.proxy.clone())
        })
    }

    /// Waits for the end of a seat's member, and starts others in its place as long as it may.
    async fn keep(self: Arc<Self>, at: usize) {
        let mut history = History::default();
        let began = Instant::now();
        loop {
            let life = self.life(at);
            let exit = life.exited().await;
            match self.read(|seats| seats[at].sits(&life)) {
                Sits::Yes => {}
                // Nobody follows, for now.
                Sits::Dismissed => return self.leave(at, Exit::Code(0)),
                // The new one has a keeper of its own.
                Sits::No => return,
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
                let left = self.write(|seats, _| match seats[at].sits(&life) {
                    Sits::Yes => seats[at].refill(new),
                    // Somebody else has put another one there meanwhile, or wants none there.
                    Sits::Dismissed | Sits::No => new,
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

    /// Notes that nobody follows in a seat.
    fn leave(&self, at: usize, exit: Exit) {
        self.write(|seats, _| seats[at].left = Some(exit));
        self.end_with_the_last();
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
        }
    }

    fn life(&self, at: usize) -> Life {
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

/// Whether both are of one actor.
fn is_same(one: &Life, other: &Life) -> bool {
    Arc::ptr_eq(&one.exchange, &other.exchange)
}

impl<P: Proxy> Seat<P> {
    fn new(proxy: P) -> Self {
        Self {
            proxy,
            restarts: 0,
            since: Instant::now(),
            left: None,
            is_vacant: false,
        }
    }

    /// Somebody new sits here; gives who did.
    fn refill(&mut self, new: P) -> P {
        self.restarts += 1;
        self.since = Instant::now();
        self.left = None;
        std::mem::replace(&mut self.proxy, new)
    }

    fn life(&self) -> &Life {
        self.proxy.__handle().life()
    }

    /// Whether the one with this life sits there.
    fn sits(&self, life: &Life) -> Sits {
        match (is_same(self.life(), life), self.is_vacant) {
            (true, false) => Sits::Yes,
            (true, true) => Sits::Dismissed,
            (false, _) => Sits::No,
        }
    }

    /// How much its member has to do; none: it takes nothing.
    fn load(&self) -> Option<usize> {
        let exchange = &self.life().exchange;
        let takes = !self.is_vacant && !exchange.is_over() && !exchange.is_stopping();
        takes.then(|| exchange.load())
    }

    fn member(&self) -> Member {
        Member {
            process_id: self.proxy.process_id(),
            is_alive: self.load().is_some(),
            in_flight: self.load().unwrap_or(0),
            restarts: self.restarts,
            // The first was its constructor's.
            calls: self.life().exchange.made().saturating_sub(1),
            uptime: self.since.elapsed(),
        }
    }
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
