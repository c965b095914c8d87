//! One link of an actor, as its calls come in: looks, and sleeps.

use std::task::{Context, Poll, Waker};

use super::replies::Back;
use super::signals::Signals;
use crate::flow::Way;
use crate::flow::table::Taken;
use crate::ring::Glance;
use crate::sys::body::Body;
use crate::sys::clock;
use crate::transport::bell::Ear;
use crate::transport::board::{Board, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::receiver::{LinkError, Receiver};
use crate::transport::sender::Sender;
use crate::transport::sleeper::Bed;
use crate::transport::spin::{Next, Plan, Spin, Vigil};
use crate::wire::attached::Attached;
use crate::wire::frame::{Head, Kind};

/// One link of an actor, and how it waits.
#[derive(Debug)]
pub(crate) struct Port {
    receiver: Receiver,
    glance: Glance<Memory>,
    board: Board,
    ear: Ear,
    /// Where its task hears of calls, if their callers are in this process.
    bed: Bed,
    spin: Spin,
    vigil: Vigil,
    /// Why nothing more comes.
    broken: Option<LinkError>,
    /// A stream has had news: whose it is has its turn before anybody sleeps.
    is_stirred: bool,
}

impl Port {
    pub(crate) fn new(
        (receiver, glance): (Receiver, Glance<Memory>),
        board: Board,
        ear: Ear,
        idle: Idle,
    ) -> Self {
        let (spin, vigil) = (Spin::new(idle), Vigil::default());
        Self {
            receiver,
            glance,
            board,
            ear,
            bed: Bed::default(),
            spin,
            vigil,
            broken: None,
            is_stirred: false,
        }
    }

    /// Hears the bell while a handler runs: it brings room for answers that wait.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>, sender: &Sender, signals: &Signals) {
        sender.listen(&mut self.bed, cx);
        while let Poll::Ready(Ok(())) = self.ear.poll_rung(cx) {
            sender.room_freed();
            signals.cancels().look();
        }
        self.say_due(sender);
    }

    /// The memory that came with the call that was taken last.
    #[inline]
    pub(super) fn take_attached(&mut self, head: &Head) -> Attached {
        if head.attached {
            self.receiver.take_attached()
        } else {
            Attached::default()
        }
    }

    /// Says what is due about the memory that goes beside the frames.
    #[inline]
    fn say_due(&self, sender: &Sender) {
        if self.receiver.is_due() {
            sender.say_due();
        }
    }

    /// Whether nothing has come in.
    pub(crate) fn is_empty(&self) -> bool {
        self.broken.is_some() || self.receiver.is_empty()
    }

    /// Takes the next call that somebody still wants; its payload is put into `body`, whose memory
    /// is used again.
    ///
    /// # Errors
    /// [`LinkError`] when the caller breaks the rules.
    #[inline]
    pub(crate) fn take(&mut self, back: &Back, body: &mut Body) -> Result<Option<Head>, LinkError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        loop {
            let received = self.receiver.try_recv(body);
            // Whoever waits for room has filled more than what is told here, and so need not be
            // told of the rest before we sleep.
            if self.receiver.owes_room() {
                self.tell_of_room(back.sender());
            }
            let head = match received {
                Ok(Some(head)) => head,
                Ok(None) => {
                    if self.receiver.take_moved() {
                        self.spin.found(&mut self.vigil);
                    }
                    self.hear_beside(back.sender());
                    return Ok(None);
                }
                Err(error) => {
                    self.broken = Some(error.clone());
                    return Err(error);
                }
            };
            self.spin.found(&mut self.vigil);
            crate::sys::failpoint::at("callee.recv.after");
            if head.kind.is_flow() {
                self.take_flow(back, head, body)?;
            } else if is_wanted(&head, &self.board) {
                return Ok(Some(head));
            }
            drop(self.take_attached(&head));
            body.let_go();
        }
    }

    /// What was said of the memory that goes beside the frames may make room, and ask for words.
    #[inline]
    fn hear_beside(&mut self, sender: &Sender) {
        if self.receiver.take_room() {
            sender.room_freed();
        }
        self.say_due(sender);
    }

    /// Takes in the frame of a stream.
    #[cold]
    fn take_flow(&mut self, back: &Back, head: Head, body: &mut Body) -> Result<(), LinkError> {
        let attached = self.take_attached(&head);
        match back.flows().take(head, body, attached) {
            Ok(Taken::In(waker)) => {
                self.is_stirred = true;
                waker.into_iter().for_each(Waker::wake);
                Ok(())
            }
            // Its end was sent, and this was on its way meanwhile.
            Ok(Taken::Unknown) => Ok(()),
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Takes nothing more: the caller has broken the rules.
    pub(super) fn break_off(&mut self, error: &LinkError) {
        self.broken = Some(error.clone());
    }

    /// Announces that nobody looks until the bell rings. False: there is something already.
    pub(super) fn rest(&mut self, sender: &Sender) -> bool {
        self.broken.is_some() || sender.lets_doze(&mut self.receiver)
    }

    /// Whether its task may sleep without a look: the next call wakes it by a promise, which was
    /// given when all calls had been read, and there is nothing else to hear or to say.
    #[inline]
    pub(super) fn rests_assured(
        &mut self,
        cx: &mut Context<'_>,
        sender: &Sender,
        signals: &Signals,
    ) -> bool {
        if !sender.is_promised() || self.broken.is_some() || self.is_stirred {
            return false;
        }
        if self.receiver.has_to_say() || self.spin.plan().is_some() {
            return false;
        }
        // The promise holds for the task that is known to listen.
        sender.listen(&mut self.bed, cx);
        if let Poll::Ready(Ok(())) = self.ear.poll_rung(cx) {
            sender.room_freed();
            signals.cancels().look();
            return false;
        }
        sender.is_promised()
    }

    /// Looks or goes to sleep. True: look into the ring again now. False: the task will be woken.
    pub(crate) fn look_again(
        &mut self,
        cx: &mut Context<'_>,
        sender: &Sender,
        signals: &Signals,
    ) -> bool {
        if std::mem::take(&mut self.is_stirred) {
            cx.waker().wake_by_ref();
            return false;
        }
        // Answers that wait for room, and calls that want to be cancelled, hear of it only by the
        // bell.
        let plan = if sender.is_waited_on() || signals.cancels().is_watched() {
            None
        } else {
            self.spin.plan()
        };
        if let Some(plan) = plan {
            let promising = || self.glance.is_promising();
            if Plan::burst(promising) {
                return true;
            }
            let here = (&self.board, Side::Server);
            let next = plan.look(&mut self.vigil, here, || self.glance.is_promising());
            self.spin.learn(&mut self.vigil);
            match next {
                Next::Look => return true,
                Next::Again => {
                    // The signals are looked at in the next round.
                    cx.waker().wake_by_ref();
                    return false;
                }
                Next::Sleep => {}
            }
        }
        self.spin.sleep(&mut self.vigil);
        sender.listen(&mut self.bed, cx);
        if self.ear.take_rung() {
            sender.room_freed();
            signals.cancels().look();
        }
        if signals.has_told() || !sender.lets_doze(&mut self.receiver) {
            return true;
        }
        match self.ear.poll_rung(cx) {
            Poll::Ready(Ok(())) => {
                sender.room_freed();
                signals.cancels().look();
                true
            }
            // An ear that hears nothing any more: the runtime is ending, and we with it.
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    pub(super) fn tell_of_room(&mut self, sender: &Sender) {
        if self.receiver.freed() {
            sender.ring();
        }
    }
}

/// Whether somebody still wants a call that came by the link with this board, and is in time.
#[inline]
pub(super) fn is_wanted(head: &Head, board: &Board) -> bool {
    match head.kind {
        Kind::Call | Kind::Construct if board.is_cancelled(head.call) => false,
        _ => head
            .deadline
            .is_none_or(|deadline| clock::now() <= deadline),
    }
}
