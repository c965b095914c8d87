//! What an inbox has taken in and not given out: the mailbox, with the answers that it owes.
//!
//! ```text
//!  links ─> door ─> lanes ─> out, one by one
//!             └───────┴─ no room ─> refused: an answer, or of a tell a count in the log
//! ```
//!
//! The door holds one call that finds no room and is to wait: its length is known only when it has
//! been read. Behind it nothing more is taken from the links.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use super::lanes::{Lanes, Put};
use super::mailbox::{Mailbox, Overflow};
use super::replies::{Answer, Late, Replies};
use super::server::Work;
use super::signals::Line;
use crate::sys::clock;
use crate::wire::codec;
use crate::wire::frame::Kind;
use crate::wire::interface::{Interface, Method, Priority};
use crate::wire::report::Refusal;

/// How long losses are counted before they are logged again, in nanoseconds.
const LOG_EVERY_NS: u64 = 1_000_000_000;

/// The mailbox of one actor.
pub(super) struct Held<'a> {
    lanes: Lanes<Work>,
    /// A call for which there is no room yet. None while the lanes are empty.
    door: Option<Work>,
    /// Whose calls they are; none before the actor is there.
    interface: Option<&'static Interface>,
    /// Every call passes through here, and not only those that come while a method runs.
    sorts: bool,
    /// There is something here to do or to give out.
    is_used: bool,
    /// Answers to refused calls that wait for room. Meanwhile nothing more is taken in.
    owed: VecDeque<Owed<'a>>,
    /// What a stream of the actor waits for may be behind calls that wait for room.
    streams_starve: bool,
    losses: Losses,
}

type Owed<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Tells that were not run and not yet logged.
#[derive(Debug, Default)]
struct Losses {
    count: u64,
    logged_at: Option<u64>,
}

impl<'a> Held<'a> {
    pub(super) fn new(limits: Mailbox) -> Self {
        let mut held = Self {
            lanes: Lanes::new(limits),
            door: None,
            interface: None,
            sorts: false,
            is_used: false,
            owed: VecDeque::new(),
            streams_starve: false,
            losses: Losses::default(),
        };
        held.serve(None);
        held
    }

    /// Tells whose calls they are.
    pub(super) fn serve(&mut self, interface: Option<&'static Interface>) {
        self.interface = interface;
        let sorts = |interface: &Interface| interface.all_methods().any(Method::sorts);
        self.sorts = self.refuses() || interface.is_some_and(sorts);
        self.is_used = self.sorts;
    }

    /// Whether the next call is to be asked for here, and not at the links.
    #[inline]
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Whether every call passes through here.
    pub(super) fn sorts(&self) -> bool {
        self.sorts
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The priority of a call's method.
    pub(super) fn priority(&self, work: &Work) -> Priority {
        let method = self
            .interface
            .and_then(|interface| interface.method(work.head.method));
        method.map_or(Priority::Normal, |method| method.priority)
    }

    /// Whether a call of a higher priority than this one's waits.
    pub(super) fn overtakes(&self, work: &Work) -> bool {
        self.lanes.is_higher_than(self.priority(work))
    }

    /// Puts back a call that was given out and not begun.
    pub(super) fn put_back(&mut self, work: Work) {
        let priority = self.priority(&work);
        self.lanes.put_back(priority, work.body.len(), work);
        self.is_used = true;
    }

    /// Sends what is owed, as far as there is room at the links.
    pub(super) fn poll_owed(&mut self, cx: &mut Context<'_>) {
        while let Some(owed) = self.owed.front_mut() {
            if owed.as_mut().poll(cx).is_pending() {
                return;
            }
            self.owed.pop_front();
        }
    }

    /// Whether there is room for one more.
    pub(super) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_owed(cx);
        self.owed.is_empty() && self.door.is_none() && self.lanes.has_room()
    }

    /// Whether one more may be taken in: there is room, or somebody is to be refused.
    pub(super) fn takes_more(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.refuses() {
            return self.has_room(cx);
        }
        self.poll_owed(cx);
        self.owed.is_empty()
    }

