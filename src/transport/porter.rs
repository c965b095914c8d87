//! Carries the memory of blobs and arrays to the peer, beside the frames that name it.
//!
//! ```text
//!  sender                                               receiver
//!   each memory has a number here
//!     └─ a new one: its descriptor ── socket ──>          ┐ taken from the socket when its
//!   the frame with the number ── ring ──>                 ┘ number is first met
//!   or: Attach [numbers], then the frame ── ring ──>
//!   nobody here uses it: Forget(number) ── ring ──>       lets it go
//!     number is free <── ring ── Forgotten(number)
//! ```
//!
//! The descriptor is in the socket before the record that names it is in the ring, so it is there
//! when it is looked for: nobody waits for one, and who names memory that he has not sent has
//! broken the rules. A number that the peer gave is used to speak of its memory to it, too. So what
//! both know goes to and fro without a system call.
//!
//! To another machine no descriptor goes: the content is carried there, as [`Freight`], and lies in
//! memory of that machine, which is sealed like this. A frame waits until the content has gone that
//! it names ([`Porter::convey`]); for the rest it is the same, so what both know does not travel
//! again. An array cannot go: the other machine has none of its memory.
//!
//! Both sides keep what is numbered. It is let go by the side that gave the number: when the last
//! blob there is dropped, when there are too many, or when the other side had no room for it. What
//! a dead peer had goes with the link. Within one process nothing is numbered: the blobs' own parts
//! are handed over.
//!
//! Its lock is taken under a link's and wherever a blob is dropped, and nothing is locked under it
//! but the table of this process's memory.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

pub(crate) use self::convey::Conveyed;
use self::convey::Part;
pub(crate) use self::naming::Known;
use super::freight::Freight;
use super::receiver::LinkError;
use crate::sys::pages::{Access, ByIdentity, Descriptor, DescriptorError, Identity};
use crate::sys::socket::Lifeline;
use crate::wire::attached::{ATTACHED_MAX, Attached, Beside, Lost};
use crate::wire::frame::{Head, Kind};
use crate::wire::holding::{Memory, Showing, lock};
use crate::wire::id::CallId;

/// The most memories that a peer is shown at once.
pub(crate) const SHOWN_MAX: usize = 256;

/// How many are let go together, when there are too many.
const EVICTED: usize = 32;

/// The longest list of numbers.
pub(crate) const LIST_LEN_MAX: usize = ATTACHED_MAX * 8;

/// Says in a list that the number is of the one who reads it.
const YOURS: u64 = 1;

/// The packet with a descriptor: its number, how long its memory is, what may be done with it.
const PACKET_LEN: usize = 24;

/// What may be done with memory, in a packet.
const READ: u64 = 0;
const WRITE: u64 = 1;

fn packet(number: u64, len: u64, access: Access) -> [u8; PACKET_LEN] {
    let access = match access {
        Access::Read => READ,
        Access::Write => WRITE,
    };
    let mut packet = [0; PACKET_LEN];
    let words = [number, len, access].map(u64::to_le_bytes);
    packet.copy_from_slice(words.as_flattened());
    packet
}

/// What a record beside the frames says; its number stands in the frame's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Word {
    /// The frame that follows has these with it.
    Attach = 0,
    /// This number will not be named again.
    Forget = 1,
    /// Nor by us: it is free.
    Forgotten = 2,
    /// We had no room for it.
    Lost = 3,
}

impl Word {
    fn of(number: u16) -> Option<Self> {
        const ALL: [Word; 4] = [Word::Attach, Word::Forget, Word::Forgotten, Word::Lost];
        ALL.get(usize::from(number)).copied()
    }

    /// The header of a record that says it of `number`.
    pub(crate) fn head(self, number: u64) -> Head {
        Head::new(Kind::Beside, self as u16, CallId::from_bits(number))
    }
}

/// One end of what goes beside a link.
pub(crate) struct Porter {
    /// Itself, for those who tell it that memory is not used any more.
    own: Weak<Self>,
    /// Where both sides are in one process: what was sent by either, by its ticket.
    here: Option<Arc<Mutex<Lying>>>,
    /// Where they are on two machines: what carries the content.
    freight: Option<Arc<Freight>>,
    tables: Mutex<Tables>,
    /// Goes up whenever a number may have ceased to mean what it did; see [`Known`].
    changes: AtomicU64,
    /// There is something to be said.
    is_due: AtomicBool,
    /// The peer may say something though nobody calls.
    listens: AtomicBool,
    /// Has whoever serves the link look what is due.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct Lying {
    next: u64,
    lists: BTreeMap<u64, Attached>,
}

