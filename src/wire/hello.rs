//! The two packets by which a parent and its new child agree. Pure.
//!
//! ```text
//! parent -> child   Hello      who you are to be, and where our rings lie
//! child  -> parent  Greeting   what I offer, or why not
//! both begin with   magic (8)  protocol (4)  format (4): compared before anything is decoded
//! ```

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::codec::{self, Buffer, DecodeError, EncodeError, Message};
use super::interface::{ASK, Interface, Method};

/// The packets' size is bounded: a packet of a local socket is at most this long here.
pub(crate) const PACKET_LEN_MAX: usize = 64 * 1024;

/// This version of the protocol. It changes with the frames, the ring and these packets.
pub(crate) const PROTOCOL: u32 = 3;

const MAGIC: [u8; 8] = *b"callbrd\n";
const PREAMBLE_LEN: usize = 16;

/// Which flavour of archives this build writes: pointer width, alignment and byte order.
fn format() -> u32 {
    let width = size_of::<rkyv::primitive::ArchivedUsize>();
    let alignment = align_of::<rkyv::primitive::ArchivedU64>();
    let order = u8::from(cfg!(target_endian = "big"));
    u32::from_le_bytes([
        8,
        u8::try_from(width).unwrap_or(0),
        u8::try_from(alignment).unwrap_or(0),
        order,
    ])
}

/// What a parent tells its new child.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The process that sent this: the child goes when it goes.
    pub(crate) parent: u32,
    /// The interface to serve, by its name on the wire.
    pub(crate) actor: String,
    /// The actor's key among all of this machine.
    pub(crate) key: u64,
    /// What to call the process.
    pub(crate) title: String,
    /// What the link goes over: the number of a kind of link.
    pub(crate) link: u8,
    /// The name of the segment with the rings; empty for a link without one.
    pub(crate) segment: String,
    /// Its length in bytes.
    pub(crate) segment_len: u64,
    /// The capacity of each ring in bytes.
    pub(crate) ring_capacity: u64,
    /// How much memory each arena takes at most; 0: there are none.
    pub(crate) arena_limit: u64,
    /// Both ends run one program: what the other wrote is read where it lies.
    pub(crate) in_place: bool,
    /// How many calls the parent keeps in flight.
    pub(crate) slots: u64,
    /// The longest message in bytes.
    pub(crate) message_len_max: u64,
    /// How the child waits: the number of an idle strategy.
    pub(crate) idle: u8,
    /// Its mailbox: messages, bytes, and the number of what it does when it is full.
    pub(crate) mailbox: (u64, u64, u8),
    /// How long it may take to end when it is asked to by somebody else than its parent.
    pub(crate) grace_ms: u64,
    /// What it may have, which it sees to before anything else.
    pub(crate) bounds: Bounds,
    /// The key that its family has in common.
    pub(crate) family_key: Secret,
    /// Where it listens for remote callers, if it does.
    pub(crate) network: Option<Network>,
    /// Whether what it leaves to its next life is kept.
    pub(crate) is_kept: bool,
    /// Whether who follows it has its key, and takes over its callers.
    pub(crate) returns: bool,
    /// How many ways in the lives before it had, whose descriptors come along.
    pub(crate) ways: u8,
    /// How many bytes the life before has left, in memory whose descriptor comes along.
    pub(crate) left: Option<u64>,
}

/// What a child may have; none: what its parent has.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Private memory in bytes.
    pub(crate) heap: Option<u64>,
    /// Descriptors, beside those that it needs to serve.
    pub(crate) files: Option<u64>,
    /// How much it gives way to others.
    pub(crate) nice: Option<i32>,
    /// The files by which it enters its cgroups.
    pub(crate) doors: Vec<String>,
}

/// One of the [`Bounds`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Heap,
    Files,
    Nice,
    Groups,
}

/// How an actor listens for remote callers.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The addresses at which it listens.
    pub(crate) listen: Vec<Entry>,
    /// Those that it tells instead, if any.
    pub(crate) advertise: Vec<String>,
    /// Of which a caller must have one where an address has none of its own; none: the family's
    /// key.
    pub(crate) keys: Vec<Secret>,
    /// How many callers it has at most.
    pub(crate) connections_max: u32,
    /// How many bytes of blobs may have come from one of them and be in use.
    pub(crate) blob_limit: u64,
}

