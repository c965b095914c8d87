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
//!
//! Where both ends of the link are in one process there is nothing to look for: who answers puts
//! the answer into the table, and wakes its task.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::clock;
use super::driver::Lookout;
use super::failure::{Ended, Outcome};
use super::in_flight::{Answer, InFlight, Patience, Waiting};
use super::queue::Queue;
use crate::flow::table::Flows;
use crate::ring::Glance;
use crate::sys::body::Body;
use crate::sys::process::Exit;
use crate::transport::Link;
use crate::transport::bell::Ear;
use crate::transport::board::{Board, Memory, Side};
use crate::transport::direct::Promise;
use crate::transport::idle::Idle;
use crate::transport::receiver::{LinkError, Receiver};
use crate::transport::sender::{Locked, SendError, Sender};
use crate::transport::spin::{Next, Plan, Spin, Vigil};
use crate::transport::unreached::Unreached;
use crate::wire::attached::Attached;
use crate::wire::codec::spare_body;
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
    /// Its blobs cannot travel.
    Unattached,
}

/// What is known about the process at the other end without asking it.
pub(crate) trait Peer: Send + Sync {
    /// Whether it is stopped, as by SIGSTOP.
    fn stands_still(&self) -> bool;
}

/// One link and the calls on it.
pub(crate) struct Exchange {
    pub(crate) board: Board,
    /// How many calls are in flight.
    waiting: Waiting,
    /// Its lock guards the core too: a call takes it once to begin and once for its answer.
    pub(super) sender: Sender<Core>,
    pub(super) glance: Glance<Memory>,
    /// The peer does not react: who waits to send gives up.
    pub(super) given_up: Notify,
    /// Somebody has waited too long to send.
    pub(super) late: Notify,
    /// The link has ended.
    over: Notify,
    pub(super) lookout: Lookout,
    /// An answer was brought since somebody looked: a hint for who has no lock.
    pub(super) brought: AtomicBool,
    /// Whether the server in this process is woken by the next call.
    pub(super) promise: Promise,
    ended: OnceLock<Ended>,
    stopping: AtomicBool,
    /// What the peer said that it offers.
    tables: OnceLock<Tables>,
    pub(super) peer: OnceLock<Box<dyn Peer>>,
    pub(super) flows: Flows,
}

pub(super) struct Core {
    pub(super) receiver: Receiver,
    pub(super) in_flight: InFlight,
    pub(super) spin: Spin,
    pub(super) body: Body,
    /// Those who wait for a slot or room; nobody overtakes them.
    pub(super) queue: Queue,
    /// The driver looks again by himself: nobody need announce that he dozes.
    pub(super) driver_awake: bool,
    /// The clock is looked at once a second: who waits too long, and whether the peer is stopped.
    pub(super) watched: bool,
    /// How many such looks there were.
    pub(super) looks: u32,
    /// How many of them, the latest ones, found the peer stopped.
    pub(super) stopped_looks: u32,
    /// How many streams are open.
    pub(super) streams: usize,
    /// What those are to be told that still send for a stream which is over: there was no room.
    pub(super) unwanted: Vec<Head>,
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

