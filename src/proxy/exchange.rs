//! One link as its callers share it: calls go out, answers come in, the end reaches everyone.
//!
//! ```text
//!  task ── begin ──> sender            a call that is alone looks for its answer itself;
//!  task <─ poll_answer ─┐              others sleep, and the driver looks for them
//!                       ├ core (lock): receiver, table of calls in flight
//!  driver (a task) <────┘ <── ear      wakes who got an answer, wakes who waits for room
//! ```
//!
//! The rule that no wake-up is lost: a task parks under the lock, and whoever leaves the lock while
//! tasks are parked has announced to the peer that it dozes, or is awake and will look again. That
//! is the task itself, or the driver, which always runs: a call that its owner forgets to poll
//! holds up no other.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::failure::Ended;
use super::in_flight::{Answer, InFlight, Patience};
use super::queue::Queue;
use crate::ring::Glance;
use crate::transport::Link;
use crate::transport::bell::Ear;
use crate::transport::board::{Board, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::receiver::{LinkError, Receiver};
use crate::transport::sender::{Locked, SendError, Sender};
use crate::transport::spin::{Next, Plan, Spin, Vigil};
use crate::wire::codec::{Buffer, spare};
use crate::wire::frame::{Head, Kind};
use crate::wire::hello::Tables;
use crate::wire::id::CallId;

/// How many answers are taken in before other tasks get a turn.
const DRAIN_MAX: usize = 1024;

/// Why a call was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeginError {
    /// It would have to wait: no slot, no room, or others wait already.
    Full,
    /// The link has ended.
    Ended,
    /// The usual time, which this is, has passed.
    Late(Duration),
}

/// What is known about the process at the other end without asking it.
pub(crate) trait Peer: Send + Sync {
    /// Whether it is stopped, as by SIGSTOP.
    fn stands_still(&self) -> bool;
}

/// One link and the calls on it.
pub(crate) struct Exchange {
    pub(crate) board: Board,
    /// Its lock guards the core too: a call takes it once to begin and once for its answer.
    pub(super) sender: Sender<Core>,
    glance: Glance<Memory>,
    /// The peer does not react: who waits to send gives up.
    pub(super) given_up: Notify,
    /// Somebody has waited too long to send.
    pub(super) late: Notify,
    driver: AtomicWaker,
    ended: OnceLock<Ended>,
    stopping: AtomicBool,
    /// What the peer said that it offers.
    tables: OnceLock<Tables>,
    peer: OnceLock<Box<dyn Peer>>,
}

pub(super) struct Core {
    receiver: Receiver,
    pub(super) in_flight: InFlight,
    spin: Spin,
    body: Buffer,
    /// Those who wait for a slot or room; nobody overtakes them.
    pub(super) queue: Queue,
    /// The driver looks again by himself: nobody need announce that he dozes.
    driver_awake: bool,
    /// The driver looks once a second whether the peer is stopped, and who waits too long.
    pub(super) watched: bool,
    /// How many such looks there were.
    looks: u32,
}

impl Core {
    /// What a wait that begins now has.
    #[inline]
    pub(super) fn patience(&self, bounded: bool) -> Patience {
        if bounded {
            Patience::Since(self.looks)
        } else {
            Patience::Endless
        }
    }

    /// How a call looks for its answer itself: only if it is alone. Several leave it to the driver.
    #[inline]
    fn plan(&self) -> Option<Plan> {
        if self.in_flight.waiting() == 1 {
            self.spin.plan()
        } else {
            None
        }
    }
}

impl Exchange {
    /// Callers of `link` with at most `slots` calls in flight, and the ear for their
    /// [driver](super::driver::drive), which must run.
    pub(crate) fn new(link: Link, slots: usize, idle: Idle) -> (Arc<Self>, Ear) {
        let core = Core {
            receiver: link.receiver,
            in_flight: InFlight::new(slots),
            spin: Spin::new(idle),
            body: Buffer::new(),
            queue: Queue::default(),
            driver_awake: false,
            watched: false,
            looks: 0,
        };
        let exchange = Arc::new(Self {
            board: link.board,
            sender: link.sender.with(core),
            glance: link.glance,
            given_up: Notify::new(),
            late: Notify::new(),
            driver: AtomicWaker::new(),
            ended: OnceLock::new(),
            stopping: AtomicBool::new(false),
            tables: OnceLock::new(),
            peer: OnceLock::new(),
        });
        (exchange, link.ear)
    }

    /// Tells what the peer offers.
    pub(crate) fn set_tables(&self, tables: Tables) {
        // Set once, after the greeting; a second time would be the same greeting.
        let _ = self.tables.set(tables);
    }

