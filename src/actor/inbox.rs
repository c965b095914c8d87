//! Everything that an actor hears: its calls over one link or several, the wish that it stop.
//!
//! ```text
//!  main link (whoever started it) ──┐                ┌─> poll_next ─> one call at a time,
//!  further links, as they come ─────┼─> (mailbox) ───┘                 with the way back
//!  signals: stop, a new link ───────┘
//! ```
//!
//! A call goes through the mailbox when it comes while a method runs, or when the actor sorts its
//! calls; else straight from its link to its method.
//! Within a link calls come in their order; between links whoever has waited longest in the round
//! comes first. A further link that breaks the rules is dropped alone; the main link's end is the
//! actor's.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::held::Held;
use super::mailbox::Mailbox;
use super::own::Own;
use super::port::{Port, is_wanted};
use super::replies::{Back, Replies};
use super::server::Work;
use super::signals::{Arrival, Signals};
use crate::flow::Way;
use crate::transport::board::Board;
use crate::transport::receiver::LinkError;
use crate::transport::sleeper::Bed;
use crate::wire::chain::ActorKey;
use crate::wire::codec;
use crate::wire::frame::Kind;
use crate::wire::interface::Interface;

/// After how many frames other tasks get a turn.
const TURN_MAX: u32 = 512;

/// How often in a row it is looked whether more has come while a method runs.
const MEANWHILE_MAX: u32 = 4;

/// What came in.
pub(crate) enum Event {
    /// A call or tell that somebody still wants.
    Call,
    /// No more will come: stop was asked, and all that had come in was given out.
    Stopped,
}

/// Who serves, and the way back to whoever started it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Post<'a> {
    pub(crate) actor: ActorKey,
    pub(crate) interface: &'static Interface,
    pub(crate) main: Replies<'a>,
    /// The same for streams.
    pub(crate) back: &'a Arc<Back>,
    /// That of the main link.
    pub(crate) board: &'a Board,
    pub(crate) signals: &'a Signals,
}

/// How far the links were emptied into the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Nothing is left there.
    All,
    /// The mailbox is full.
    Full,
    /// There is more, and others are to have their turn.
    Part,
}

/// How far they are to be emptied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Until {
    /// Until there is no room.
    Full,
    /// Until nothing is left, unless those who come are to wait.
    Empty,
}

/// Where an actor's calls come in.
pub(crate) struct Inbox<'a> {
    pub(super) main: Port,
    post: Post<'a>,
    lines: Vec<Arrival>,
    /// Whose turn it is, in a round of the main link and the others.
    next: usize,
    turn: u32,
    /// What the actor calls itself for.
    pub(super) own: Own,
    pub(super) held: Held<'a>,
    /// Where its task hears the signals.
    bed: Bed,
}

impl<'a> Inbox<'a> {
    /// An inbox that hears the main link, which is that of `post`.
    pub(crate) fn new(main: Port, post: Post<'a>) -> Self {
        Self {
            main,
            post,
            lines: Vec::new(),
            next: 0,
            turn: 0,
            own: Own::default(),
            held: Held::new(Mailbox::default()),
            bed: Bed::default(),
        }
    }

    /// Whether the actor is to end.
    pub(super) fn is_stop_asked(&self) -> bool {
        self.post.signals.is_stop_asked()
    }

