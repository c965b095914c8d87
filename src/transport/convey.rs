//! How the memory of blobs comes to another machine: its content goes before the frame that names
//! it.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use super::{EVICTED, Porter, SHOWN_MAX, Shown, Tables, Taken, Way, Word};
use crate::sys::pages::Identity;
use crate::transport::freight::Freight;
use crate::transport::receiver::LinkError;
use crate::transport::sender::SendError;
use crate::wire::attached::Attached;
use crate::wire::holding::{Hold, Memory, lock};

/// That the peer knows a part of a memory.
pub(super) struct Part {
    memory: Identity,
    place: Range<usize>,
    pub(super) number: u64,
}

/// Memory up to this length goes whole.
const SMALL_LEN: usize = 64 * 1024;

/// Memory whose content the peer has, kept so until the frame is sent that names it. Dropped before
/// all of it has gone, the rest is not sent, unless another frame waits for it.
pub(crate) struct Conveyed {
    porter: Arc<Porter>,
    freight: Arc<Freight>,
    numbers: Vec<u64>,
}

impl Porter {
    /// Has the content of `attached` carried to the peer, as far as that has not got it, and waits
    /// until it has gone. None: this way needs none of that.
    ///
    /// # Errors
    /// [`SendError::Closed`] when nothing goes any more.
    ///
    /// # Cancel safety
    /// Dropped, the rest is not sent.
    pub(crate) async fn convey(
        self: &Arc<Self>,
        attached: &Attached,
    ) -> Result<Option<Conveyed>, SendError> {
        let Some(freight) = self.freight.clone() else {
            return Ok(None);
        };
        let conveyed = loop {
            let mut told = pin!(freight.told().notified());
            told.as_mut().enable();
            if let Some(conveyed) = self.begin_conveying(attached, &freight)? {
                break conveyed;
            }
            told.await;
        };
        freight.kick();
        loop {
            let mut told = pin!(freight.told().notified());
            told.as_mut().enable();
            if freight.is_over() {
                return Err(SendError::Closed);
            }
            let is_under_way = |number: &u64| freight.is_under_way(*number);
            if !conveyed.numbers.iter().any(is_under_way) {
                return Ok(Some(conveyed));
            }
            told.await;
        }
    }

    /// Begins to carry what is new of `attached`, all at once. None: the peer has got too much, and
    /// is asked to let some go.
    fn begin_conveying(
        self: &Arc<Self>,
        attached: &Attached,
        freight: &Arc<Freight>,
    ) -> Result<Option<Conveyed>, SendError> {
        let mut tables = lock(&self.tables);
        let is_new = |(hold, used): &(&Hold, Range<usize>)| !tables.knows(hold, used);
        let new = attached.used().filter(is_new).count();
        if tables.shown.len() + new > SHOWN_MAX {
            tables.evict(EVICTED.max(new));
            self.note_due(&tables);
            drop(tables);
            self.wake();
            return Ok(None);
        }
        let (mut numbers, mut shown) = (Vec::new(), Vec::new());
        for (hold, used) in attached.used() {
            let identity = hold.identity();
            if tables.theirs.contains_key(&identity) {
                continue;
            }
            if let Some(number) = tables.number(identity, &used) {
                tables.pin(number);
                numbers.push(number);
                continue;
            }
            let number = tables.last + 1;
            let place = worth(used, hold.pages().len());
            let memory = hold.keep();
            if !freight.load(number, &memory, &place) {
                return Err(SendError::Closed);
            }
            tables.show(number, (memory, Some(place)), 1);
            numbers.push(number);
            shown.push(hold);
        }
        drop(tables);
        for hold in shown {
            hold.note_shown(self.own.clone());
        }
        Ok(Some(Conveyed {
            porter: Arc::clone(self),
            freight: Arc::clone(freight),
            numbers,
        }))
    }

    /// Whether this way leads to another machine: content is carried there, and takes its time.
    pub(crate) fn is_remote(&self) -> bool {
        self.freight.is_some()
    }

    /// Whether some of it cannot go this way at all: an array is memory of one machine.
    pub(crate) fn refuses(&self, attached: &Attached) -> bool {
        let is_array = |hold: &Hold| hold.sealed().is_none();
        self.is_remote() && attached.holds().any(is_array)
    }

    /// Tells those who wait for room in the tables.
    pub(super) fn tell(&self) {
        if let Some(freight) = &self.freight {
            freight.told().notify_waiters();
        }
    }

    /// Nothing is carried any more.
    pub(super) fn end_freight(&self) {
        if let Some(freight) = &self.freight {
            freight.end();
        }
    }
}

/// What goes of a memory of which this is used: mostly all of it, for then other parts need not go;
/// but not a large one for the sake of a small part.
fn worth(used: Range<usize>, len: usize) -> Range<usize> {
    if used.len() <= len / 2 && len > SMALL_LEN {
        used
    } else {
        0..len
    }
}

