//! What the link of a new actor goes over, on both sides of the start.
//!
//! ```text
//!  parent                                                   child
//!   pave: a segment, named; two bells        ── hello ──>    Road::take: maps it
//!     └─ none to be had: a socket, and more  ── hello ──>    Road::take: lays the other end
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::doorbell::Doorbell;
use crate::sys::memory::{Segment, SegmentError, segment_len_max};
use crate::transport::Link;
use crate::transport::board::{Board, Geometry, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::transport::porter::Porter;
use crate::transport::relay::{Relay, flush};
use crate::transport::shm::{Bells, connect};
use crate::transport::stream::{Laid, Pumping};
use crate::transport::unix::{self, Plug};
use crate::wire::hello::{GreetRefusal, Hello};
use crate::wire::interface::Interface;

/// A link that was made for a child, and what the child needs for its end.
pub(super) struct Paved {
    pub(super) kind: LinkKind,
    pub(super) geometry: Geometry,
    pub(super) link: Link,
    pub(super) named: Option<Named>,
    /// Of a link that is carried on: who does it.
    pub(super) pumping: Option<Pumping>,
    /// What travels with the hello.
    pub(super) fds: Vec<OwnedFd>,
}

/// A link could not be made; nothing is left of it.
#[derive(Debug)]
pub(super) enum PaveError {
    /// No shared memory.
    Segment(SegmentError),
    /// No descriptors, or no thread.
    Resources(io::Error),
}

/// Two processes can have no memory in common.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoMemory {
    /// The parent cannot make it.
    #[error("{}: {}", .0.what, .0.source)]
    Here(SegmentError),
    /// The child cannot map it.
    #[error("the actor's process says: {0}")]
    There(String),
}

impl NoMemory {
    /// Whether a link without it may be had.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            // Without descriptors or memory of our own there is no socket either.
            Self::Here(error) => !matches!(
                error.source.raw_os_error(),
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
            ),
            Self::There(_) => true,
        }
    }
}

/// Says why a link is slower than it could be.
pub(super) fn say_why(interface: &Interface, reason: &NoMemory) {
    tracing::info!(
        actor = interface.name,
        %reason,
        "no shared memory: the link goes over a socket, which is slower"
    );
}

/// Makes the caller's end of a link of this kind; over shared memory with arenas that take up to
/// `arena_limit` bytes each, if the addresses can be had. `in_place`: what the child writes there
/// is read there.
///
/// # Errors
/// [`PaveError`], the system's. Must be called within a tokio runtime.
pub(super) fn pave(
    kind: LinkKind,
    geometry: Geometry,
    (arena_limit, in_place): (u64, bool),
    message_len_max: u64,
) -> Result<Paved, PaveError> {
    let mut paved = pave_best(kind, geometry, arena_limit, message_len_max)?;
    if !in_place {
        paved.link.receiver.distrust();
    }
    Ok(paved)
}

fn pave_best(
    kind: LinkKind,
    geometry: Geometry,
    arena_limit: u64,
    message_len_max: u64,
) -> Result<Paved, PaveError> {
    if matches!(kind, LinkKind::Socket | LinkKind::Network) {
        return pave_socket(geometry, message_len_max);
    }
    let with_arenas = geometry.with_arenas(arena_limit).ok();
    let with_arenas = with_arenas.filter(|with| with.segment_len() <= segment_len_max());
    if let Some(with_arenas) = with_arenas {
        match pave_shared(with_arenas, message_len_max) {
            Err(PaveError::Segment(error)) if arena_limit > 0 => {
                tracing::debug!(%error, "no arenas: large messages go in pieces");
            }
            paved => return paved,
        }
    }
    pave_shared(geometry, message_len_max)
}