    /// How a call looks for its answer itself: if it is alone. Several leave it to the driver.
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
        Self::over(link, slots, idle, Lookout::driver())
    }

    pub(super) fn over(link: Link, slots: usize, idle: Idle, lookout: Lookout) -> (Arc<Self>, Ear) {
        clock::start();
        link.sender.wait_as(idle);
        let in_flight = InFlight::new(slots);
        let waiting = in_flight.load();
        let core = Core {
            receiver: link.receiver,
            in_flight,
            spin: Spin::new(idle),
            body: Body::new(),
            queue: Queue::default(),
            driver_awake: false,
            watched: false,
            looks: 0,
            stopped_looks: 0,
            streams: 0,
            unwanted: Vec::new(),
        };
        let exchange = Arc::new(Self {
            board: link.board,
            waiting,
            sender: link.sender.with(core),
            glance: link.glance,
            given_up: Notify::new(),
            late: Notify::new(),
            over: Notify::new(),
            lookout,
            brought: AtomicBool::new(false),
            promise: Promise::default(),
            ended: OnceLock::new(),
            stopping: AtomicBool::new(false),
            tables: OnceLock::new(),
            peer: OnceLock::new(),
            flows: Flows::default(),
        });
        if let Some(porter) = link.porter {
            let exchange = Arc::downgrade(&exchange);
            porter.set_wake(move || {
                if let Some(exchange) = exchange.upgrade() {
                    exchange.lookout.wake();
                }
            });
        }
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
        self.lookout.wake();
    }

    /// Whether the peer was asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether a peer that ended by `exit` did so because it was asked to.
    pub(crate) fn was_stopped(&self, exit: Exit) -> bool {
        self.is_stopping() && exit == Exit::Code(0)
    }

    /// Waits until no answer comes any more.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn told_over(&self) {
        let mut over = pin!(self.over.notified());
        over.as_mut().enable();
        if !self.is_over() {
            over.await;
        }
    }

    /// Whether answers may still come.
    pub(crate) fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// How many answers the peer owes just now.
    #[inline]
    pub(crate) fn load(&self) -> usize {
        self.waiting.get()
    }

    /// How many calls it was sent, those that are cancelled or lost included.
    pub(crate) fn made(&self) -> u64 {
        self.lock().state.in_flight.made()
    }

    /// Sends a call or tell now. A tell has no id; of a call it gives how the wait for its answer
    /// begins. `bounded`: it waits for the usual time. `waker` is of the task that awaits the
    /// answer: where that is brought, the task is parked at once.
    #[inline]
    pub(crate) fn try_begin(
        self: &Arc<Self>,
        head: Head,
        (body, attached): (&[u8], &Attached),
        bounded: bool,
        waker: Option<&Waker>,
    ) -> Result<(CallId, Vigil), BeginError> {
        let mut held = self.lock();
        if self.ended().is_some() {
            return Err(BeginError::Ended);
        }
        if !held.state.queue.is_empty() {
            return Err(BeginError::Full);
        }
        if head.kind == Kind::Tell {
            return match held.outbox.try_send_with(&head, body, attached) {
                Ok(_) => Ok((CallId::NONE, Vigil::default())),
                Err(error) => Err(self.not_sent(&mut held, &error)),
            };
        }
        let patience = held.state.patience(bounded);
        let Some(call) = held.state.in_flight.insert(patience) else {
            return Err(BeginError::Full);
        };
        let head = Head { call, ..head };
        match held.outbox.try_send_with(&head, body, attached) {
            Ok(position) => {
                held.state.in_flight.sent(call, position);
                let plan = held.state.plan();
                let mut vigil = Vigil::new(plan);
                let sleeps = self.lookout.is_needless() && plan.is_none();
                if let Some(waker) = waker.filter(|_| sleeps) {
                    vigil.park();
                    self.park(held, waker, call, &mut vigil);
                }
                Ok((call, vigil))
            }
            Err(error) => {
                held.state.in_flight.remove(call);
                Err(self.not_sent(&mut held, &error))
            }
        }
    }

    pub(super) fn not_sent(&self, held: &mut Locked<Core>, error: &SendError) -> BeginError {
        match error {
            SendError::Full | SendError::Unconveyed => BeginError::Full,
            SendError::Closed => BeginError::Ended,
            SendError::Unattached => BeginError::Unattached,
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
        self: &Arc<Self>,
        cx: &Context<'_>,
        call: CallId,
        vigil: &mut Vigil,
    ) -> Poll<Answer> {
        let promising = || self.is_promising();
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
                self.watch();
            }
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Ready when the answer of `call` has come, and leaves it there.
    pub(crate) fn poll_settled(self: &Arc<Self>, cx: &Context<'_>, call: CallId) -> Poll<()> {
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

    /// Says that nobody wants the answer of `call` any more: not begun, it is not run. Gives what
    /// is known of it then.
    pub(crate) fn cancel(&self, call: CallId) -> Outcome {
        let mut held = self.lock();
        let mut outcome = Outcome::MayHaveRun;
        if held.state.in_flight.remove(call) {
            if self.board.withdraw(call) {
                outcome = Outcome::NotRun;
            }
            self.board.cancel(call);
            crate::sys::failpoint::at("caller.cancelled");
            // A method that runs may want to know.
            held.outbox.ring();
        }
        held.state.queue.wake_first();
        outcome
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
        let wakers = held.state.in_flight.lose_all(u64::MAX, |_| false);
        held.state.queue.wake_first();
        drop(held);
        self.flows.lose_all();
        self.given_up.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Leaves the lock with `call` parked, and somebody sure to look.
    fn park(
        self: &Arc<Self>,
        mut held: MutexGuard<'_, Locked<Core>>,
        waker: &Waker,
        call: CallId,
        vigil: &mut Vigil,
    ) {
        if held.state.in_flight.waiting() > 1 {
            vigil.share();
        } else {
            held.state.spin.sleep(vigil);
        }
        held.state.in_flight.park(call, waker);
        let is_watched = std::mem::replace(&mut held.state.watched, true);
        let mut wake_driver = false;
        if !self.lookout.is_needless() && !held.state.driver_awake {
            // Several calls: the driver looks for all of them. One: the bell will do.
            let crowd = held.state.in_flight.waiting() > 1 && held.state.spin.plan().is_some();
            if crowd || !held.state.receiver.doze() {
                held.state.driver_awake = true;
                wake_driver = true;
            }
        }
        drop(held);
        if !is_watched {
            self.watch();
        }
        if wake_driver {
            self.lookout.wake();
        }
    }

    /// Sees to it that what comes next is rung for; what has come meanwhile is taken in.
    pub(super) fn doze(&self, held: &mut Locked<Core>) {
        // A link that has ended brings nothing any more.
        while !held.state.receiver.doze() && !self.is_over() {
            self.drain(held, None);
        }
    }

    /// The answer of `call`, taking in what has come until it is there. A part ends a look, too.
    ///
    /// It stops at the answer: the word behind it lies in a line that the peer has just written,
    /// and the look would cost the hot call a transfer between cores.
    #[inline]
    fn look_for(&self, held: &mut Locked<Core>, call: CallId, vigil: &mut Vigil) -> Option<Answer> {
        self.drain(held, Some(call));
        let answer = held.state.in_flight.take(call, spare_body);
        if answer.is_some() || held.state.receiver.take_moved() {
            held.state.spin.found(vigil);
            held.state.queue.wake_first();
        }
        answer
    }

    /// Takes in what has come, up to the answer of `last`, but behind the end all; wakes its tasks.
    #[inline]
    pub(super) fn drain(&self, held: &mut Locked<Core>, last: Option<CallId>) {
        if self.lookout.is_needless() {
            // Under the lock: what is brought later says so again.
            self.brought.store(false, Ordering::Relaxed);
            return self.tell_unwanted(held);
        }
        for _ in 0..DRAIN_MAX {
            if last.is_some_and(|call| held.state.in_flight.is_settled(call)) {
                break;
            }
            match held.state.receiver.try_recv(&mut held.state.body) {
                Ok(None) if self.is_over() && !held.state.receiver.is_empty() => {}
                Ok(None) => break,
                Ok(Some(head)) => {
                    if let Some(waker) = self.accept(held, &head) {
                        waker.wake();
                    }
                }
                Err(error) => {
                    self.break_off(held, &error);
                    break;
                }
            }
        }
        if held.state.receiver.owes_room() && held.state.receiver.freed() {
            held.outbox.ring();
        }
        if held.state.receiver.take_room() {
            self.sender.room_freed();
        }
        self.tell_unwanted(held);
    }

    /// Takes in the frame whose payload is in the core's buffer, and gives the task to wake.
    #[inline]
    pub(super) fn accept(&self, held: &mut Locked<Core>, head: &Head) -> Option<Waker> {
        match head.kind {
            Kind::Reply | Kind::Failure | Kind::Panicked | Kind::Refused => {
                let Core {
                    in_flight,
                    body,
                    receiver,
                    ..
                } = &mut held.state;
                if head.attached {
                    in_flight.attach(head.call, receiver.take_attached());
                }
                let waker = in_flight.complete(head.call, head.kind, body);
                // What nobody waits for any more.
                body.let_go();
                // The answer can be set aside, so its slot is as good as free.
                held.state.queue.wake_first();
                waker
            }
            Kind::Items | Kind::Finish | Kind::Credit | Kind::Close => self.accept_flow(held, head),
            // A server has no business to send these.
            Kind::Call
            | Kind::Tell
            | Kind::Construct
            | Kind::Chunk
            | Kind::Abort
            | Kind::Beside => {
                self.break_off(held, &LinkError::Unexpected);
                None
            }
        }
    }

    /// Ends the link because the peer broke the rules.
    pub(super) fn break_off(&self, held: &mut Locked<Core>, error: &LinkError) {
        if self.ended.get().is_none() {
            tracing::error!(%error, "a peer broke the rules; its link is closed");
        }
        let _ = self.ended.set(Ended::Corrupt(error.to_string()));
        held.outbox.close();
        self.close(held);
    }

    /// Ends the calls in flight, the cause having been set.
    fn close(&self, held: &mut Locked<Core>) {
        let is_gone = matches!(self.ended.get(), Some(Ended::Died(_) | Ended::Stopped));
        let released = match self.ended.get() {
            Some(Ended::Died(_) | Ended::Stopped | Ended::Auth(_)) => held.outbox.released(),
            // What was not sent will not be.
            Some(Ended::Unreachable(why)) if *why != Unreached::NoRuntime => held.outbox.released(),
            // The peer lives on: as in `give_up_waiting`.
            Some(Ended::Corrupt(_) | Ended::Unreachable(_)) | None => {
                held.state
                    .in_flight
                    .calls()
                    .for_each(|call| self.board.cancel(call));
                u64::MAX
            }
        };
        held.state
            .in_flight
            .lose_all(released, |call| is_gone && self.board.is_held(call))
            .into_iter()
            .for_each(Waker::wake);
        held.outbox.let_go();
        self.flows.lose_all();
        held.state.queue.wake_all();
        self.over.notify_waiters();
        self.sender.wake_all();
        self.lookout.wake();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked<Core>> {
        self.sender.lock()
    }
}
