//! Where an actor's calls come in: looks, sleeps, and knows when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::ring::Glance;
use crate::sys::clock;
use crate::transport::bell::Ear;
use crate::transport::board::{Board, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::receiver::{LinkError, Receiver};
use crate::transport::sender::Sender;
use crate::transport::spin::{Next, Plan, Spin, Vigil};
use crate::wire::codec::Buffer;
use crate::wire::frame::{Head, Kind};

/// After how many frames other tasks get a turn.
const TURN_MAX: u32 = 512;

/// Asks a server to end once it has run what has come in. Shared with whoever may ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    asked: AtomicBool,
    waker: AtomicWaker,
}

impl Stop {
    /// Asks. Once is enough.
    pub(crate) fn ask(&self) {
        // Release: pairs with the Acquire in `is_asked`, though nothing but the flag is published.
        self.0.asked.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }
}

/// The receiving end of a server.
pub(crate) struct Port {
    receiver: Receiver,
    glance: Glance<Memory>,
    board: Board,
    ear: Ear,
    spin: Spin,
    vigil: Vigil,
    stop: Stop,
    turn: u32,
    /// Whether the last poll waits for nothing: its task has been woken by itself.
    broken: Option<LinkError>,
}

/// What comes in.
pub(crate) enum Event {
    /// A call or tell that somebody still wants.
    Frame(Head),
    /// No more will come: stop was asked, and all that had come in was given out.
    Stopped,
}

impl Port {
    pub(crate) fn new(
        (receiver, glance): (Receiver, Glance<Memory>),
        board: Board,
        ear: Ear,
        idle: Idle,
        stop: Stop,
    ) -> Self {
        let (spin, vigil) = (Spin::new(idle), Vigil::default());
        Self {
            receiver,
            glance,
            board,
            ear,
            spin,
            vigil,
            stop,
            turn: 0,
            broken: None,
        }
    }

    /// The next call; its payload is put into `body`, whose memory is used again.
    ///
    /// # Errors
    /// [`LinkError`] when the caller breaks the rules.
    #[inline]
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        sender: &Sender,
        body: &mut Buffer,
    ) -> Poll<Result<Event, LinkError>> {
        loop {
            if self.turn >= TURN_MAX {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(event) = self.take(sender, body)? {
                self.turn += 1;
                return Poll::Ready(Ok(event));
            }
            // Nobody is kept waiting for a place while we look or sleep.
            if self.stop.is_asked() {
                return Poll::Ready(Ok(Event::Stopped));
            }
            if !self.look_again(cx, sender) {
                self.turn = 0;
                return Poll::Pending;
            }
            // What looks like news and is none can do so for ever.
            self.turn += 1;
        }
    }

    /// Hears the bell while a handler runs: it brings room for answers that wait.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, sender: &Sender) {
        while let Poll::Ready(Ok(())) = self.ear.poll_rung(cx) {
            sender.room_freed();
        }
    }

    /// Takes the next frame that somebody still wants.
    #[inline]
    fn take(&mut self, sender: &Sender, body: &mut Buffer) -> Result<Option<Event>, LinkError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        loop {
            let head = match self.receiver.try_recv(body) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.broken = Some(error.clone());
                    return Err(error);
                }
            };
            self.spin.found(&mut self.vigil);
            if self.receiver.owes_room() {
                self.tell_of_room(sender);
            }
            crate::sys::failpoint::at("callee.recv.after");
            if self.is_wanted(&head) {
                return Ok(Some(Event::Frame(head)));
            }
        }
    }

    #[inline]
    fn is_wanted(&self, head: &Head) -> bool {
        match head.kind {
            Kind::Call | Kind::Construct if self.board.is_cancelled(head.call) => false,
            _ => head
                .deadline
                .is_none_or(|deadline| clock::now() <= deadline),
        }
    }

    /// Looks or goes to sleep. True: look into the ring again now. False: the task will be woken.
    fn look_again(&mut self, cx: &mut Context<'_>, sender: &Sender) -> bool {
        // Answers that wait for room hear of it only by the bell.
        let plan = if sender.is_waited_on() {
            None
        } else {
            self.spin.plan()
        };
        if let Some(plan) = plan {
            let promising = || self.glance.is_promising();
            if Plan::burst(promising) {
                return true;
            }
            self.tell_of_room(sender);
            let here = (&self.board, Side::Server);
            let next = plan.look(&mut self.vigil, here, || self.glance.is_promising());
            self.spin.learn(&mut self.vigil);
            match next {
                Next::Look => return true,
                Next::Again => {
                    // The stop flag is looked at in the next round.
                    cx.waker().wake_by_ref();
                    return false;
                }
                Next::Sleep => {}
            }
        }
        self.vigil.sleep();
        self.tell_of_room(sender);
        self.stop.0.waker.register(cx.waker());
        if self.stop.is_asked() || !self.receiver.doze() {
            return true;
        }
        match self.ear.poll_rung(cx) {
            Poll::Ready(Ok(())) => {
                sender.room_freed();
                true
            }
            // An ear that hears nothing any more: the runtime is ending, and we with it.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    fn tell_of_room(&mut self, sender: &Sender) {
        if self.receiver.freed() {
            sender.ring();
        }
    }
}