fn pave_shared(geometry: Geometry, limit: u64) -> Result<Paved, PaveError> {
    let segment = Segment::create(geometry.segment_len()).map_err(PaveError::Segment)?;
    let segment = Arc::new(segment);
    let named = Named(Arc::clone(&segment), geometry);
    Board::new(Memory(Arc::clone(&segment)), geometry).stamp();
    let bells = || -> io::Result<_> {
        let (own, peer) = (Doorbell::new()?, Doorbell::new()?);
        let fds = [&peer, &own].map(|bell| bell.as_fd().try_clone_to_owned());
        let fds = fds.into_iter().collect::<io::Result<Vec<_>>>()?;
        Ok((Bells { own, peer }, fds))
    };
    let (bells, mut fds) = bells().map_err(PaveError::Resources)?;
    let link = connect(segment, geometry, Side::Caller, bells, limit);
    let link = link.map_err(PaveError::Resources)?;
    let (porter, beside) = Porter::pair().map_err(PaveError::Resources)?;
    fds.push(beside);
    Ok(Paved {
        kind: LinkKind::SharedMemory,
        geometry,
        link: link.attach(porter),
        named: Some(named),
        pumping: None,
        fds,
    })
}

fn pave_socket(geometry: Geometry, limit: u64) -> Result<Paved, PaveError> {
    let lay = || -> io::Result<_> {
        let (plug, mut fds) = Plug::pair()?;
        let (laid, pumping) = plug.lay(geometry)?;
        let (porter, beside) = Porter::pair()?;
        fds.push(beside);
        Ok((laid.connect(limit).attach(porter), pumping, fds))
    };
    let (link, pumping, fds) = lay().map_err(PaveError::Resources)?;
    Ok(Paved {
        kind: LinkKind::Socket,
        geometry,
        link,
        named: None,
        pumping: Some(pumping),
        fds,
    })
}

/// How both ends wait, for who was told `idle`: over a socket an answer is never there within the
/// time that looking for it is worth.
pub(super) fn idle_over(kind: LinkKind, idle: Idle) -> Idle {
    match (kind, idle) {
        (LinkKind::Socket | LinkKind::Network, Idle::Adaptive) => Idle::Park,
        (_, idle) => idle,
    }
}

/// Removes the segment's name, which is needed only until the child has mapped it.
pub(super) struct Named(Arc<Segment>, Geometry);

impl Named {
    pub(super) fn name(&self) -> &str {
        self.0.name().unwrap_or_default()
    }

    /// Lets rings and arenas lie in memory near who reads them, before they have any. The homes
    /// are those of the callee and of this process.
    pub(super) fn lie_near(&self, geometry: Geometry, homes: [Option<u32>; 2]) {
        let written = [Side::Caller, Side::Server].map(|side| geometry.written_by(side));
        let near = written.into_iter().zip(homes);
        for (part, home) in near.flat_map(|(parts, home)| parts.map(|part| (part, home))) {
            let placed = home.map_or(Ok(()), |node| self.0.prefer_node(part, node));
            if let Err(error) = placed {
                // It is slower then, and nothing else.
                tracing::debug!(%error, "the memory of a link lies where it happens to");
            }
        }
    }

    /// Puts a page behind every byte of the rings. The arenas get theirs when they need them.
    ///
    /// # Errors
    /// As [`Segment::allocate`].
    pub(super) fn allocate(&self) -> Result<(), SegmentError> {
        self.0.allocate(self.1.rings_len())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.0.unlink();
    }
}

/// The server's end of a link, before its runtime is there.
pub(super) struct Road {
    way: Way,
    porter: Arc<Porter>,
}

/// What it goes over.
enum Way {
    Shared {
        segment: Arc<Segment>,
        geometry: Geometry,
        bells: Bells,
        in_place: bool,
    },
    Socket {
        laid: Laid,
        pumping: Pumping,
    },
}

impl Road {
    /// Takes what the hello speaks of and what came with it.
    ///
    /// # Errors
    /// [`GreetRefusal::Segment`] when shared memory cannot be had here: there may be another road.
    pub(super) fn take(hello: &Hello, mut fds: Vec<OwnedFd>) -> Result<Self, GreetRefusal> {
        let system = |error: &dyn std::error::Error| GreetRefusal::System(error.to_string());
        let Some(beside) = fds.pop() else {
            return Err(GreetRefusal::System("a way for memory was expected".into()));
        };
        let porter = Porter::from_fd(beside).map_err(|error| system(&error))?;
        let way = Self::take_way(hello, fds)?;
        Ok(Self { way, porter })
    }

