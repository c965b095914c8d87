//! The calls that wait in an actor's mailbox: one lane for each priority, within bounds. Pure.
//!
//! ```text
//!  put ─> high    ■ ■        ─┐
//!     ─> normal  ■ ■ ■ ■ ■   ─┼─> take: the highest first, now and then a lower one
//!     ─> low     ■ ■         ─┘
//! ```
//!
//! Within a lane what came first goes first. A lane that was passed over sixteen times in a row is
//! next, so that none waits for ever.

use std::collections::VecDeque;

use super::mailbox::{Mailbox, Overflow};
use crate::wire::interface::Priority;

/// After how many of higher lanes one of a lower lane comes.
pub(super) const PASSED_OVER_MAX: u32 = 16;

/// How many places an empty lane keeps allocated.
const KEPT_MAX: usize = 1024;

const LANES: usize = 3;

/// Items in lanes, each with its length in bytes.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    limits: Mailbox,
    /// The lowest first.
    lanes: [Lane<T>; LANES],
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Lane<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    /// How often in a row an item of a higher lane was taken while one waited here.
    passed_over: u32,
}

/// What became of an item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Put<T> {
    /// It is in.
    In,
    /// It is in, and these are out for it.
    Instead(Vec<T>),
    /// There is no room for it.
    Full(T),
}

impl<T> Lanes<T> {
    pub(crate) fn new(limits: Mailbox) -> Self {
        let lane = || Lane {
            items: VecDeque::new(),
            bytes: 0,
            passed_over: 0,
        };
        Self {
            limits,
            lanes: [lane(), lane(), lane()],
            messages: 0,
            bytes: 0,
        }
    }

    pub(crate) fn limits(&self) -> Mailbox {
        self.limits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Whether a small item would go in beside those that are there.
    pub(crate) fn has_room(&self) -> bool {
        self.is_empty() || self.fits(0, (self.messages, self.bytes))
    }

    /// Puts an item of `len` bytes in, if there is room or some is made.
    pub(crate) fn put(&mut self, priority: Priority, len: usize, item: T) -> Put<T> {
        let mut out = Vec::new();
        if !self.is_empty() && !self.fits(len, (self.messages, self.bytes)) {
            if !self.can_displace(priority, len) {
                return Put::Full(item);
            }
            while !self.is_empty() && !self.fits(len, (self.messages, self.bytes)) {
                out.extend(self.displace());
            }
        }
        let lane = &mut self.lanes[priority as usize];
        lane.items.push_back((len, item));
        lane.bytes += len;
        self.messages += 1;
        self.bytes += len;
        if out.is_empty() {
            Put::In
        } else {
            Put::Instead(out)
        }
    }

    /// Puts back an item that was taken: it is the next of its lane. Its room was its own.
    pub(crate) fn put_back(&mut self, priority: Priority, len: usize, item: T) {
        let lane = &mut self.lanes[priority as usize];
        lane.items.push_front((len, item));
        lane.bytes += len;
        self.messages += 1;
        self.bytes += len;
    }

    /// Whether an item of a higher priority than this one waits.
    pub(crate) fn is_higher_than(&self, priority: Priority) -> bool {
        let higher = &self.lanes[priority as usize + 1..];
        higher.iter().any(|lane| !lane.items.is_empty())
    }

    #[cfg(test)]
    fn take(&mut self) -> Option<(Priority, T)> {
        self.take_if(|_| true)
    }

    /// Takes the item whose turn it is, and says of which lane it was; unless `wants` says no: then
    /// it stays where it is, and it stays its turn.
    pub(crate) fn take_if(&mut self, wants: impl FnOnce(&T) -> bool) -> Option<(Priority, T)> {
        let waits = |lane: &&Lane<T>| !lane.items.is_empty();
        let is_due = |lane: &Lane<T>| waits(&lane) && lane.passed_over >= PASSED_OVER_MAX;
        let highest = |is: &dyn Fn(&Lane<T>) -> bool| {
            let mut lanes = Priority::ALL.into_iter().rev();
            lanes.find(|priority| is(&self.lanes[*priority as usize]))
        };
        let priority = highest(&is_due).or_else(|| highest(&|lane| waits(&lane)))?;
        let (_, next) = self.lanes[priority as usize].items.front()?;
        if !wants(next) {
            return None;
        }
        let (lower, rest) = self.lanes.split_at_mut(priority as usize);
        for lane in lower.iter_mut().filter(|lane| !lane.items.is_empty()) {
            lane.passed_over += 1;
        }
        rest[0].passed_over = 0;
        let item = self.take_at(priority as usize, End::Front)?;
        Some((priority, item))
    }

    fn fits(&self, len: usize, (messages, bytes): (usize, usize)) -> bool {
        let bytes = bytes.saturating_add(len.max(1));
        messages < self.limits.messages_max() && bytes <= self.limits.bytes_max()
    }

    /// Whether an item would go in if others made room that may have to.
    fn can_displace(&self, priority: Priority, len: usize) -> bool {
        // Those of its own lane stay if they are older than it and the oldest stay.
        let stay = match self.limits.on_overflow() {
            Overflow::Wait | Overflow::Fail => return false,
            Overflow::DropOldest => &self.lanes[priority as usize + 1..],
            Overflow::DropNewest => &self.lanes[priority as usize..],
        };
        let messages = stay.iter().map(|lane| lane.items.len()).sum();
        let bytes = stay.iter().map(|lane| lane.bytes).sum();
        self.fits(len, (messages, bytes))
    }

    /// Takes out the item that has to go first.
    fn displace(&mut self) -> Option<T> {
        let lowest = self.lanes.iter().position(|lane| !lane.items.is_empty())?;
        let end = match self.limits.on_overflow() {
            Overflow::DropNewest => End::Back,
            Overflow::DropOldest | Overflow::Wait | Overflow::Fail => End::Front,
        };
        self.take_at(lowest, end)
    }

    fn take_at(&mut self, at: usize, end: End) -> Option<T> {
        let lane = &mut self.lanes[at];
        let (len, item) = match end {
            End::Front => lane.items.pop_front(),
            End::Back => lane.items.pop_back(),
        }?;
        lane.bytes -= len;
        self.messages -= 1;
        self.bytes -= len;
        if lane.items.is_empty() {
            lane.passed_over = 0;
            lane.items.shrink_to(KEPT_MAX);
        }
        Some(item)
    }
}

/// Of a lane.
#[derive(Clone, Copy, Debug)]
enum End {
    Front,
    Back,
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// An item with the number of its coming.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Item {
        number: usize,
        priority: Priority,
        len: usize,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Put(Priority, usize),
        Take,
    }

