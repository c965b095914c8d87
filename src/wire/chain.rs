//! Who waits for whom: the actors through which a call has come, each awaiting the next. Pure.
//!
//! ```text
//! behind the payload of a frame, as many bytes as its header says; for each actor
//!   +0   key      8 bytes
//!   +8   machine  8 bytes
//!  +16   flags    1 byte: 1 = the method that waits runs alone
//!  +17   length   1 byte, then so many bytes of its name
//! ```
//!
//! Only calls that a method awaits carry a chain: nobody waits for the others.

use std::sync::Arc;

use super::frame::FrameError;

/// The most actors of one chain.
pub(crate) const DEPTH_MAX: usize = 64;

/// How much of a name travels, in bytes.
const NAME_LEN_MAX: usize = 64;

/// The longest chain that travels, in bytes.
pub(crate) const CHAIN_LEN_MAX: usize = DEPTH_MAX * (18 + NAME_LEN_MAX);

const EXCLUSIVE: u8 = 1;

/// One actor among all of all machines, while it lives: its machine, the process there that started
/// it, and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ActorKey {
    machine: u64,
    bits: u64,
}

impl ActorKey {
    /// No actor.
    #[cfg(test)]
    pub(crate) const NONE: Self = Self {
        machine: 0,
        bits: 0,
    };

    /// The `count`th actor, from 1 on, that the process `pid` has started.
    pub(crate) fn new(machine: u64, pid: u32, count: u64) -> Self {
        // Beyond four thousand million the counts begin anew: by then the first ones are gone.
        let bits = (u64::from(pid) << 32) | (count & u64::from(u32::MAX));
        Self { machine, bits }
    }

    pub(crate) fn from_bits(machine: u64, bits: u64) -> Self {
        Self { machine, bits }
    }

    pub(crate) fn machine(self) -> u64 {
        self.machine
    }

    /// Which actor of its machine it is.
    pub(crate) fn bits(self) -> u64 {
        self.bits
    }
}

/// One actor that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) actor: ActorKey,
    /// Its method runs alone: until it has ended, no other one runs.
    pub(crate) exclusive: bool,
    pub(crate) name: Arc<str>,
}

/// Those who wait, the first caller first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(Arc<[Waiting]>);

impl Chain {
    /// The chain behind one more actor; none: it would be too deep.
    pub(crate) fn and(&self, last: Waiting) -> Option<Self> {
        let before = self.0.iter().cloned();
        (self.0.len() < DEPTH_MAX).then(|| Self(before.chain([last]).collect()))
    }

    /// All who wait in one of both; none: they are too many.
    pub(crate) fn join(&self, other: &Self) -> Option<Self> {
        let known = |waiting: &&Waiting| !self.0.contains(waiting);
        let new: Vec<_> = other.0.iter().filter(known).cloned().collect();
        if new.is_empty() {
            return Some(self.clone());
        }
        let all = self.0.iter().cloned().chain(new);
        let all: Arc<[Waiting]> = all.collect();
        (all.len() <= DEPTH_MAX).then_some(Self(all))
    }

    /// Whether a call of `actor` would wait for itself: one that waits already would have to end
    /// first. `exclusive` is that of the method to be called.
    pub(crate) fn closes(&self, actor: ActorKey, exclusive: bool) -> bool {
        self.0
            .iter()
            .any(|waiting| waiting.actor == actor && (waiting.exclusive || exclusive))
    }

    /// The names, the first caller first.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.0.iter().map(|waiting| waiting.name.to_string());
        names.collect()
    }

    /// The names, from the actor `first` on.
    pub(crate) fn names_from(&self, first: ActorKey) -> Vec<String> {
        let rest = self.0.iter().skip_while(|waiting| waiting.actor != first);
        rest.map(|waiting| waiting.name.to_string()).collect()
    }

    /// Appends the chain as it travels.
    pub(crate) fn write(&self, mut append: impl FnMut(&[u8])) {
        for Waiting {
            actor,
            exclusive,
            name,
        } in self.0.iter()
        {
            let name = cut(name);
            let flags = if *exclusive { EXCLUSIVE } else { 0 };
            append(&actor.bits().to_le_bytes());
            append(&actor.machine().to_le_bytes());
            append(&[flags, u8::try_from(name.len()).unwrap_or_default()]);
            append(name.as_bytes());
        }
    }

    /// Reads a chain that has travelled.
    ///
    /// # Errors
    /// [`FrameError::Chain`] for what no version of this library writes.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, FrameError> {
        let mut chain = Vec::new();
        while !bytes.is_empty() {
            let one = read_one(&mut bytes).ok_or(FrameError::Chain)?;
            if chain.len() == DEPTH_MAX {
                return Err(FrameError::Chain);
            }
            chain.push(one);
        }
        Ok(Self(chain.into()))
    }
}