    /// Whether calls are refused for which there is no room.
    pub(super) fn refuses(&self) -> bool {
        self.lanes.limits().on_overflow() != Overflow::Wait || self.streams_starve
    }

    /// Says whether a stream waits for its caller: then no call waits for room in its way.
    pub(super) fn heed_streams(&mut self, starve: bool) {
        self.streams_starve = starve;
    }

    /// Takes a call in; those for which there is no room are refused, `main` being the way back
    /// over the main link.
    pub(super) fn admit(&mut self, work: Work, main: Replies<'a>) {
        let priority = self.priority(&work);
        let refusal = match self.lanes.limits().on_overflow() {
            Overflow::Fail | Overflow::Wait => Refusal::Full,
            Overflow::DropOldest | Overflow::DropNewest => Refusal::Dropped,
        };
        match self.lanes.put(priority, work.body.len(), work) {
            Put::In => {}
            Put::Full(work) if !self.refuses() => self.door = Some(work),
            Put::Full(work) => self.refuse(work, &refusal, main),
            Put::Instead(out) => {
                for work in out {
                    self.refuse(work, &refusal, main);
                }
            }
        }
        self.is_used = true;
    }

    /// The call whose turn it is.
    pub(super) fn take(&mut self) -> Option<Work> {
        self.take_if(|_| true)
    }

    /// The same, unless `wants` says no.
    pub(super) fn take_if(&mut self, wants: impl FnOnce(&Work) -> bool) -> Option<Work> {
        let taken = self.lanes.take_if(wants);
        self.open_door();
        self.settle();
        taken.map(|(_, work)| work)
    }

    fn open_door(&mut self) {
        let Some(work) = self.door.take() else {
            return;
        };
        let priority = self.priority(&work);
        if let Put::Full(work) = self.lanes.put(priority, work.body.len(), work) {
            self.door = Some(work);
        }
    }

    fn settle(&mut self) {
        self.is_used = self.sorts || !self.lanes.is_empty() || !self.owed.is_empty();
        if self.lanes.is_empty() {
            self.losses.log();
        }
    }

    #[cold]
    fn refuse(&mut self, work: Work, refusal: &Refusal, main: Replies<'a>) {
        if work.head.kind == Kind::Tell {
            self.losses.count();
        } else {
            let way = work.replies(main);
            let Answer(late) = way.send(Kind::Refused, work.head.call, refusal);
            if let Some(late) = late {
                let owed = owe(late, work.line().cloned(), main);
                self.owed.push_back(Box::pin(owed));
            }
        }
        codec::recycle(work.body);
    }
}

/// Sends an answer over the link that its call came by.
async fn owe(late: Late, line: Option<Arc<Line>>, main: Replies<'_>) {
    match &line {
        Some(line) => late.send(line.replies().sender).await,
        None => late.send(main.sender).await,
    }
}

impl Losses {
    fn count(&mut self) {
        self.count += 1;
        self.log();
    }

    /// Logs what was counted, unless that was done just now.
    #[inline]
    fn log(&mut self) {
        if self.count > 0 {
            self.log_now_and_then();
        }
    }

    #[cold]
    fn log_now_and_then(&mut self) {
        let now = clock::now();
        let is_early = |at: u64| now.saturating_sub(at) < LOG_EVERY_NS;
        if !self.logged_at.is_some_and(is_early) {
            self.logged_at = Some(now);
            self.log_all();
        }
    }

    fn log_all(&mut self) {
        let tells = std::mem::take(&mut self.count);
        tracing::warn!(tells, "tells were not run: the mailbox was full");
    }
}

impl Drop for Losses {
    fn drop(&mut self) {
        if self.count > 0 {
            self.log_all();
        }
    }
}

impl fmt::Debug for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("limits", &self.lanes.limits())
            .field("sorts", &self.sorts)
            .finish_non_exhaustive()
    }
}