/// An address at which an actor listens.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: String,
    /// The port to take, if the address says any and this one is to be had; 0: any.
    pub(crate) port: u16,
    /// Of which a caller there must have one; none: one of those of the whole actor.
    pub(crate) keys: Vec<Secret>,
}

/// Bytes that are never printed.
#[derive(Archive, Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A child's answer: what it offers, or why it cannot serve.
pub(crate) type Greeting = Result<Greeted, GreetRefusal>;

/// What a child offers.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeted {
    pub(crate) tables: Tables,
    /// Where remote callers reach it.
    pub(crate) addresses: Vec<String>,
    /// The ports at which it listens, in the order of its addresses; 0: none.
    pub(crate) ports: Vec<u16>,
}

/// The constructors and methods that a process offers for one interface.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// The interface's name on the wire.
    name: String,
    hash: u64,
    constructors: Vec<(String, u64)>,
    methods: Vec<(String, u64)>,
}

/// Why a child does not serve.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum GreetRefusal {
    /// The program has no such actor.
    UnknownActor,
    /// The segment could not be mapped.
    Segment(String),
    /// A thread that it needs could not be started; the system's number says why.
    Thread(i32),
    /// It cannot be bounded as it should be; the system's number says why.
    Bound(Bound, i32),
    /// It cannot listen there.
    Listen {
        /// At this address.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// Something else of the system's failed.
    System(String),
}

/// Why a method of ours cannot be called at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It has none of that name.
    Unknown,
    /// It has one with another signature.
    Changed,
}

/// For each method of ours the number by which the peer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Both tables are equal.
    Same,
    /// One entry per method of ours.
    Mapped(Box<[Result<u16, Mismatch>]>),
    /// Ours is a part of theirs, whose first method has this number.
    From(u16),
}

impl Numbers {
    /// The peer's number of our method.
    ///
    /// # Errors
    /// [`Mismatch`] when the peer lacks or changed it.
    #[inline]
    pub(crate) fn theirs(&self, ours: u16) -> Result<u16, Mismatch> {
        match self {
            Self::Same => Ok(ours),
            // They mean the same to every actor.
            Self::Mapped(_) if ours >= ASK => Ok(ours),
            Self::Mapped(numbers) => numbers
                .get(usize::from(ours))
                .copied()
                .unwrap_or(Err(Mismatch::Unknown)),
            Self::From(first) => Ok(if ours < ASK { first + ours } else { ours }),
        }
    }

    /// Those of a part of ours, which has `count` methods from number `first` on.
    pub(crate) fn part(&self, first: u16, count: usize) -> Self {
        match self {
            Self::Same => Self::From(first),
            Self::From(before) => Self::From(before + first),
            Self::Mapped(_) => {
                let numbers = (first..).take(count).map(|ours| self.theirs(ours));
                Self::Mapped(numbers.collect())
            }
        }
    }
}

impl Tables {
    pub(crate) fn of(interface: &Interface) -> Self {
        let entry = |method: &Method| (method.name.to_owned(), method.signature);
        Self {
            name: interface.full_name().into_owned(),
            hash: interface.hash(),
            constructors: interface.constructors.iter().map(entry).collect(),
            methods: interface.all_methods().map(entry).collect(),
        }
    }

    /// What callers need of them: constructors are called by whoever starts an actor.
    pub(crate) fn of_callers(&self) -> Self {
        Self {
            constructors: Vec::new(),
            ..self.clone()
        }
    }

    /// The name of the interface.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The names of its methods, without those that its program left out.
    pub(crate) fn method_names(&self) -> impl Iterator<Item = &str> {
        let names = self.methods.iter().map(|(name, _)| name.as_str());
        names.filter(|name| !name.is_empty())
    }

    /// How the peer with these tables numbers our methods.
    pub(crate) fn methods(&self, ours: &Interface) -> Numbers {
        self.numbers(ours, ours.all_methods(), &self.methods)
    }

    /// How the peer with these tables numbers the methods of our part that is called `path` there.
    pub(crate) fn methods_within(&self, path: &str, ours: &Interface) -> Numbers {
        let theirs =
            |method: &Method| number(&[path, ".", method.name].concat(), method, &self.methods);
        Numbers::Mapped(ours.all_methods().map(theirs).collect())
    }

    /// The name of the method of this number; none: there is none, or its program left it out.
    pub(crate) fn method_name(&self, number: u16) -> Option<&str> {
        let (name, _) = self.methods.get(usize::from(number))?;
        Some(name.as_str()).filter(|name| !name.is_empty())
    }