#[derive(Default)]
struct Tables {
    way: Way,
    /// The number that was given last.
    last: u64,
    /// What we have shown, by our numbers.
    shown: BTreeMap<u64, Shown>,
    /// Those that are not being forgotten.
    numbers: ByIdentity<u64>,
    /// Those of which the peer was shown a part.
    parts: Vec<Part>,
    /// What we were shown, by the peer's numbers.
    taken: BTreeMap<u64, Taken>,
    /// Those that are here.
    theirs: ByIdentity<u64>,
    /// What is to be said.
    due: VecDeque<(Word, u64)>,
}

/// The way to another process.
#[derive(Default)]
enum Way {
    /// There is none, or [all was let go](Porter::let_go).
    #[default]
    None,
    /// It takes descriptors.
    Socket(Lifeline),
    /// It takes the content.
    Freight(Arc<Freight>),
}

struct Shown {
    memory: Arc<Memory>,
    /// How many frames are about to name it: meanwhile it is not forgotten.
    pins: u32,
    /// It was said that it will not be named again, or is about to be.
    is_over: bool,
}

enum Taken {
    Here(Arc<Memory>),
    Lost(Lost),
}

impl Taken {
    #[inline]
    fn beside(&self) -> Beside {
        match self {
            Self::Here(memory) => Beside::Here(memory.hold()),
            Self::Lost(lost) => Beside::Lost(lost.clone()),
        }
    }
}