    /// What is in, in the order of coming, by the rules as they are told to users.
    struct Model {
        limits: Mailbox,
        items: Vec<Item>,
        passed_over: [u32; LANES],
    }

    impl Model {
        fn fits(&self, items: &[Item], len: usize) -> bool {
            let bytes: usize = items.iter().map(|item| item.len).sum();
            items.len() < self.limits.messages_max()
                && bytes + len.max(1) <= self.limits.bytes_max()
        }

        /// Who has to go for `new`; none: `new` itself.
        fn out_for(&self, new: Item) -> Option<Vec<Item>> {
            if self.items.is_empty() {
                return Some(Vec::new());
            }
            let mut order = self.items.clone();
            match self.limits.on_overflow() {
                Overflow::Wait | Overflow::Fail => order.clear(),
                Overflow::DropOldest => {
                    order.sort_by_key(|item| (item.priority, item.number));
                    order.retain(|item| item.priority <= new.priority);
                }
                Overflow::DropNewest => {
                    order.sort_by_key(|item| (item.priority, usize::MAX - item.number));
                    order.retain(|item| item.priority < new.priority);
                }
            }
            (0..=order.len()).find_map(|count| {
                let out = &order[..count];
                let mut stay = self.items.clone();
                stay.retain(|item| !out.contains(item));
                self.fits(&stay, new.len).then(|| out.to_vec())
            })
        }

        fn put(&mut self, new: Item) -> Put<Item> {
            let Some(out) = self.out_for(new) else {
                return Put::Full(new);
            };
            self.items.retain(|item| !out.contains(item));
            self.forget_empty();
            self.items.push(new);
            if out.is_empty() {
                Put::In
            } else {
                Put::Instead(out)
            }
        }

        /// Checks that `taken` was to be taken, and takes it.
        fn take(&mut self, taken: Item) {
            let lane = |at: usize| {
                self.items
                    .iter()
                    .filter(move |item| item.priority as usize == at)
            };
            assert_eq!(
                lane(taken.priority as usize).next(),
                Some(&taken),
                "first come, first served"
            );
            let highest = (0..LANES).rev().find(|at| lane(*at).next().is_some());
            let at = taken.priority as usize;
            assert!(
                highest == Some(at) || self.passed_over[at] >= PASSED_OVER_MAX,
                "a lower one only if it has waited"
            );
            for (lower, passed_over) in self.passed_over.iter_mut().enumerate() {
                let waits = self
                    .items
                    .iter()
                    .any(|item| item.priority as usize == lower);
                if lower < at && waits {
                    *passed_over += 1;
                    assert!(
                        *passed_over <= PASSED_OVER_MAX + LANES as u32,
                        "none waits for ever"
                    );
                } else if lower == at {
                    *passed_over = 0;
                }
            }
            self.items.retain(|item| *item != taken);
            self.forget_empty();
        }