    fn take_way(hello: &Hello, fds: Vec<OwnedFd>) -> Result<Way, GreetRefusal> {
        let system = |error: &dyn std::error::Error| GreetRefusal::System(error.to_string());
        let geometry = Geometry::new(hello.ring_capacity, hello.slots)
            .and_then(|geometry| geometry.with_arenas(hello.arena_limit))
            .map_err(|error| system(&error))?;
        match LinkKind::from_number(hello.link) {
            Some(LinkKind::SharedMemory | LinkKind::Local) => Self::map(hello, geometry, fds),
            Some(LinkKind::Socket | LinkKind::Network) => {
                let Ok(fds) = <[_; unix::FDS]>::try_from(fds) else {
                    return Err(GreetRefusal::System("a socket was expected".into()));
                };
                let laid = Plug::from_fds(fds).lay(geometry);
                let (laid, pumping) = laid.map_err(|error| match error.raw_os_error() {
                    // What the system says when there is no room for threads.
                    Some(number @ libc::EAGAIN) => GreetRefusal::Thread(number),
                    _ => system(&error),
                })?;
                Ok(Way::Socket { laid, pumping })
            }
            None => Err(GreetRefusal::System("an unknown kind of link".into())),
        }
    }

    fn map(hello: &Hello, geometry: Geometry, fds: Vec<OwnedFd>) -> Result<Way, GreetRefusal> {
        let Ok([own, peer]) = <[_; 2]>::try_from(fds) else {
            return Err(GreetRefusal::System("two bells were expected".into()));
        };
        let bells = Bells {
            own: Doorbell::from_fd(own),
            peer: Doorbell::from_fd(peer),
        };
        let refused = |what: &str| GreetRefusal::Segment(what.to_owned());
        if hello.segment_len != geometry.segment_len() as u64 {
            return Err(refused("its length is not what its parts need"));
        }
        let segment = Segment::open(&hello.segment, geometry.segment_len())
            .map_err(|error| refused(&format!("{error}: {}", error.source)))?;
        let segment = Arc::new(segment);
        if !Board::new(Memory(Arc::clone(&segment)), geometry).is_stamped() {
            return Err(refused("it is not stamped as one of ours"));
        }
        Ok(Way::Shared {
            segment,
            geometry,
            bells,
            in_place: hello.in_place,
        })
    }

    /// Who carries the records, if somebody does.
    pub(super) fn relay(&self) -> Option<Arc<dyn Relay>> {
        match &self.way {
            Way::Shared { .. } => None,
            Way::Socket { laid, .. } => Some(laid.relay()),
        }
    }

    /// How a dying process leaves words on this road.
    pub(super) fn last_words(&self) -> impl Fn(&[u8]) + Send + Sync + use<> {
        let relay = self.relay();
        let board = match &self.way {
            Way::Shared {
                segment, geometry, ..
            } => Some(Board::new(Memory(Arc::clone(segment)), *geometry)),
            Way::Socket { .. } => None,
        };
        move |words: &[u8]| match (&board, &relay) {
            (Some(board), _) => board.leave_last_words(words),
            (None, Some(relay)) => relay.leave_last_words(words),
            (None, None) => {}
        }
    }

    /// The server's end, and what is to be kept until it ends.
    ///
    /// # Errors
    /// When the runtime cannot wait for the bell. Must be called within a tokio runtime.
    pub(super) fn connect(self, message_len_max: u64) -> io::Result<(Link, Rest)> {
        let porter = self.porter;
        match self.way {
            Way::Shared {
                segment,
                geometry,
                bells,
                in_place,
            } => {
                let mut link = connect(segment, geometry, Side::Server, bells, message_len_max)?;
                if !in_place {
                    link.receiver.distrust();
                }
                Ok((link.attach(porter), Rest(None)))
            }
            Way::Socket { laid, pumping } => {
                let relay = laid.relay();
                let link = laid.connect(message_len_max);
                Ok((link.attach(porter), Rest(Some((relay, pumping)))))
            }
        }
    }
}

/// What an actor's end leaves to be done for its link.
pub(super) struct Rest(Option<(Arc<dyn Relay>, Pumping)>);

impl Rest {
    /// Lets the last answers go out.
    pub(super) async fn flush(&self) {
        if let Some((relay, _pumping)) = &self.0 {
            flush(&**relay).await;
        }
    }
}
