//! A link over a stream of bytes: rings in private memory, and a task that carries their records.
//!
//! ```text
//!  Sender ── kick ──┐                                    reads, takes in, rings the owner
//!  Board ── cancel ─┼─> Conduit (lock): Pump, stream <── a task: on a thread of its own, or,
//!  Receiver ─ kick ─┘   writes as much as there is room for   of a remote stream, its owner's
//! ```
//!
//! Who sends writes to the stream itself, in the bell's place: an answer that was sent is on its
//! way when its sender goes on, as in shared memory, or in the hands of a task that writes at that
//! moment. The task does what has to wait. It runs beside
//! the owner's runtime: an owner that computes, or whose runtime ends, does not hold up what was
//! sent, cancelled or asked. While neither is the case and little is on its way, a task in the
//! owner's runtime has its [turn](super::carrier).
//!
//! What it does not know: what kind of stream it is. [`Aside`] has what two processes of one
//! machine tell each other beside it; without one, cancels come behind what was sent before, and a
//! record that was sent counts as read.
//!
//! Where the peer's process is watched, whoever watches it [tells of its end](Pumping::finish). To
//! a [remote](lay_remote) one the stream is all there is: its end is the link's.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::Link;
use super::aside::Aside;
use super::bell::Chime;
use super::board::{Board, Geometry, Memory, Side};
use super::carried::Carried;
use super::carrier::{Carrier, Carrying, Kicks, Watch, attend, hand_over};
use super::farewell::{self, while_it_goes};
use super::freight::Freight;
use super::porter::Porter;
use super::pump::Pump;
use super::receiver::LinkError;
use super::relay::{OnParting, Parting, Relay};
use super::traffic::{Fetched, State};
use crate::sys::memory::Segment;
use crate::wire::id::CallId;

/// How many reads one poll does before other links get their turn.
const READS_MAX: usize = 16;

/// Fewer bytes in one read are small frames.
const SMALL: usize = 1024;

/// How long the peer's end may be closed before its process is seen to be dead.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// How long a dead peer's stream may stay open, in the hands of a process that it has left.
const DRAINED_WITHIN: Duration = Duration::from_secs(1);

/// Runs when all has been taken in that a dead peer had sent.
pub(crate) type OnEnd = Box<dyn FnOnce() + Send>;

/// One end of a stream, ready for its owner to [connect](Self::connect).
#[derive(Debug)]
pub(crate) struct Laid {
    memory: Memory,
    geometry: Geometry,
    side: Side,
    chime: Chime,
    relay: Arc<dyn Relay>,
    /// Who carries the memory of blobs, if that goes this way too.
    porter: Option<Arc<Porter>>,
}

/// Keeps the task of one end at work; dropped, it ends the stream.
pub(crate) struct Pumping {
    end: oneshot::Sender<OnEnd>,
}

/// Begins to carry records over `stream`, in a task of `runtime`. The peer's process is watched.
pub(crate) fn lay<S>(
    stream: S,
    (geometry, side): (Geometry, Side),
    aside: Option<Aside>,
    runtime: &Handle,
) -> (Laid, Pumping)
where
    S: Carried,
{
    let (conduit, laid) = lay_out(stream, (geometry, side), (aside, 0), None);
    let (end, ended) = oneshot::channel();
    runtime.spawn(drive(conduit, ended));
    (laid, Pumping { end })
}

/// Where a stream to a remote peer is carried on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtimes<'a> {
    /// That of the links, which nothing holds up.
    pub(crate) links: &'a Handle,
    /// The owner's.
    pub(crate) owner: &'a Handle,
}