    /// What the peer offers; none until it has greeted.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.get()
    }

    /// Tells who is at the other end.
    pub(crate) fn set_peer(&self, peer: Box<dyn Peer>) {
        // Set once, by whoever started it.
        let _ = self.peer.set(peer);
    }

    pub(crate) fn is_peer_stopped(&self) -> bool {
        self.peer.get().is_some_and(|peer| peer.stands_still())
    }

    /// Why the link has ended or makes no new calls, if so.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        let stopping = || self.is_stopping().then_some(&Ended::Stopped);
        self.ended.get().or_else(stopping)
    }

    /// Lets no new call begin; those in flight go on.
    pub(crate) fn stop_beginning(&self) {
        // Under the lock, so that a call has begun before it or does not begin.
        let mut held = self.lock();
        self.stopping.store(true, Ordering::Relaxed);
        held.state.queue.wake_all();
        drop(held);
        self.driver.wake();
    }

    /// Whether the peer was asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether answers may still come.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Sends a call or tell now. A tell has no id; of a call it gives how the wait for its answer
    /// begins. `bounded`: it waits for the usual time.
    #[inline]
    pub(crate) fn try_begin(
        &self,
        head: Head,
        body: &[u8],
        bounded: bool,
    ) -> Result<(CallId, Vigil), BeginError> {
        let mut held = self.lock();
        if self.ended().is_some() {
            return Err(BeginError::Ended);
        }
        if !held.state.queue.is_empty() {
            return Err(BeginError::Full);
        }
        if head.kind == Kind::Tell {
            return match held.outbox.try_send(&head, body) {
                Ok(_) => Ok((CallId::NONE, Vigil::default())),
                Err(error) => Err(self.not_sent(&mut held, &error)),
            };
        }
        let patience = held.state.patience(bounded);
        let Some(call) = held.state.in_flight.insert(patience) else {
            return Err(BeginError::Full);
        };
        match held.outbox.try_send(&Head { call, ..head }, body) {
            Ok(position) => {
                held.state.in_flight.sent(call, position);
                Ok((call, Vigil::new(held.state.plan())))
            }
            Err(error) => {
                held.state.in_flight.remove(call);
                Err(self.not_sent(&mut held, &error))
            }
        }
    }

    pub(super) fn not_sent(&self, held: &mut Locked<Core>, error: &SendError) -> BeginError {
        match error {
            SendError::Full => BeginError::Full,
            SendError::Closed => BeginError::Ended,
            SendError::Corrupt(corrupt) => {
                self.break_off(held, &LinkError::from(*corrupt));
                BeginError::Ended
            }
        }
    }

    /// The answer of `call`, once it has come.
    ///
    /// A call that is alone looks for it in the ring for a while; others leave that to the driver.
    #[inline]
    pub(crate) fn poll_answer(
        &self,
        cx: &Context<'_>,
        call: CallId,
        vigil: &mut Vigil,
    ) -> Poll<Answer> {
        let promising = || self.glance.is_promising();
        vigil.first_burst(promising);
        let mut held = self.lock();
        if let Some(answer) = self.look_for(&mut held, call, vigil) {
            return Poll::Ready(answer);
        }
        let Some(plan) = held.state.plan() else {
            self.park(held, cx.waker(), call, vigil);
            return Poll::Pending;
        };
        drop(held);
        let next = plan.look(vigil, (&self.board, Side::Caller), promising);
        let mut held = self.lock();
        held.state.spin.learn(vigil);
        if let Some(answer) = self.look_for(&mut held, call, vigil) {
            return Poll::Ready(answer);
        }
        if next == Next::Sleep {
            self.park(held, cx.waker(), call, vigil);
        } else {
            // Who never parks still wants to know whether the peer stands still.
            let is_watched = next == Next::Look || std::mem::replace(&mut held.state.watched, true);
            drop(held);
            if !is_watched {
                self.driver.wake();
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Ready when the answer of `call` has come, and leaves it there.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>, call: CallId) -> Poll<()> {
        let mut held = self.lock();
        self.drain(&mut held, None);
        if held.state.in_flight.is_settled(call) {
            return Poll::Ready(());
        }
        self.park(held, cx.waker(), call, &mut Vigil::default());
        Poll::Pending
    }

    /// Whether the answer has come; looks into the ring too.
    pub(crate) fn is_settled(&self, call: CallId) -> bool {
        let mut held = self.lock();
        self.drain(&mut held, None);
        held.state.in_flight.is_settled(call)
    }

    /// Says that nobody wants the answer of `call` any more: not begun, it is not run.
    pub(crate) fn cancel(&self, call: CallId) {
        let mut held = self.lock();
        if held.state.in_flight.remove(call) {
            self.board.cancel(call);
            // A method that runs may want to know.
            held.outbox.ring();
        }
        held.state.queue.wake_first();
    }

    /// Ends the link: every waiting call ends with an error, and no new one begins. The first cause
    /// stays.
    pub(crate) fn end(&self, ended: Ended) {
        // Before anybody is woken by it: who wakes asks why. The first cause stays.
        let _ = self.ended.set(ended);
        let mut held = self.lock();
        held.outbox.close();
        // What the peer answered before its end is an answer.
        self.drain(&mut held, None);
        self.close(&mut held);
    }

    /// Ends the calls in flight, but not the link: the peer does not react.
    pub(crate) fn give_up_waiting(&self) {
        let mut held = self.lock();
        // It may go on later: then it shall not begin what was given up, and what it has read by
        // now says nothing.
        held.state
            .in_flight
            .calls()
            .for_each(|call| self.board.cancel(call));
        let wakers = held.state.in_flight.lose_all(u64::MAX);
        held.state.queue.wake_first();
        drop(held);
        self.given_up.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// One turn of the driver; see [`drive`](super::driver::drive).
    pub(crate) fn turn(&self, vigil: &mut Vigil) -> Turn {
        let mut held = self.lock();
        self.drain(&mut held, None);
        if held.state.in_flight.parked() == 0 && held.state.queue.is_empty() {
            // Answers that nobody waits for any more are taken in too: the peer may wait for their
            // room.
            if !held.state.receiver.is_empty() {
                held.state.driver_awake = true;
                return Turn::Again;
            }
            if held.state.receiver.freed() {
                held.outbox.ring();
            }
            // An actor that ends may still answer what nobody waits for, and must find room for it.
            held.state.driver_awake = self.is_stopping() && !held.state.receiver.doze();
            if held.state.driver_awake {
                return Turn::Again;
            }
            return Turn::Idle {
                watched: held.state.watched,
            };
        }
        // While senders wait for room, only the bell brings news of it.
        let plan = if self.sender.is_waited_on() {
            None
        } else {
            held.state.spin.plan()
        };
        if let Some(plan) = plan {
            held.state.driver_awake = true;
            drop(held);
            let next = plan.look(vigil, (&self.board, Side::Caller), || {
                self.glance.is_promising()
            });
            held = self.lock();
            held.state.spin.learn(vigil);
            if next != Next::Sleep {
                if next == Next::Look {
                    held.state.spin.found(vigil);
                    self.drain(&mut held, None);
                }
                return Turn::Again;
            }
        }
        if held.state.receiver.freed() {
            held.outbox.ring();
        }
        held.state.driver_awake = !held.state.receiver.doze();
        if held.state.driver_awake {
            Turn::Again
        } else {
            Turn::Idle {
                watched: held.state.watched,
            }
        }
    }

    /// Where the driver's waker is kept.
    pub(crate) fn driver(&self) -> &AtomicWaker {
        &self.driver
    }

    /// The bell has rung: there may be room again.
    pub(crate) fn room_freed(&self) {
        self.sender.room_freed();
    }

    /// Another look at the clock after `period`: ends what has waited for the usual time. Whether
    /// the driver shall go on watching.
    pub(crate) fn keep_watching(&self, period: Duration) -> bool {
        let mut held = self.lock();
        let core = &mut held.state;
        core.looks = core.looks.wrapping_add(1);
        if let Some(usual) = usual_looks(period) {
            let now = (core.looks, usual);
            let cancel = |call| self.board.cancel(call);
            let wakers = core.in_flight.lose_late(now, period, cancel);
            if !wakers.is_empty() {
                core.queue.wake_first();
            }
            if core.queue.lose_late(now, period) {
                self.late.notify_waiters();
            }
            wakers.into_iter().for_each(Waker::wake);
        }
        held.state.watched = held.state.in_flight.waiting() > 0 || !held.state.queue.is_empty();
        held.state.watched
    }

    /// Leaves the lock with `call` parked, and somebody sure to look.
    fn park(
        &self,
        mut held: MutexGuard<'_, Locked<Core>>,
        waker: &Waker,
        call: CallId,
        vigil: &mut Vigil,
    ) {
        if held.state.in_flight.waiting() > 1 {
            vigil.share();
        } else {
            vigil.sleep();
        }
        held.state.in_flight.park(call, waker);
        let mut wake_driver = !std::mem::replace(&mut held.state.watched, true);
        if !held.state.driver_awake {
            // Several calls: the driver looks for all of them. One: the bell will do.
            let crowd = held.state.in_flight.waiting() > 1 && held.state.spin.plan().is_some();
            if crowd || !held.state.receiver.doze() {
                held.state.driver_awake = true;
                wake_driver = true;
            }
        }
        drop(held);
        if wake_driver {
            self.driver.wake();
        }
    }

    /// The answer of `call`, taking in what has come until it is there.
    ///
    /// It stops at the answer: the word behind it lies in a line that the peer has just written,
    /// and the look would cost the hot call a transfer between cores.
    #[inline]
    fn look_for(&self, held: &mut Locked<Core>, call: CallId, vigil: &mut Vigil) -> Option<Answer> {
        self.drain(held, Some(call));
        let answer = held.state.in_flight.take(call, spare)?;
        held.state.spin.found(vigil);
        held.state.queue.wake_first();
        Some(answer)
    }

    /// Takes in the answers that have come, up to the one of `last`, and wakes their tasks.
    #[inline]
    fn drain(&self, held: &mut Locked<Core>, last: Option<CallId>) {
        for _ in 0..DRAIN_MAX {
            if last.is_some_and(|call| held.state.in_flight.is_settled(call)) {
                break;
            }
            match held.state.receiver.try_recv(&mut held.state.body) {
                Ok(None) => break,
                Ok(Some(head)) => self.take_in(held, head),
                Err(error) => {
                    self.break_off(held, &error);
                    break;
                }
            }
        }
        if held.state.receiver.owes_room() && held.state.receiver.freed() {
            held.outbox.ring();
        }
    }

    #[inline]
    fn take_in(&self, held: &mut Locked<Core>, head: Head) {
        match head.kind {
            Kind::Reply | Kind::Failure | Kind::Panicked | Kind::Refused => {
                let Core {
                    in_flight, body, ..
                } = &mut held.state;
                if let Some(waker) = in_flight.complete(head.call, head.kind, body) {
                    waker.wake();
                }
                // The answer can be set aside, so its slot is as good as free.
                held.state.queue.wake_first();
            }
            // A server has no business to send these.
            Kind::Call | Kind::Tell | Kind::Construct | Kind::Chunk | Kind::Abort => {
                self.break_off(held, &LinkError::Unexpected);
            }
        }
    }

    /// Ends the link because the peer broke the rules.
    fn break_off(&self, held: &mut Locked<Core>, error: &LinkError) {
        if self.ended.get().is_none() {
            tracing::error!(%error, "a peer broke the rules; its link is closed");
        }
        let _ = self.ended.set(Ended::Corrupt(error.to_string()));
        held.outbox.close();
        self.close(held);
    }

    /// Ends the calls in flight, the cause having been set.
    fn close(&self, held: &mut Locked<Core>) {
        let released = match self.ended.get() {
            Some(Ended::Died(_) | Ended::Stopped) => held.outbox.released(),
            // The peer lives on: as in `give_up_waiting`.
            Some(Ended::Corrupt(_) | Ended::NoRuntime) | None => {
                held.state
                    .in_flight
                    .calls()
                    .for_each(|call| self.board.cancel(call));
                u64::MAX
            }
        };
        held.state
            .in_flight
            .lose_all(released)
            .into_iter()
            .for_each(Waker::wake);
        held.state.queue.wake_all();
        self.sender.wake_all();
        self.driver.wake();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked<Core>> {
        self.sender.lock()
    }
}

/// The bound of a call that has none of its own, in milliseconds; zero: there is none.
static USUAL_MS: AtomicU64 = AtomicU64::new(30_000);

/// Sets how long a call of this process waits that has no bound of its own and none of its proxy's;
/// 30 s at first, and `None` for ever.
///
/// Of such a call the clock is looked at once a second, so that it costs nothing: it ends up to two
/// seconds later. Where that matters, use [`Call::timeout`](crate::Call::timeout). Calls that wait
/// already are meant too. The processes of actors have settings of their own.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// callboard::set_default_timeout(Some(Duration::from_secs(120)));
/// ```
pub fn set_default_timeout(after: Option<Duration>) {
    let most = u128::from(u64::MAX);
    let ms = after.map_or(0, |after| after.as_millis().clamp(1, most));
    let ms = u64::try_from(ms).unwrap_or(u64::MAX);
    // Relaxed: nothing else is published by it.
    USUAL_MS.store(ms, Ordering::Relaxed);
}

/// The usual time in looks at the clock, one each `period`.
fn usual_looks(period: Duration) -> Option<u32> {
    let ms = u128::from(USUAL_MS.load(Ordering::Relaxed));
    let looks = ms.div_ceil(period.as_millis().max(1));
    (looks > 0).then(|| u32::try_from(looks).unwrap_or(u32::MAX))
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Let other tasks run, then come back.
    Again,
    /// Wait for the bell, and if watched for the clock.
    Idle {
        /// Calls are in flight.
        watched: bool,
    },
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("ended", &self.ended.get())
            .finish_non_exhaustive()
    }
}