impl Drop for Conveyed {
    fn drop(&mut self) {
        let Self {
            porter,
            freight,
            numbers,
        } = self;
        let mut tables = lock(&porter.tables);
        let mut is_news = false;
        for number in numbers.drain(..) {
            // What goes on its way is said before what is forgotten.
            if tables.unpin(number) && freight.withdraw(number) {
                tables.forget(number);
                is_news = true;
            }
        }
        porter.note_due(&tables);
        drop(tables);
        if is_news {
            freight.kick();
            porter.wake();
        }
        porter.tell();
    }
}

impl Tables {
    /// Whether the peer has this memory, or it is on its way.
    fn knows(&self, hold: &Hold, used: &Range<usize>) -> bool {
        let identity = hold.identity();
        self.theirs.contains_key(&identity) || self.number(identity, used).is_some()
    }

    /// The number by which the peer knows what is used of this memory.
    pub(super) fn number(&self, memory: Identity, used: &Range<usize>) -> Option<u64> {
        let whole = self.numbers.get(&memory).copied();
        let has = |part: &&Part| {
            let place = &part.place;
            part.memory == memory && place.start <= used.start && used.end <= place.end
        };
        whole.or_else(|| self.parts.iter().find(has).map(|part| part.number))
    }

    /// Whether something that was shown waits to be forgotten.
    pub(super) fn is_forgetting(&self) -> bool {
        self.shown.len() > self.numbers.len() + self.parts.len()
    }

    /// Names nothing of this memory any more. Whether there was something.
    pub(super) fn forget_memory(&mut self, memory: Identity) -> bool {
        let parts = self.parts.iter().filter(|part| part.memory == memory);
        let parts = parts.map(|part| part.number);
        let numbers: Vec<_> = parts.chain(self.numbers.get(&memory).copied()).collect();
        let has_some = !numbers.is_empty();
        numbers.into_iter().for_each(|number| self.forget(number));
        has_some
    }

    /// Notes that the peer knows `memory`, or this part of it, as `number`, which `pins` frames are
    /// about to name.
    pub(super) fn show(
        &mut self,
        number: u64,
        (memory, part): (Arc<Memory>, Option<Range<usize>>),
        pins: u32,
    ) {
        self.last = number;
        let whole = 0..memory.pages().len();
        let identity = memory.identity();
        match part.filter(|part| *part != whole) {
            None => drop(self.numbers.insert(identity, number)),
            Some(place) => self.parts.push(Part {
                memory: identity,
                place,
                number,
            }),
        }
        let is_over = false;
        let shown = Shown {
            memory,
            pins,
            is_over,
        };
        self.shown.insert(number, shown);
    }

    /// Begins to forget the eldest of what the peer was shown, `count` or more, unless some are
    /// being forgotten already.
    pub(super) fn evict(&mut self, count: usize) {
        if self.is_forgetting() {
            return;
        }
        let idle = self.shown.iter().filter(|(_, shown)| shown.pins == 0);
        let eldest: Vec<_> = idle.map(|(number, _)| *number).take(count).collect();
        eldest.into_iter().for_each(|number| self.forget(number));
    }

    fn pin(&mut self, number: u64) {
        if let Some(shown) = self.shown.get_mut(&number) {
            shown.pins += 1;
        }
    }

    /// One frame less is about to name it. Whether it was the last.
    fn unpin(&mut self, number: u64) -> bool {
        self.shown.get_mut(&number).is_some_and(|shown| {
            shown.pins -= 1;
            shown.pins == 0
        })
    }

    /// Takes in what is to be forgotten, if there is something.
    pub(super) fn fetch_forgotten(&mut self, number: u64) -> Result<(), LinkError> {
        match &self.way {
            Way::Freight(_) if self.taken.contains_key(&number) => Ok(()),
            Way::Freight(freight) if freight.is_past(number) => Ok(()),
            Way::Freight(_) => Err(LinkError::Blob("to forget what it is sending")),
            Way::Socket(_) | Way::None => self.fetch(number),
        }
    }

    /// Takes in what was carried here as `number`.
    pub(super) fn fetch_content(
        &mut self,
        number: u64,
        freight: &Freight,
    ) -> Result<(), LinkError> {
        if self.taken.contains_key(&number) {
            return Ok(());
        }
        if self.taken.len() >= SHOWN_MAX {
            return Err(LinkError::Blob("more memory than it may"));
        }
        let found = freight.unload(number);
        let taken = match found.ok_or(LinkError::Blob("memory that it has not sent"))? {
            Ok((memory, is_whole)) => {
                // Of a part we cannot say which: it goes back as what it is here.
                if is_whole {
                    self.theirs.insert(memory.identity(), number);
                }
                Taken::Here(memory)
            }
            Err(lost) => {
                self.due.push_back((Word::Lost, number));
                Taken::Lost(lost)
            }
        };
        self.taken.insert(number, taken);
        Ok(())
    }
}