/// The same to a peer of which nothing is known but this stream. What it calls a time is `skew`
/// later on this machine's clock, and as many bytes of its blobs may be in use here as `taken_max`.
pub(crate) fn lay_remote<S>(
    stream: S,
    ends: (Geometry, Side),
    terms: (i64, u64),
    (runtimes, on_parting): (Runtimes<'_>, OnParting),
) -> (Laid, Pumping)
where
    S: Carried,
{
    let (conduit, laid) = lay_out_remote(stream, ends, terms);
    let (end, ended) = oneshot::channel();
    let Runtimes { links, owner } = runtimes;
    if links.id() != owner.id() {
        owner.spawn(attend(Arc::clone(&conduit)));
    }
    links.spawn(drive_remote(conduit, ended, on_parting));
    (laid, Pumping { end })
}

pub(super) fn lay_out_remote<S>(
    stream: S,
    ends: (Geometry, Side),
    (skew, taken_max): (i64, u64),
) -> (Arc<Conduit<S>>, Laid)
where
    S: Carried,
{
    let freight = Freight::new(taken_max);
    let carried = Some(Arc::clone(&freight));
    let (conduit, laid) = lay_out(stream, ends, (None, skew), carried);
    let conduit_of = Arc::downgrade(&conduit);
    freight.set_relay(conduit_of);
    (conduit, laid)
}

fn lay_out<S>(
    stream: S,
    (geometry, side): (Geometry, Side),
    (aside, skew): (Option<Aside>, i64),
    freight: Option<Arc<Freight>>,
) -> (Arc<Conduit<S>>, Laid)
where
    S: Carried,
{
    let memory = Memory(Arc::new(Segment::private(geometry.segment_len())));
    let mut pump = Pump::new(&memory, geometry, side);
    if let Some(freight) = &freight {
        pump.carry(Arc::clone(freight));
    }
    let chime = Chime::default();
    let conduit = Arc::new(Conduit {
        chime: chime.clone(),
        board: Board::new(memory.clone(), geometry),
        beside: Mutex::new(aside.map_or(Beside::Nothing, Beside::Open)),
        skew,
        fault: OnceLock::new(),
        flushed: Notify::new(),
        kicks: Kicks::default(),
        state: Mutex::new(State::new(stream, pump)),
    });
    let laid = Laid {
        memory,
        geometry,
        side,
        chime,
        relay: Arc::clone(&conduit) as Arc<dyn Relay>,
        porter: freight.map(Porter::over_stream),
    };
    (conduit, laid)
}

impl Laid {
    /// Who carries this end's records.
    pub(crate) fn relay(&self) -> Arc<dyn Relay> {
        Arc::clone(&self.relay)
    }

    /// This process's end of the link.
    pub(crate) fn connect(self, message_len_max: u64) -> Link {
        let Self {
            memory,
            geometry,
            side,
            chime,
            relay,
            porter,
        } = self;
        let link = Link::relayed(memory, geometry, side, (chime, relay), message_len_max);
        match porter {
            Some(porter) => link.attach(porter),
            None => link,
        }
    }
}

impl Pumping {
    /// The peer's process is dead: `then` runs when what it had sent is taken in, very soon.
    pub(crate) fn finish(self, then: OnEnd) {
        if let Err(then) = self.end.send(then) {
            // There is no task any more, so nothing more comes in.
            then();
        }
    }
}

/// One end of a stream, shared by its tasks and the parts of its link.
pub(super) struct Conduit<S> {
    state: Mutex<State<S>>,
    /// Rings the owner of this end.
    chime: Chime,
    /// What the owner's board shows, for cancels that came in the stream.
    board: Board,
    beside: Mutex<Beside>,
    /// What is to be added to the peer's times.
    skew: i64,
    fault: OnceLock<LinkError>,
    flushed: Notify,
    pub(super) kicks: Kicks,
}

/// What goes beside the stream.
enum Beside {
    /// Nothing ever did.
    Nothing,
    Open(Aside),
    /// The peer is dead, and what it had left was taken.
    Closed {
        read: u64,
    },
}

impl<S: Carried> Conduit<S> {
    /// Carries on, as whoever `own` says, until the stream ends or cannot go on, or it is another
    /// one's turn.
    pub(super) fn carry(&self, cx: &mut Context<'_>, own: Carrier) -> Poll<()> {
        let (mut came, mut was_asleep) = (0, false);
        for _ in 0..READS_MAX {
            if self.fault.get().is_some() {
                return Poll::Ready(());
            }
            // Let go each time: who sends something does not wait for all that comes.
            let _carrying = Carrying::new(self);
            let mut state = self.lock();
            if state.turns.carrier() != own {
                return Poll::Pending;
            }
            let fetched = match self.advance(&mut state, cx) {
                Ok((fetched, rung)) => {
                    was_asleep |= rung;
                    fetched
                }
                Err(error) => {
                    drop(state);
                    self.fail(error);
                    return Poll::Ready(());
                }
            };
            if state.pump.is_settled()
                && let Some(then) = state.settled.take()
            {
                drop(state);
                then();
                state = self.lock();
            }
            match fetched {
                Fetched::End => return Poll::Ready(()),
                _ if state.is_parted_from() => return Poll::Ready(()),
                Fetched::Nothing if !state.has_piece() && state.rests() => {
                    if state.is_full() {
                        self.take_over(&mut state);
                    } else if came > 0 {
                        hand_over(&mut state, was_asleep);
                    }
                    return Poll::Pending;
                }
                Fetched::Nothing => {}
                Fetched::Some(len) => {
                    came += len;
                    if !state.pump.is_light() {
                        self.take_over(&mut state);
                    }
                }
            }
        }
        // Others are to have their turn. Many small frames are better read beside the owner.
        if came < READS_MAX * SMALL {
            self.take_over(&mut self.lock());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What came, and whether the owner was asleep and is rung for it.
    fn advance(
        &self,
        state: &mut State<S>,
        cx: &mut Context<'_>,
    ) -> Result<(Fetched, bool), LinkError> {
        let (mut cancelled, board) = (false, &self.board);
        let before = state.pump.received();
        let fetched = state.fetch(cx, |call| {
            board.note_cancel(call);
            cancelled = true;
        });
        // Also what came before a lie is the owner's. Of pieces of blobs it need not hear.
        let has_some = state.pump.received() > before;
        let is_rung = has_some && state.pump.announce();
        if is_rung || cancelled || has_some && state.pump.is_crowded() {
            self.chime.ring();
        }
        let fetched = fetched?;
        self.flush(state, cx)?;
        if state.begin_piece() {
            self.flush(state, cx)?;
        }
        Ok((fetched, is_rung))
    }

    fn flush(&self, state: &mut State<S>, cx: &mut Context<'_>) -> Result<(), LinkError> {
        state.flush(cx, &self.chime)?;
        if state.is_flushed() {
            self.flushed.notify_waiters();
        }
        Ok(())
    }

    /// Writes in the task's place; before the task has begun it will find out by itself.
    pub(super) fn write_now(&self, state: &mut State<S>) {
        let Some((carrier, waker)) = state.turns.lend() else {
            return;
        };
        let mut cx = Context::from_waker(&waker);
        let is_done = loop {
            if let Err(error) = self.flush(state, &mut cx) {
                self.fail(error);
                waker.wake_by_ref();
                break true;
            }
            if state.has_piece() {
                // It is the task's, which may take its time.
                waker.wake_by_ref();
                break false;
            }
            if state.rests() {
                break !state.is_full();
            }
        };
        state.turns.give_back(carrier, waker);
        if !is_done {
            self.take_over(state);
        }
    }

    /// Notes what ended the stream; the owner learns of it when it has read what came before.
    fn fail(&self, error: LinkError) {
        // The first cause stays.
        let _ = self.fault.set(error);
        self.chime.ring();
    }

    /// Nothing more goes or comes; what is open is closed, whoever still holds the link.
    fn close(&self) {
        let mut state = self.lock();
        state.stream = None;
        let wakers = state.turns.end();
        state.pump.end();
        let settled = state.settled.take();
        self.flushed.notify_waiters();
        drop(state);
        // The task in the owner's runtime ends, too.
        wakers.into_iter().flatten().for_each(Waker::wake);
        if let Some(then) = settled {
            then();
        }
    }
}

impl<S> Conduit<S> {
    fn beside(&self) -> MutexGuard<'_, Beside> {
        // As of the state below.
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses what goes beside the stream, if that is open.
    fn aside<T>(&self, use_it: impl FnOnce(&Aside) -> T) -> Option<T> {
        match &*self.beside() {
            Beside::Open(aside) => Some(use_it(aside)),
            Beside::Nothing | Beside::Closed { .. } => None,
        }
    }

    fn close_aside(&self) {
        let mut beside = self.beside();
        if let Beside::Open(aside) = &*beside {
            let read = aside.read();
            *beside = Beside::Closed { read };
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Nothing of the user's runs under this lock, and no step of ours can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one end.
async fn drive<S: Carried>(conduit: Arc<Conduit<S>>, mut end: oneshot::Receiver<OnEnd>) {
    let closing = Closing(&conduit);
    let mut watch = Watch::default();
    let mut pumping = pin!(poll_fn(|cx| conduit.poll(cx, &mut watch)));
    let then = tokio::select! {
        then = &mut end => {
            if then.is_ok() {
                // What the dead peer had sent is there already, and behind it the end.
                let _ = timeout(DRAINED_WITHIN, pumping).await;
            }
            then
        }
        () = &mut pumping => match timeout(CLOSED_WITHIN, &mut end).await {
            Ok(then) => then,
            Err(_) => {
                conduit.fail(LinkError::Closed);
                end.await
            }
        },
    };
    drop(closing);
    if let Ok(then) = then {
        then();
        // Whoever holds a dead peer's link holds nothing that is open.
        conduit.close_aside();
    }
}

/// The task of one end of a stream to a remote peer.
pub(super) async fn drive_remote<S: Carried>(
    conduit: Arc<Conduit<S>>,
    mut end: oneshot::Receiver<OnEnd>,
    on_parting: OnParting,
) {
    let closing = Closing(&conduit);
    let mut watch = Watch::default();
    let ended = tokio::select! {
        biased; // What was sent goes out first.
        () = poll_fn(|cx| conduit.poll(cx, &mut watch)) => None,
        ended = &mut end => Some(ended),
    };
    if let Some(Ok(_)) = &ended {
        crate::sys::failpoint::at("pump.hung.up");
        hang_up(&conduit, &mut watch).await;
    }
    let state = conduit.lock();
    let parting = match conduit.fault.get() {
        Some(error) => Parting::Broken(error.clone()),
        None if state.is_parted_from() => Parting::Bye,
        None if ended.is_some() => Parting::Cut,
        None => Parting::Lost(state.lost),
    };
    drop(state);
    drop(closing);
    on_parting(parting);
    if let Some(Ok(then)) = ended {
        then();
    }
}

/// Lets all go out that was sent, also where nobody was rung for it any more, and then waits for
/// the peer to see the end, and to close its own.
async fn hang_up<S: Carried>(conduit: &Conduit<S>, watch: &mut Watch) {
    conduit.stay();
    let flushing = poll_fn(|cx| match conduit.poll(cx, watch) {
        Poll::Pending if conduit.lock().has_to_flush() => Poll::Pending,
        Poll::Pending | Poll::Ready(()) => Poll::Ready(()),
    });
    let progress = || conduit.lock().progress();
    if !while_it_goes(farewell::STALLED_WITHIN, progress, flushing).await {
        tracing::warn!("an actor takes no more of what it was sent; the rest is lost");
        return conduit.lock().cut();
    }
    let closing = async {
        if poll_fn(|cx| conduit.lock().poll_shutdown(cx)).await.is_ok() {
            // What comes until then is read: a close with bytes unread is a reset.
            poll_fn(|cx| conduit.poll(cx, watch)).await;
        }
    };
    let _ = timeout(farewell::CLOSED_WITHIN, closing).await;
}

/// Closes the stream with its task, also where the task's runtime ends before.
struct Closing<'a, S: Carried>(&'a Conduit<S>);

impl<S: Carried> Drop for Closing<'_, S> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<S: Carried> Relay for Conduit<S> {
    fn kick(&self) {
        if !self.kicks.are_heeded() {
            self.write_now(&mut self.lock());
        }
    }

    fn stir(&self) {
        let mut state = self.lock();
        self.take_over(&mut state);
        state.turns.wake(Carrier::Links);
    }

    fn cancel(&self, call: CallId) {
        self.aside(|aside| aside.cancel(call));
        // In the stream too: there it wakes an actor whose method runs and wants to know.
        let mut state = self.lock();
        state.pump.cancel(call);
        self.write_now(&mut state);
    }

    fn hear_cancels(&self, cancel: &mut dyn FnMut(CallId)) {
        self.aside(|aside| aside.hear_cancels(cancel));
    }

    fn note_read(&self, bytes: u64) {
        self.aside(|aside| aside.note_read(bytes));
    }

    fn read_at_most(&self) -> u64 {
        match &*self.beside() {
            Beside::Open(aside) => aside.read(),
            Beside::Closed { read } => *read,
            Beside::Nothing => {
                let pump = &self.lock().pump;
                // What an actor that ended in order has not answered it has not begun.
                if pump.is_parted() { 0 } else { pump.sent() }
            }
        }
    }

    fn leave_last_words(&self, words: &[u8]) {
        self.aside(|aside| aside.leave_last_words(words));
    }

    fn take_last_words(&self) -> Option<Vec<u8>> {
        self.aside(Aside::take_last_words)?
    }

    fn fault(&self) -> Option<LinkError> {
        self.fault.get().cloned()
    }

    fn settle(&self, then: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if state.stream.is_none() {
            drop(state);
            return then();
        }
        state.settled = Some(then);
        state.pump.settle();
        self.write_now(&mut state);
    }

    fn part(&self) {
        let mut state = self.lock();
        state.pump.part();
        self.write_now(&mut state);
    }

    fn local_time(&self, time: u64) -> u64 {
        time.saturating_add_signed(self.skew)
    }

    fn is_over(&self) -> bool {
        self.lock().stream.is_none()
    }

    fn is_flushed(&self) -> bool {
        self.lock().is_flushed()
    }

    fn flushed(&self) -> &Notify {
        &self.flushed
    }
}

impl<S> fmt::Debug for Conduit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduit")
            .field("fault", &self.fault.get())
            .finish_non_exhaustive()
    }
}