    /// How the peer with these tables numbers our constructors.
    pub(crate) fn constructors(&self, ours: &Interface) -> Numbers {
        self.numbers(ours, ours.constructors.iter(), &self.constructors)
    }

    fn numbers(
        &self,
        interface: &Interface,
        ours: impl Iterator<Item = &'static Method>,
        theirs: &[(String, u64)],
    ) -> Numbers {
        if self.hash == interface.hash() {
            return Numbers::Same;
        }
        let number = |method: &Method| number(method.name, method, theirs);
        Numbers::Mapped(ours.map(number).collect())
    }

    /// The first of our methods that cannot be called at the peer, and why.
    pub(crate) fn first_mismatch(&self, ours: &Interface) -> Option<(&'static str, Mismatch)> {
        let present = ours.all_methods().filter(|method| !method.name.is_empty());
        present
            .map(|method| (method.name, number(method.name, method, &self.methods)))
            .find_map(|(name, number)| Some((name, number.err()?)))
    }
}

/// Their number of our method, which is called `name` there.
fn number(name: &str, method: &Method, theirs: &[(String, u64)]) -> Result<u16, Mismatch> {
    let at = theirs.iter().position(|(theirs, _)| theirs == name);
    match at.and_then(|at| Some((u16::try_from(at).ok()?, theirs[at].1))) {
        None => Err(Mismatch::Unknown),
        Some((at, signature)) if signature == method.signature => Ok(at),
        Some(_) => Err(Mismatch::Changed),
    }
}

/// The most bytes of a packet's archive.
const ARCHIVE_LEN_MAX: usize = PACKET_LEN_MAX - PREAMBLE_LEN;

/// A packet as it travels: preamble and archive.
///
/// # Errors
/// [`EncodeError::TooLarge`] when it is longer than [`PACKET_LEN_MAX`].
pub(crate) fn encode<M: Message>(message: &M) -> Result<Vec<u8>, EncodeError> {
    codec::encode(message, ARCHIVE_LEN_MAX, packet)
}

/// The same of a message with keys in it, which are nowhere but in the packet, as long as that is.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_secret<M: Message>(message: &M) -> Result<Zeroizing<Vec<u8>>, EncodeError> {
    codec::encode_secret(message, ARCHIVE_LEN_MAX, packet).map(Zeroizing::new)
}

fn packet(archive: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(PREAMBLE_LEN + archive.len());
    packet.extend_from_slice(&MAGIC);
    packet.extend_from_slice(&PROTOCOL.to_le_bytes());
    packet.extend_from_slice(&format().to_le_bytes());
    packet.extend_from_slice(archive);
    packet
}

/// Reads a packet.
///
/// # Errors
/// [`HelloError`]; the versions are compared before the archive is looked at.
pub(crate) fn decode<M: Message>(packet: &[u8]) -> Result<M, HelloError> {
    let (preamble, archive) = packet
        .split_at_checked(PREAMBLE_LEN)
        .ok_or(HelloError::Foreign)?;
    if preamble[..8] != MAGIC {
        return Err(HelloError::Foreign);
    }
    let word = |at: usize| {
        let mut le = [0; 4];
        le.copy_from_slice(&preamble[at..at + 4]);
        u32::from_le_bytes(le)
    };
    if word(8) != PROTOCOL {
        return Err(HelloError::Version {
            ours: PROTOCOL,
            theirs: word(8),
        });
    }
    if word(12) != format() {
        return Err(HelloError::Format {
            ours: format(),
            theirs: word(12),
        });
    }
    let mut aligned = Buffer::with_capacity(archive.len());
    aligned.extend_from_slice(archive);
    Ok(codec::decode(&aligned)?)
}

