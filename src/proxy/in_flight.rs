//! The calls of one link that wait for their answers. Pure.
//!
//! ```text
//!  insert ─> Waiting ─ complete ─> Answered ─ take ─> free
//!               │  └── lose ─────> Lost ───── take ─> free
//!               └────── remove (nobody wants it) ───> free
//! ```
//!
//! A table of slots, as many as there may be calls in flight; it never grows beyond that. A slot's
//! buffer circulates: an answer is swapped in, and the caller's spare buffer is swapped in for it.
//! Answers that their owners leave lying are set aside when their slots are needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use super::failure::Outcome;
use crate::sys::body::Body;
use crate::wire::attached::Attached;
use crate::wire::frame::Kind;
use crate::wire::id::CallId;

/// An answer's kind and payload, or that there will be none.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What the callee sent.
    Frame(Kind, Body, Attached),
    /// The link is gone. Whether the callee had read the call.
    Lost {
        /// False: it certainly did not run.
        was_read: bool,
    },
    /// It did not come within the usual time; what is known of the call.
    Late(Duration, Outcome),
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Option<Waker>),
    Answered(Kind),
    Lost { was_read: bool },
    Late(Duration, Outcome),
}

#[derive(Debug)]
struct Slot {
    id: CallId,
    state: State,
    /// Where the call ends in the ring; none while it is not sent.
    position: Option<u64>,
    /// Up to which look at the clock it waits.
    patience: Patience,
    buffer: Body,
    /// What came beside the answer.
    attached: Attached,
}

/// How long something waits that has no bound of its own, in looks at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For ever, or as long as somebody else says.
    Endless,
    /// The usual time since this look.
    Since(u32),
}

impl Patience {
    /// Whether more than `usual` looks have passed since it began, this being the look `now`.
    pub(crate) fn is_over(self, now: u32, usual: u32) -> bool {
        match self {
            Self::Endless => false,
            // The first look came a part of a period after the beginning.
            Self::Since(look) => now.wrapping_sub(look) > usual,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct InFlight {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Answers not taken yet whose slots others have.
    aside: HashMap<CallId, Answer>,
    limit: usize,
    sequence: u64,
    /// Slots in the state Waiting.
    waiting: Waiting,
    /// Of them those whose task sleeps until it is woken.
    parked: usize,
}

/// How many calls wait for an answer. The table changes it under its lock; others may look at any
/// time, and see a number of a moment ago.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    #[inline]
    pub(crate) fn get(&self) -> usize {
        // ORDERING: Relaxed; a number to compare, which says nothing of other memory.
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn set(&self, count: usize) {
        // ORDERING: Relaxed; as above, and nobody else writes.
        self.0.store(count, Ordering::Relaxed);
    }
}

impl InFlight {
    /// A table for `limit` calls at once.
    pub(crate) fn new(limit: usize) -> Self {
        let free = Vec::with_capacity(limit);
        let (slots, aside) = (Vec::new(), HashMap::new());
        Self {
            slots,
            free,
            aside,
            limit,
            sequence: 0,
            waiting: Waiting::default(),
            parked: 0,
        }
    }

    /// Takes a slot for a call that is about to be sent; none when all are taken.
    #[inline]
    pub(crate) fn insert(&mut self, patience: Patience) -> Option<CallId> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.slots.len() < self.limit => {
                let buffer = Body::new();
                self.slots.push(Slot {
                    id: CallId::NONE,
                    state: State::Free,
                    position: None,
                    patience,
                    buffer,
                    attached: Attached::default(),
                });
                self.slots.len() - 1
            }
            None => self.set_aside()?,
        };
        self.sequence += 1;
        let id = CallId::new(self.sequence, at);
        let slot = &mut self.slots[at];
        slot.id = id;
        slot.state = State::Waiting(None);
        slot.position = None;
        slot.patience = patience;
        self.waiting.set(self.waiting() + 1);
        Some(id)
    }

    /// Sets aside every answer that was not taken, and gives one of their slots.
    #[cold]
    fn set_aside(&mut self) -> Option<usize> {
        if self.waiting() == self.slots.len() {
            return None;
        }
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let answer = match slot.state {
                State::Free | State::Waiting(_) => continue,
                State::Answered(kind) => {
                    let attached = std::mem::take(&mut slot.attached);
                    Answer::Frame(kind, std::mem::take(&mut slot.buffer), attached)
                }
                State::Lost { was_read } => Answer::Lost { was_read },
                State::Late(after, outcome) => Answer::Late(after, outcome),
            };
            slot.state = State::Free;
            self.aside.insert(slot.id, answer);
            self.free.push(at);
        }
        self.free.pop()
    }