impl Porter {
    /// An end of the caller's process, and the descriptor of the server's.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(crate) fn pair() -> io::Result<(Arc<Self>, OwnedFd)> {
        let (ours, theirs) = Lifeline::pair()?;
        Ok((Self::over(ours)?, theirs.into()))
    }

    /// The server's end.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Arc<Self>> {
        Self::over(Lifeline::from(fd))
    }

    fn over(socket: Lifeline) -> io::Result<Arc<Self>> {
        socket.set_nonblocking(true)?;
        Ok(Self::new((None, None), Way::Socket(socket)))
    }

    /// The end of one process, of two that have a stream between them and no memory.
    pub(crate) fn over_stream(freight: Arc<Freight>) -> Arc<Self> {
        Self::new((None, Some(Arc::clone(&freight))), Way::Freight(freight))
    }

    /// Both ends, within this process.
    pub(crate) fn here() -> [Arc<Self>; 2] {
        let lying = Arc::<Mutex<Lying>>::default();
        [Arc::clone(&lying), lying].map(|lying| Self::new((Some(lying), None), Way::None))
    }

    fn new(
        (here, freight): (Option<Arc<Mutex<Lying>>>, Option<Arc<Freight>>),
        way: Way,
    ) -> Arc<Self> {
        let tables = Tables {
            way,
            ..Tables::default()
        };
        Arc::new_cyclic(|own| Self {
            own: own.clone(),
            here,
            freight,
            tables: Mutex::new(tables),
            changes: AtomicU64::new(1),
            is_due: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            wake: OnceLock::new(),
        })
    }

    /// Tells how whoever serves the link is woken to look what is [due](Self::next_due).
    pub(crate) fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        // Set once, by the link's owner.
        let _ = self.wake.set(Box::new(wake));
    }

    fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// What a record says that came in.
    ///
    /// # Errors
    /// [`LinkError::Blob`] when it breaks the rules.
    pub(crate) fn hear(&self, head: &Head, list: &[u8]) -> Result<Heard, LinkError> {
        let number = head.call.bits();
        let word = Word::of(head.method).ok_or(LinkError::Blob("a word that there is not"))?;
        if word == Word::Attach {
            return self.take(list).map(Heard::Attached);
        }
        if self.here.is_some() {
            return Err(LinkError::Blob("a word that nobody says here"));
        }
        let mut tables = lock(&self.tables);
        match word {
            Word::Attach => unreachable!("it was heard above"),
            Word::Forget => {
                // It may have been shown for a frame that found no room.
                tables.fetch_forgotten(number)?;
                if let Some(Taken::Here(memory)) = tables.taken.remove(&number)
                    && tables.theirs.get(&memory.identity()) == Some(&number)
                {
                    tables.theirs.remove(&memory.identity());
                }
                tables.due.push_back((Word::Forgotten, number));
            }
            Word::Forgotten => match tables.shown.remove(&number) {
                Some(Shown { is_over: true, .. }) => self.tell(),
                _ => return Err(LinkError::Blob("to have forgotten what it was to keep")),
            },
            Word::Lost => {
                if !tables.shown.contains_key(&number) {
                    return Err(LinkError::Blob("to have lost what it never had"));
                }
                tables.forget(number);
            }
        }
        self.note_due(&tables);
        drop(tables);
        if word != Word::Forgotten {
            self.wake();
            return Ok(Heard::Nothing);
        }
        Ok(Heard::Room)
    }

    /// What the number that a frame names means, and whether something came for it.
    ///
    /// # Errors
    /// [`LinkError::Blob`] when it is none.
    #[inline]
    pub(crate) fn take_named(&self, entry: u64) -> Result<(Attached, bool), LinkError> {
        if let Some(lying) = &self.here {
            let found = lock(lying).lists.remove(&entry);
            let found = found.ok_or(LinkError::Blob("a ticket that there is not"))?;
            return Ok((found, false));
        }
        let mut tables = lock(&self.tables);
        let before = tables.news();
        // No hold is dropped under the lock, for that would tell us so.
        let found = tables.find(entry)?;
        let is_news = tables.news() != before;
        if is_news {
            self.note_due(&tables);
        }
        drop(tables);
        if is_news {
            self.wake();
        }
        Ok(([found].into_iter().collect(), is_news))
    }

    /// What the numbers of a list mean.
    fn take(&self, list: &[u8]) -> Result<Attached, LinkError> {
        if list.is_empty() || list.len() > LIST_LEN_MAX || !list.len().is_multiple_of(8) {
            return Err(LinkError::Blob("a list that is none"));
        }
        if self.here.is_some() {
            return Err(LinkError::Blob("a list where there are tickets"));
        }
        let entries = list.chunks_exact(8).map(|bytes| {
            let mut entry = [0; 8];
            entry.copy_from_slice(bytes);
            u64::from_le_bytes(entry)
        });
        // Not dropped under the lock.
        let mut found = Vec::with_capacity(entries.len());
        let mut tables = lock(&self.tables);
        let before = tables.news();
        let result = entries
            .map(|entry| tables.find(entry))
            .try_for_each(|one| one.map(|one| found.push(one)));
        self.note_due(&tables);
        let is_news = tables.news() != before;
        drop(tables);
        result?;
        if is_news {
            self.wake();
        }
        Ok(found.into_iter().collect())
    }

    /// Lets all go, and the way with it: the peer is gone, or as good as that.
    pub(crate) fn let_go(&self) {
        self.end_freight();
        let mut tables = lock(&self.tables);
        let all = std::mem::take(&mut *tables);
        self.note_due(&tables);
        drop(tables);
        drop(all);
    }

    /// Whether there may be something to be said.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// What is to be said next.
    pub(crate) fn next_due(&self) -> Option<Head> {
        let tables = lock(&self.tables);
        tables.due.front().map(|(word, number)| word.head(*number))
    }

    /// It was said.
    pub(crate) fn done(&self) {
        let mut tables = lock(&self.tables);
        tables.due.pop_front();
        self.note_due(&tables);
    }

    /// Whether the peer may say something that no call waits for.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Called under the lock after each change of what is due, and so of what numbers mean.
    ///
    /// Relaxed: the flags only spare a look under the lock, and who has changed something wakes who
    /// looks.
    fn note_due(&self, tables: &Tables) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.is_due.store(!tables.due.is_empty(), Ordering::Relaxed);
        let listens = !tables.taken.is_empty() || tables.is_forgetting();
        self.listens.store(listens, Ordering::Relaxed);
    }
}

/// What came of a record.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The next frame has these with it.
    Attached(Attached),
    /// There may be room now for whoever waits.
    Room,
    /// Nothing for others.
    Nothing,
}