/// As much of a name as travels.
fn cut(name: &str) -> &str {
    let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends.take_while(|end| *end <= NAME_LEN_MAX).last();
    &name[..end.unwrap_or_default()]
}

fn read_one(bytes: &mut &[u8]) -> Option<Waiting> {
    let (key, rest) = bytes.split_first_chunk()?;
    let (machine, rest) = rest.split_first_chunk()?;
    let ([flags, len], rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    *bytes = rest;
    Some(Waiting {
        actor: ActorKey::from_bits(u64::from_le_bytes(*machine), u64::from_le_bytes(*key)),
        exclusive: flags & EXCLUSIVE != 0,
        name: std::str::from_utf8(name).ok()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(count: u64, exclusive: bool) -> Waiting {
        let name = format!("actor {count} of a length that is cut, which is, as it were, här")
            .repeat(2)
            .into();
        Waiting {
            actor: ActorKey::new(1, 7, count),
            exclusive,
            name,
        }
    }

    fn bytes(chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        chain.write(|more| bytes.extend_from_slice(more));
        bytes
    }

    /// A chain comes back as it was, but for names that are too long; it has a limit.
    #[test]
    fn chains_travel() {
        let mut chain = Chain::default();
        assert_eq!(Chain::read(&bytes(&chain)), Ok(chain.clone()));
        for count in 1..=DEPTH_MAX {
            let count = count as u64;
            chain = chain.and(waiting(count, count.is_multiple_of(2))).unwrap();
            let read = Chain::read(&bytes(&chain)).unwrap();
            assert!(read.closes(ActorKey::new(1, 7, count), true));
            assert_eq!(
                read.closes(ActorKey::new(1, 7, count), false),
                count.is_multiple_of(2)
            );
            assert!(!read.closes(ActorKey::new(1, 8, count), true));
            assert_eq!(read.names_from(ActorKey::new(1, 7, count)).len(), 1);
        }
        assert_eq!(chain.and(waiting(65, true)), None);
        let mut long = bytes(&chain);
        long.extend_from_slice(&bytes(&Chain::default().and(waiting(1, true)).unwrap()));
        assert_eq!(Chain::read(&long), Err(FrameError::Chain));
    }

    /// Two chains together have each actor of both once, and one that waits in both ways twice;
    /// they have the limit of one.
    #[test]
    fn chains_join() {
        let chain = |counts: &[u64], exclusive| {
            let mut chain = Chain::default();
            for count in counts {
                chain = chain.and(waiting(*count, exclusive)).unwrap();
            }
            chain
        };
        let (left, right) = (chain(&[1, 2], true), chain(&[2, 3], true));
        assert_eq!(left.join(&right), Some(chain(&[1, 2, 3], true)));
        assert_eq!(left.join(&left), Some(left.clone()));
        assert_eq!(left.join(&Chain::default()), Some(left.clone()));
        let joined = chain(&[1], false).join(&left).unwrap();
        assert_eq!(joined.names().len(), 3);
        assert!(joined.closes(ActorKey::new(1, 7, 1), false));
        let all: Vec<u64> = (1..=DEPTH_MAX as u64).collect();
        assert!(chain(&all, true).join(&left).is_some());
        assert_eq!(chain(&all, true).join(&chain(&[65], true)), None);
    }

    /// Cut and foreign bytes are errors or other chains, never panics.
    #[test]
    fn foreign_bytes_are_refused() {
        let good = bytes(&Chain::default().and(waiting(1, true)).unwrap());
        for len in 1..good.len() {
            assert_eq!(Chain::read(&good[..len]), Err(FrameError::Chain));
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xFF;
            let _may_be_either = Chain::read(&bad);
        }
    }
}