    /// Notes where the call ends in the ring.
    #[inline]
    pub(crate) fn sent(&mut self, id: CallId, position: u64) {
        if let Some(slot) = self.find(id) {
            slot.position = Some(position);
        }
    }

    /// Takes in an answer, swapping its payload for the slot's old buffer. Gives the task to wake.
    ///
    /// An answer that nobody waits for is dropped: it came late, or the peer made it up.
    #[inline]
    pub(crate) fn complete(&mut self, id: CallId, kind: Kind, body: &mut Body) -> Option<Waker> {
        let slot = self.find(id)?;
        let State::Waiting(waker) = &mut slot.state else {
            return None;
        };
        let waker = waker.take();
        slot.state = State::Answered(kind);
        std::mem::swap(&mut slot.buffer, body);
        self.waiting.set(self.waiting() - 1);
        self.parked -= usize::from(waker.is_some());
        waker
    }

    /// Keeps what comes beside the answer that is about to be taken in, if anybody waits for that.
    #[cold]
    pub(crate) fn attach(&mut self, id: CallId, attached: Attached) {
        if let Some(slot) = self.find(id)
            && matches!(slot.state, State::Waiting(_))
        {
            slot.attached = attached;
        }
    }

    /// Takes the answer out, if it has come, leaving a spare buffer in its place.
    #[inline]
    pub(crate) fn take(&mut self, id: CallId, spare: impl FnOnce() -> Body) -> Option<Answer> {
        let Some(slot) = self
            .find(id)
            .filter(|slot| !matches!(slot.state, State::Free))
        else {
            return if self.aside.is_empty() {
                None
            } else {
                self.aside.remove(&id)
            };
        };
        let answer = match slot.state {
            State::Free | State::Waiting(_) => return None,
            State::Answered(kind) => {
                let attached = std::mem::take(&mut slot.attached);
                Answer::Frame(kind, std::mem::replace(&mut slot.buffer, spare()), attached)
            }
            State::Lost { was_read } => Answer::Lost { was_read },
            State::Late(after, outcome) => Answer::Late(after, outcome),
        };
        slot.state = State::Free;
        self.free.push(id.slot());
        Some(answer)
    }

    /// Whether the answer has come, or is known never to come.
    pub(crate) fn is_settled(&self, id: CallId) -> bool {
        self.slots
            .get(id.slot())
            .is_none_or(|slot| slot.id != id || !matches!(slot.state, State::Waiting(_)))
    }

    /// Keeps the task to wake when the answer comes.
    pub(crate) fn park(&mut self, id: CallId, waker: &Waker) {
        let Some(slot) = self.find(id) else { return };
        let State::Waiting(parked) = &mut slot.state else {
            return;
        };
        match parked {
            Some(old) => old.clone_from(waker),
            None => {
                *parked = Some(waker.clone());
                self.parked += 1;
            }
        }
    }

    /// Forgets a call that nobody wants any more. True if it was still waiting.
    pub(crate) fn remove(&mut self, id: CallId) -> bool {
        let Some(slot) = self
            .find(id)
            .filter(|slot| !matches!(slot.state, State::Free))
        else {
            self.aside.remove(&id);
            return false;
        };
        let state = std::mem::replace(&mut slot.state, State::Free);
        slot.buffer.clear();
        self.free.push(id.slot());
        let State::Waiting(waker) = state else {
            return false;
        };
        self.waiting.set(self.waiting() - 1);
        self.parked -= usize::from(waker.is_some());
        true
    }