impl Showing for Porter {
    fn forget(&self, memory: Identity) {
        let mut tables = lock(&self.tables);
        if !tables.forget_memory(memory) {
            return;
        }
        self.note_due(&tables);
        drop(tables);
        self.wake();
    }
}

impl Tables {
    /// Names `number` no more, from the next word on.
    fn forget(&mut self, number: u64) {
        if let Some(shown) = self.shown.get_mut(&number)
            && !std::mem::replace(&mut shown.is_over, true)
        {
            let memory = shown.memory.identity();
            if self.numbers.get(&memory) == Some(&number) {
                self.numbers.remove(&memory);
            }
            self.parts.retain(|part| part.number != number);
            self.due.push_back((Word::Forget, number));
        }
    }

    /// Changes when something comes in, or is due to be said for it.
    fn news(&self) -> usize {
        self.due.len() + self.taken.len()
    }

    /// The memory of an entry.
    #[inline]
    fn find(&mut self, entry: u64) -> Result<Beside, LinkError> {
        let number = entry >> 1;
        if entry & YOURS != 0 {
            let shown = self.shown.get(&number);
            let memory = shown.map(|shown| Beside::Here(shown.memory.hold()));
            return memory.ok_or(LinkError::Blob("memory that it was not shown"));
        }
        if let Some(taken) = self.taken.get(&number) {
            return Ok(taken.beside());
        }
        self.fetch(number)?;
        let taken = self.taken.get(&number);
        let beside = taken.map(Taken::beside);
        beside.ok_or(LinkError::Blob("memory that it has not sent"))
    }

    /// Takes in what lies in the socket, up to this number.
    fn fetch(&mut self, number: u64) -> Result<(), LinkError> {
        if let Way::Freight(freight) = &self.way {
            let freight = Arc::clone(freight);
            return self.fetch_content(number, &freight);
        }
        while !self.taken.contains_key(&number) {
            if self.taken.len() >= SHOWN_MAX {
                return Err(LinkError::Blob("more memory than it may"));
            }
            let mut packet = [0; PACKET_LEN];
            let received = match &self.way {
                Way::Socket(socket) => Some(socket.recv(&mut packet)),
                Way::Freight(_) | Way::None => None,
            };
            let (came, fds) = match received {
                Some(Ok(received)) => (received.len, received.fds),
                // Its descriptor found no room here.
                Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    (packet.len(), vec![])
                }
                Some(Err(_)) | None => (0, vec![]),
            };
            if came != packet.len() {
                return Err(LinkError::Blob("memory that it has not sent"));
            }
            let [number, len, access] = [0, 8, 16].map(|at| {
                let mut word = [0; 8];
                word.copy_from_slice(&packet[at..at + 8]);
                u64::from_le_bytes(word)
            });
            let access = match access {
                READ => Access::Read,
                WRITE => Access::Write,
                _ => return Err(LinkError::Blob("memory of a kind that there is not")),
            };
            self.take_in(number, (len, access), fds)?;
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        number: u64,
        (len, access): (u64, Access),
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), LinkError> {
        if self.taken.contains_key(&number) || fds.len() > 1 {
            return Err(LinkError::Blob("memory of a number twice"));
        }
        let found = match fds.pop() {
            Some(fd) => Descriptor::check(fd, len, access).and_then(Memory::of),
            None => Err(DescriptorError::Resources(io::Error::from_raw_os_error(
                libc::EMFILE,
            ))),
        };
        let taken = match found {
            Ok(memory) => {
                self.theirs.insert(memory.identity(), number);
                Taken::Here(memory)
            }
            Err(DescriptorError::Wrong(what)) => return Err(LinkError::Blob(what)),
            Err(DescriptorError::Resources(error)) => {
                self.due.push_back((Word::Lost, number));
                Taken::Lost(Lost::new(&error))
            }
        };
        self.taken.insert(number, taken);
        Ok(())
    }
}

impl fmt::Debug for Porter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = lock(&self.tables);
        f.debug_struct("Porter")
            .field("shown", &tables.shown.len())
            .field("taken", &tables.taken.len())
            .finish_non_exhaustive()
    }
}

#[path = "convey.rs"]
mod convey;

#[path = "naming.rs"]
mod naming;

#[cfg(test)]
#[path = "porter_tests.rs"]
mod tests;