    /// Who serves, and the way back over the main link.
    #[inline]
    pub(crate) fn post(&self) -> Post<'a> {
        self.post
    }

    /// The same, with this mailbox.
    pub(crate) fn with_mailbox(self, mailbox: Mailbox) -> Self {
        let held = Held::new(mailbox);
        Self { held, ..self }
    }

    /// Tells whose calls they are.
    pub(super) fn serve(&mut self, interface: &'static Interface) {
        self.held.serve(Some(interface));
    }

    /// The way back over the main link.
    #[inline]
    pub(crate) fn main(&self) -> Replies<'a> {
        self.post.main
    }

    /// The next call, put into `work`, whose memory is used again.
    ///
    /// # Errors
    /// [`LinkError`] when the caller at the main link breaks the rules.
    #[inline]
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        work: &mut Work,
    ) -> Poll<Result<Event, LinkError>> {
        // Before the signals are looked at: what is told after that wakes us.
        self.post.signals.listen(&mut self.bed, cx);
        if self.rests_assured(cx) {
            self.turn = 0;
            return Poll::Pending;
        }
        loop {
            if self.turn >= TURN_MAX {
                self.turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.turn += 1;
            let has_one = if self.held.is_used() {
                self.next_held(cx, work)?
            } else {
                self.take(work)?
            };
            if has_one {
                return Poll::Ready(Ok(Event::Call));
            }
            if self.post.signals.has_news() {
                self.hear_news();
                continue;
            }
            // Nobody is kept waiting for a place while we look or sleep.
            if self.post.signals.is_stop_asked() {
                return Poll::Ready(Ok(Event::Stopped));
            }
            if !self.look_again(cx) {
                self.turn = 0;
                return Poll::Pending;
            }
        }
    }

    /// Takes calls in while a method runs, as many as the mailbox holds, and hears the bells, which
    /// bring room for answers that wait.
    pub(crate) fn poll_meanwhile(&mut self, cx: &mut Context<'_>) {
        self.post.signals.listen(&mut self.bed, cx);
        for _ in 0..MEANWHILE_MAX {
            self.poll_room(cx);
            if self.post.signals.has_news() {
                self.hear_news();
            }
            self.heed_streams();
            match self.take_in(cx, Until::Empty) {
                Ok(Intake::All) => {}
                // The bells bring room for what is owed; the rest waits for the method.
                Ok(Intake::Full) => return self.tell_of_room(),
                Ok(Intake::Part) => break,
                // The next call that is asked for gives the error again.
                Err(_) => return,
            }
            if self.rest() {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Whether a call of a higher priority waits than this one, which was not begun.
    pub(crate) fn overtakes(&self, work: &Work) -> bool {
        self.held.overtakes(work)
    }

    /// Puts back a call that was not begun: it is the next of its priority.
    pub(crate) fn put_back(&mut self, work: Work) {
        self.hold(&work);
        self.held.put_back(work);
    }

    /// Where a stream waits for its caller, what it waits for may be behind calls that find no
    /// room: they are refused then, and do not wait.
    fn heed_streams(&mut self) {
        let is_starving = |back: &Back| back.flows().is_starving();
        let starve = is_starving(self.post.back)
            || self
                .lines
                .iter()
                .any(|arrival| is_starving(&arrival.line.back));
        self.held.heed_streams(starve);
    }

    /// Has the streams that the actor writes end where they are: it is to end itself.
    pub(super) fn stop_streams(&self) {
        self.post.back.flows().stop_writing();
        for arrival in &self.lines {
            arrival.line.back.flows().stop_writing();
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) {
        let signals = self.post.signals;
        self.main.poll_room(cx, self.post.main.sender, signals);
        for Arrival { port, line } in &mut self.lines {
            port.poll_room(cx, line.sender(), signals);
        }
    }

    /// The next call where some are held or all are sorted.
    fn next_held(&mut self, cx: &mut Context<'_>, work: &mut Work) -> Result<bool, LinkError> {
        self.held.poll_owed(cx);
        self.heed_streams();
        if self.held.sorts() && self.held.is_empty() {
            if !self.take(work)? {
                return Ok(false);
            }
            // The only one needs no place.
            if self.is_quiet() || !self.held.has_room(cx) {
                return Ok(true);
            }
            self.admit(work)?;
        }
        if !self.held.sorts() {
            return Ok(self.take_out(work));
        }
        // Nobody is refused a place that is about to be free.
        let intake = self.take_in(cx, Until::Full)?;
        let has_one = self.take_out(work);
        if has_one && intake != Intake::All && self.held.refuses() {
            // An error is given again by the next look.
            let _ = self.take_in(cx, Until::Empty);
        }
        Ok(has_one)
    }

    /// Takes in what has come, up to what the mailbox holds; beyond that some are refused, if they
    /// are to be and `until` says so.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Context<'_>,
        until: Until,
    ) -> Result<Intake, LinkError> {
        let mut work = Work::new();
        for _ in 0..TURN_MAX {
            let has_room = match until {
                Until::Full => self.held.has_room(cx),
                Until::Empty => self.held.takes_more(cx),
            };
            if !has_room {
                return Ok(Intake::Full);
            }
            match self.take(&mut work) {
                Ok(true) => {}
                Ok(false) => {
                    codec::recycle(work.body);
                    return Ok(Intake::All);
                }
                Err(error) => {
                    self.main.break_off(&error);
                    return Err(error);
                }
            }
            self.admit(&mut work)?;
        }
        Ok(Intake::Part)
    }

    /// Every call that does not go straight to its method passes here on its way in,
    fn admit(&mut self, work: &mut Work) -> Result<(), LinkError> {
        if let Err(error) = work.check() {
            self.main.break_off(&error);
            return Err(error);
        }
        let work = work.take();
        self.hold(&work);
        self.held.admit(work, self.post.main);
        Ok(())
    }

    /// and here on its way out.
    fn take_out(&mut self, work: &mut Work) -> bool {
        while let Some(next) = self.held.take() {
            let is_wanted = self.begin(&next) && is_wanted(&next.head, next.board(self.post));
            let last = if is_wanted {
                std::mem::replace(work, next)
            } else {
                next
            };
            codec::recycle(last.body);
            if is_wanted {
                return true;
            }
        }
        false
    }

    /// Gives out a call that was held; false: its caller has withdrawn it.
    pub(super) fn begin(&self, work: &Work) -> bool {
        work.head.kind != Kind::Call || work.board(self.post).begin(work.head.call)
    }

    /// Notes that this process has the call and has not begun it: should it end now, the call did
    /// not run.
    fn hold(&self, work: &Work) {
        if work.head.kind == Kind::Call {
            work.board(self.post).hold(work.head.call);
        }
    }

    /// Whether every answer that was given has been sent.
    pub(super) fn is_paid(&self) -> bool {
        let mut lines = self.lines.iter();
        lines.all(|arrival| arrival.line.owed.is_paid())
    }

    /// Waits until every answer that was given has been sent, while the links are looked at.
    pub(super) fn paid(&self) -> impl Future<Output = ()> + use<> {
        let lines = self.lines.iter();
        let lines: Vec<_> = lines.map(|arrival| Arc::clone(&arrival.line)).collect();
        async move {
            for line in lines {
                line.owed.paid().await;
            }
        }
    }

    /// Whether nothing has come that was not taken.
    fn is_quiet(&self) -> bool {
        self.main.is_empty() && self.lines.iter().all(|arrival| arrival.port.is_empty())
    }

    /// Goes to sleep at all links. False: something has come, or is to be heard again: a link that
    /// has ended, and was not empty when that was heard.
    fn rest(&mut self) -> bool {
        if self.post.signals.has_news() {
            return false;
        }
        let mut rests = self.main.rest(self.post.main.sender);
        for Arrival { port, line } in &mut self.lines {
            rests &= port.rest(line.sender());
        }
        rests
    }

    fn tell_of_room(&mut self) {
        self.main.tell_of_room(self.post.main.sender);
        for Arrival { port, line } in &mut self.lines {
            port.tell_of_room(line.sender());
        }
    }

    /// The next call from the links.
    #[inline]
    pub(super) fn take(&mut self, work: &mut Work) -> Result<bool, LinkError> {
        if !self.lines.is_empty() {
            return self.take_in_turn(work);
        }
        let head = self.main.take(self.post.back, &mut work.body)?;
        let Some(head) = head else {
            return Ok(false);
        };
        work.attached = self.main.take_attached(&head);
        work.set(head, None).map(|()| true)
    }

    fn take_in_turn(&mut self, work: &mut Work) -> Result<bool, LinkError> {
        for _ in 0..=self.lines.len() {
            let at = self.next;
            self.next = (at + 1) % (self.lines.len() + 1);
            let Some(Arrival { port, line }) = self.lines.get_mut(at) else {
                let head = self.main.take(self.post.back, &mut work.body)?;
                if let Some(head) = head {
                    work.attached = self.main.take_attached(&head);
                    return work.set(head, None).map(|()| true);
                }
                continue;
            };
            match port.take(&line.back, &mut work.body) {
                Ok(Some(head)) => {
                    work.attached = port.take_attached(&head);
                    match work.set(head, Some(line)).and_then(|()| work.check()) {
                        Ok(()) => return Ok(true),
                        Err(error) => self.post.signals.break_off(line, &error),
                    }
                    work.clear();
                }
                Ok(None) => {}
                Err(error) => self.post.signals.break_off(line, &error),
            }
        }
        Ok(false)
    }

    /// Whether it is known without a look that there is nothing to do, and who will wake the task.
    #[inline]
    fn rests_assured(&mut self, cx: &mut Context<'_>) -> bool {
        let Post { main, signals, .. } = self.post;
        self.lines.is_empty()
            && !self.held.is_used()
            && self.main.rests_assured(cx, main.sender, signals)
            && !signals.has_told()
    }

    /// Looks or goes to sleep. True: look into the rings again now. False: the task will be woken.
    #[inline]
    fn look_again(&mut self, cx: &mut Context<'_>) -> bool {
        for Arrival { port, line } in &mut self.lines {
            if port.look_again(cx, line.sender(), self.post.signals) {
                return true;
            }
        }
        self.main
            .look_again(cx, self.post.main.sender, self.post.signals)
    }

    /// Takes in new links, and drops those over which nothing comes any more.
    #[cold]
    fn hear_news(&mut self) {
        self.post.signals.take_news(&mut self.lines);
        self.lines.retain(|Arrival { port, line }| {
            let is_over = line.is_closed() && port.is_empty();
            if is_over {
                line.back.flows().lose_all();
            }
            !is_over
        });
        if self.lines.iter().any(|arrival| arrival.line.is_closed()) {
            // What was told over it before is still done.
            self.post.signals.keep_news();
        }
        self.next = 0;
    }
}