    /// Ends every waiting call: no answer will come. `released` is how far the callee has read, and
    /// `is_held` tells which calls it had read and not begun.
    pub(crate) fn lose_all(
        &mut self,
        released: u64,
        is_held: impl Fn(CallId) -> bool,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for slot in &mut self.slots {
            let State::Waiting(waker) = &mut slot.state else {
                continue;
            };
            wakers.extend(waker.take());
            let was_read = slot.position.is_some_and(|position| position <= released);
            let was_read = was_read && !is_held(slot.id);
            slot.state = State::Lost { was_read };
        }
        self.waiting.set(0);
        self.parked = 0;
        wakers
    }

    /// Ends the calls that have waited for the usual time, of so many looks of one `period`. Tells
    /// `cancel` which, for what is known of them, and gives the tasks to wake.
    pub(crate) fn lose_late(
        &mut self,
        (now, usual): (u32, u32),
        period: Duration,
        mut cancel: impl FnMut(CallId) -> Outcome,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for slot in &mut self.slots {
            let State::Waiting(waker) = &mut slot.state else {
                continue;
            };
            if slot.patience.is_over(now, usual) {
                let outcome = cancel(slot.id);
                self.waiting.set(self.waiting.get() - 1);
                self.parked -= usize::from(waker.is_some());
                wakers.extend(waker.take());
                slot.state = State::Late(period * usual, outcome);
            }
        }
        wakers
    }