/// Two processes cannot talk to each other.
///
/// # Examples
/// ```
/// use callboard::{HelloError, SpawnError};
///
/// fn was_built_apart(error: &SpawnError) -> bool {
///     matches!(error, SpawnError::Hello(HelloError::Version { .. } | HelloError::Format { .. }))
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The packet is not one of callboard's.
    #[error("the other process does not speak callboard's protocol")]
    Foreign,
    /// The other program was built with another version of callboard.
    #[error("the other process speaks version {theirs} of the protocol, and this one {ours}")]
    Version {
        /// This process's version.
        ours: u32,
        /// The other's.
        theirs: u32,
    },
    /// The other program writes archives in another way.
    #[error("the other process writes archives as {theirs:#x}, and this one as {ours:#x}")]
    Format {
        /// This process's format.
        ours: u32,
        /// The other's.
        theirs: u32,
    },
    /// The packet's contents are damaged.
    #[error("the other process's greeting is damaged")]
    Damaged(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: Method = Method::new("add", 1).exclusive();
    const GET: Method = Method::new("get", 2);
    const NOW: Interface = Interface {
        name: "x",
        instance: None,
        constructors: &[],
        methods: &[ADD, GET],
        parts: &[],
    };

    fn hello() -> Hello {
        Hello {
            parent: 1,
            actor: "x".into(),
            key: 7,
            title: "x".into(),
            link: 0,
            segment: "s".into(),
            segment_len: 1,
            ring_capacity: 2,
            arena_limit: 7,
            in_place: true,
            slots: 3,
            message_len_max: 4,
            idle: 0,
            mailbox: (5, 6, 0),
            grace_ms: 8,
            bounds: Bounds::default(),
            family_key: Secret([9; 32]),
            network: None,
            is_kept: true,
            returns: true,
            ways: 1,
            left: Some(77),
        }
    }

    /// Packets come back as they were; another version or magic is told apart before decoding.
    #[test]
    fn packets_round_trip() {
        let packet = encode(&hello()).unwrap();
        assert_eq!(decode::<Hello>(&packet).unwrap(), hello());
        let mut old = packet.clone();
        old[8] = 0;
        assert!(matches!(
            decode::<Hello>(&old),
            Err(HelloError::Version { theirs: 0, .. })
        ));
        let mut narrow = packet.clone();
        narrow[13] = 4;
        assert!(matches!(
            decode::<Hello>(&narrow),
            Err(HelloError::Format { .. })
        ));
        assert!(matches!(
            decode::<Hello>(b"GET / HTTP/1.1\r\n"),
            Err(HelloError::Foreign)
        ));
        for len in 0..packet.len() {
            assert!(decode::<Hello>(&packet[..len]).is_err(), "{len}");
        }
    }

    /// Equal builds need no map; a method that moved is found, one that changed is missing.
    #[test]
    fn methods_are_matched_by_name_and_signature() {
        const CHANGED: Method = Method::new("add", 9).exclusive();
        const NEW: Method = Method::new("new", 5);
        assert_eq!(Tables::of(&NOW).methods(&NOW), Numbers::Same);
        let other = Interface {
            name: "x",
            instance: None,
            constructors: &[],
            methods: &[NEW, GET, CHANGED],
            parts: &[],
        };
        let numbers = Tables::of(&other).methods(&NOW);
        assert_eq!(numbers.theirs(0), Err(Mismatch::Changed), "add changed");
        assert_eq!(numbers.theirs(1), Ok(1), "get is second there too");
        assert_eq!(numbers.theirs(7), Err(Mismatch::Unknown));
        let first = Tables::of(&other).first_mismatch(&NOW);
        assert_eq!(first, Some(("add", Mismatch::Changed)));
    }

    /// The numbers of a part, and of a part of that, follow from those of the whole.
    #[test]
    fn parts_are_numbered_by_the_whole() {
        let part = Numbers::Same.part(3, 4).part(2, 2);
        assert_eq!(part.theirs(1), Ok(6));
        assert_eq!(part.theirs(ASK), Ok(ASK));
        let unknown = Err(Mismatch::Unknown);
        let mapped = Numbers::Mapped([Ok(7), unknown, Ok(4), Ok(9)].into());
        let part = mapped.part(1, 2);
        assert_eq!(
            [0, 1, 2].map(|ours| part.theirs(ours)),
            [unknown, Ok(4), unknown]
        );
    }

    /// A part of a table is found in another one, wherever it stands there.
    #[test]
    fn parts_are_found_by_name() {
        const NAME: Method = Method::new("name", 4);
        const GREET: Method = Method::new("greet", 3);
        let whole = Interface {
            parts: &[&[GREET, NAME]],
            ..NOW
        };
        let part = Interface {
            name: "y",
            instance: None,
            constructors: &[],
            methods: &[NAME],
            parts: &[],
        };
        let tables = Tables::of(&whole);
        assert_eq!(tables.first_mismatch(&part), None);
        assert_eq!(tables.methods(&part).theirs(0), Ok(3));
    }
}