        /// A lane that nothing waits in has not been passed over.
        fn forget_empty(&mut self) {
            for (lane, passed_over) in self.passed_over.iter_mut().enumerate() {
                let mut items = self.items.iter();
                if !items.any(|item| item.priority as usize == lane) {
                    *passed_over = 0;
                }
            }
        }
    }

    fn priority() -> impl Strategy<Value = Priority> {
        prop::sample::select(Priority::ALL.to_vec())
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let put = (priority(), 0_usize..40).prop_map(|(priority, len)| Step::Put(priority, len));
        vec(prop_oneof![3 => put, 2 => Just(Step::Take)], 1..300)
    }

    fn limits() -> impl Strategy<Value = Mailbox> {
        let overflow = prop::sample::select(vec![
            Overflow::Wait,
            Overflow::Fail,
            Overflow::DropOldest,
            Overflow::DropNewest,
        ]);
        (1_usize..40, 0_usize..200, overflow).prop_map(|(messages, bytes, overflow)| {
            Mailbox::messages(messages).bytes(bytes).overflow(overflow)
        })
    }

    proptest! {
        /// Whatever comes and goes: within a lane first come, first served; the bounds hold; the
        /// right ones make room; each item leaves once, and no lane waits for ever.
        #[test]
        fn lanes_do_as_the_model(limits in limits(), steps in steps()) {
            let mut lanes = Lanes::new(limits);
            let mut model = Model { limits, items: Vec::new(), passed_over: [0; LANES] };
            let (mut put, mut left) = (0, 0);
            for step in steps {
                match step {
                    Step::Put(priority, len) => {
                        let item = Item { number: put, priority, len };
                        put += 1;
                        let done = lanes.put(priority, len, item);
                        left += match &done {
                            Put::In => 0,
                            Put::Instead(out) => out.len(),
                            Put::Full(_) => 1,
                        };
                        prop_assert_eq!(done, model.put(item));
                    }
                    Step::Take => match lanes.take() {
                        Some((priority, item)) => {
                            prop_assert_eq!(priority, item.priority);
                            model.take(item);
                            left += 1;
                        }
                        None => prop_assert!(model.items.is_empty()),
                    },
                }
                let bytes: usize = model.items.iter().map(|item| item.len).sum();
                prop_assert_eq!((lanes.messages, lanes.bytes), (model.items.len(), bytes));
                let is_open = model.items.is_empty() || model.fits(&model.items, 0);
                prop_assert_eq!(lanes.has_room(), is_open);
                prop_assert!(
                    lanes.messages <= limits.messages_max()
                        && (lanes.bytes <= limits.bytes_max() || lanes.messages == 1)
                );
            }
            while let Some((_, item)) = lanes.take() {
                model.take(item);
                left += 1;
            }
            prop_assert_eq!(put, left, "nothing lost, nothing twice");
        }
    }

    /// Under a stream of calls of the highest priority each lower lane gets one in seventeen.
    #[test]
    fn low_priorities_get_their_share() {
        let mut lanes = Lanes::new(Mailbox::messages(1000));
        for priority in Priority::ALL {
            for _ in 0..300 {
                lanes.put(priority, 1, ());
            }
        }
        let mut taken = [0; LANES];
        for _ in 0..180 {
            let (priority, ()) = lanes.take().unwrap();
            taken[priority as usize] += 1;
        }
        assert_eq!(taken, [10, 10, 160]);
    }

    /// What is not wanted stays, and it stays its turn.
    #[test]
    fn what_is_not_wanted_stays() {
        let mut lanes = Lanes::new(Mailbox::default());
        lanes.put(Priority::Low, 1, 0);
        for number in 1..=PASSED_OVER_MAX + 1 {
            lanes.put(Priority::High, 1, number);
        }
        let is_high = |number: &u32| *number > 0;
        let taken = std::iter::from_fn(|| lanes.take_if(is_high)).count();
        assert_eq!(taken, PASSED_OVER_MAX as usize);
        assert_eq!(lanes.take_if(is_high), None);
        assert_eq!(lanes.take(), Some((Priority::Low, 0)));
        assert!(lanes.take_if(is_high).is_some() && lanes.is_empty());
    }

    /// A call that was put back comes next.
    #[test]
    fn what_was_put_back_is_next() {
        let mut lanes = Lanes::new(Mailbox::default());
        for number in 0..3 {
            lanes.put(Priority::Normal, 1, number);
        }
        let (priority, first) = lanes.take().unwrap();
        lanes.put(Priority::High, 1, 9);
        assert!(lanes.is_higher_than(priority) && !lanes.is_higher_than(Priority::High));
        lanes.put_back(priority, 1, first);
        let order: Vec<_> = std::iter::from_fn(|| lanes.take())
            .map(|(_, item)| item)
            .collect();
        assert_eq!(order, [9, 0, 1, 2]);
    }
}