    /// The calls that wait for an answer.
    pub(crate) fn calls(&self) -> impl Iterator<Item = CallId> {
        let waiting = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.state, State::Waiting(_)));
        waiting.map(|slot| slot.id)
    }

    /// How many calls there have been.
    pub(crate) fn made(&self) -> u64 {
        self.sequence
    }

    /// How many calls wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.get()
    }

    /// The same, for those who look without the table's lock.
    pub(crate) fn load(&self) -> Waiting {
        self.waiting.clone()
    }

    /// How many of them have a task asleep.
    pub(crate) fn parked(&self) -> usize {
        self.parked
    }

    fn find(&mut self, id: CallId) -> Option<&mut Slot> {
        self.slots.get_mut(id.slot()).filter(|slot| slot.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(byte: u8) -> Body {
        let mut buffer = Body::new();
        buffer.fill(1, |own| own[0] = byte);
        buffer
    }

    /// An answer meets its own call, and a late or invented one meets none.
    #[test]
    fn answers_find_their_calls() {
        let mut table = InFlight::new(2);
        let first = table.insert(Patience::Endless).unwrap();
        let second = table.insert(Patience::Endless).unwrap();
        assert_eq!(
            table.insert(Patience::Endless),
            None,
            "the table is bounded"
        );
        table.complete(second, Kind::Reply, &mut buffer(2));
        assert!(matches!(
            table.take(second, Body::new),
            Some(Answer::Frame(Kind::Reply, body, _)) if body[..] == [2]
        ));
        assert!(table.take(first, Body::new).is_none());
        let third = table.insert(Patience::Endless).unwrap();
        assert_eq!(third.slot(), second.slot(), "the slot is used again");
        table.complete(second, Kind::Reply, &mut buffer(9));
        assert!(
            !table.is_settled(third),
            "an old answer does not settle a new call"
        );
        table.complete(CallId::new(77, 4000), Kind::Reply, &mut buffer(9));
        assert_eq!(table.waiting(), 2);
    }

    /// Answers that nobody takes hold up no further call, and are still there for who wants them.
    #[test]
    fn answers_are_set_aside() {
        let mut table = InFlight::new(2);
        let (first, second) = (
            table.insert(Patience::Endless).unwrap(),
            table.insert(Patience::Endless).unwrap(),
        );
        table.complete(first, Kind::Reply, &mut buffer(1));
        let third = table.insert(Patience::Endless).unwrap();
        assert_eq!(third.slot(), first.slot(), "the slot is used again");
        assert_eq!(table.insert(Patience::Endless), None);
        table.complete(second, Kind::Reply, &mut buffer(2));
        let fourth = table.insert(Patience::Endless).unwrap();
        assert!(table.is_settled(first) && !table.is_settled(third));
        assert!(!table.remove(second), "it was no longer waiting");
        assert!(table.take(second, Body::new).is_none());
        assert!(matches!(
            table.take(first, Body::new),
            Some(Answer::Frame(Kind::Reply, body, _)) if body[..] == [1]
        ));
        assert!(table.take(first, Body::new).is_none());
        assert_eq!(table.calls().collect::<Vec<_>>(), [third, fourth]);
        assert!(table.aside.is_empty());
    }

    /// When the link is lost, what the callee had not read is known not to have run.
    #[test]
    fn losses_tell_what_was_read() {
        let mut table = InFlight::new(4);
        let ids: Vec<_> = (0..3)
            .map(|_| table.insert(Patience::Endless).unwrap())
            .collect();
        table.sent(ids[0], 100);
        table.sent(ids[1], 200);
        table.park(ids[1], Waker::noop());
        assert_eq!(table.lose_all(150, |_| false).len(), 1);
        let mut lost = |id| match table.take(id, Body::new) {
            Some(Answer::Lost { was_read }) => was_read,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (lost(ids[0]), lost(ids[1]), lost(ids[2])),
            (true, false, false)
        );
    }

    /// Calls without a bound of their own end after the usual looks, and only they.
    #[test]
    fn late_calls_end() {
        let mut table = InFlight::new(4);
        let endless = table.insert(Patience::Endless).unwrap();
        let first = table.insert(Patience::Since(u32::MAX)).unwrap();
        let second = table.insert(Patience::Since(0)).unwrap();
        table.park(first, Waker::noop());
        let mut cancelled = Vec::new();
        for (now, late) in [(1, 0), (2, 1), (3, 1)] {
            let period = Duration::from_secs(1);
            let wakers = table.lose_late((now, 2), period, |call| {
                cancelled.push(call);
                Outcome::MayHaveRun
            });
            assert_eq!(
                (wakers.len(), cancelled.len()),
                (usize::from(now == 2), late + usize::from(now == 3))
            );
        }
        assert_eq!(cancelled, [first, second]);
        let after = Duration::from_secs(2);
        assert!(
            matches!(table.take(first, Body::new), Some(Answer::Late(late, _)) if late == after)
        );
        assert_eq!((table.waiting(), table.parked()), (1, 0));
        assert!(table.take(endless, Body::new).is_none());
    }

    /// The counts of waiting and sleeping calls are right after any order of events.
    #[test]
    fn counts_agree_with_the_slots() {
        let mut table = InFlight::new(8);
        let mut ids = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            match seed % 5 {
                0 => ids.extend(table.insert(Patience::Endless)),
                1 if !ids.is_empty() => table.park(ids[seed as usize % ids.len()], Waker::noop()),
                2 if !ids.is_empty() => {
                    let id = ids[seed as usize % ids.len()];
                    table.complete(id, Kind::Reply, &mut Body::new());
                }
                3 if !ids.is_empty() => {
                    let id = ids.swap_remove(seed as usize % ids.len());
                    table.remove(id);
                }
                4 if !ids.is_empty() => {
                    let at = seed as usize % ids.len();
                    if table.take(ids[at], Body::new).is_some() {
                        ids.swap_remove(at);
                    }
                }
                _ => {}
            }
            let waiting = table
                .slots
                .iter()
                .filter(|slot| matches!(slot.state, State::Waiting(_)));
            let parked = table
                .slots
                .iter()
                .filter(|slot| matches!(slot.state, State::Waiting(Some(_))));
            assert_eq!(
                (table.waiting(), table.parked()),
                (waiting.count(), parked.count())
            );
            let used = table
                .slots
                .iter()
                .filter(|slot| !matches!(slot.state, State::Free))
                .count();
            assert_eq!(used + table.free.len(), table.slots.len());
        }
    }
}
