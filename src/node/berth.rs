//! A berth: what stays of a supervised actor while its lives come and go, for those who call it
//! from other processes.
//!
//! ```text
//!  supervisor's process                              a life
//!   berth: key, ports     ── hello ──────────────>    is known by that key, listens at those ports
//!     └ gateways          ── one by one ─────────>    accepts there
//!         ^────── one that a life has opened ──       while it hands its own proxy on
//! ```
//!
//! The berth holds its gateways open as long as somebody may follow. Who enters while nobody lives
//! there waits for the next life; once nobody follows, it is told that. How a life has ended is
//! therefore asked elsewhere: see [`grave`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};

use super::forward::resident::Announce;
use super::remote::grave;
use super::spawn::key_of;
use super::ward::lock;
use crate::sys::gateway::{self, Name, Opener};
use crate::transport::address::Address;
use crate::wire::chain::ActorKey;
use crate::wire::hello::Network;

/// How many gateways a berth has at most: one that its supervisor's process has opened, one that a
/// life has, and some in case that several do so at once.
const GATEWAYS_MAX: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Berth {
    /// By which all of its lives are known: that of the first.
    key: OnceLock<ActorKey>,
    gateways: Mutex<Gateways>,
    /// Those at which the first life that listens was let listen, in their order; 0: none.
    ports: OnceLock<Vec<u16>>,
}

#[derive(Debug, Default)]
struct Gateways {
    open: Vec<Way>,
    /// Nobody follows any more.
    is_left: bool,
}

/// A gateway, and who is known to have opened it.
#[derive(Debug)]
pub(crate) struct Way {
    socket: OwnedFd,
    name: Name,
    opener: Opener,
}

impl Way {
    /// A new one, of this process.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(crate) fn open() -> io::Result<Self> {
        let (socket, name) = gateway::open()?;
        Ok(Self {
            socket,
            name,
            opener: Opener::here(),
        })
    }

    /// One that somebody else has opened.
    ///
    /// # Errors
    /// `InvalidData` when it is none; the system's.
    pub(crate) fn of(socket: OwnedFd) -> io::Result<Self> {
        let name = gateway::name_of(&socket)?;
        let opener = gateway::opener_of(&socket)?;
        Ok(Self {
            socket,
            name,
            opener,
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            ..*self
        })
    }

    /// By which others find it.
    pub(crate) fn entrance(&self) -> (Name, Opener) {
        (self.name, self.opener)
    }

    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Way {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The key of a life with this id: in a berth, that of all of its lives.
pub(super) fn key_in(berth: Option<&Berth>, id: u64) -> ActorKey {
    let own = key_of(id);
    berth.map_or(own, |berth| berth.key(own))
}

/// Puts the ways of this berth, if it is one, with what a new life is sent. Tells how many.
///
/// # Errors
/// The system's: no descriptors are free.
pub(super) fn pass_ways(berth: Option<&Berth>, fds: &mut Vec<OwnedFd>) -> io::Result<u8> {
    let ways = berth.map_or_else(|| Ok(Vec::new()), Berth::ways)?;
    let count = u8::try_from(ways.len()).map_err(io::Error::other)?;
    fds.extend(ways.into_iter().map(Way::into_socket));
    Ok(count)
}

/// Has a life listen where the first one of this berth did, as far as it may be anywhere.
pub(super) fn keep_ports(berth: Option<&Berth>, network: Option<&mut Network>) {
    if let (Some(berth), Some(network)) = (berth, network) {
        berth.keep_ports(network);
    }
}

/// A life of this berth, if it is one, listens at these ports.
pub(super) fn note_ports(berth: Option<&Berth>, ports: Vec<u16>) {
    if let Some(berth) = berth {
        let _ = berth.ports.set(ports);
    }
}

impl Berth {
    /// The key of the life that would have this one by itself.
    fn key(&self, own: ActorKey) -> ActorKey {
        *self.key.get_or_init(|| own)
    }

    /// Where those enter who hold a proxy, opened now if nobody asked before. Once nobody follows
    /// any more, that is where nobody listens.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(super) fn way(&self) -> io::Result<Way> {
        let mut gateways = lock(&self.gateways);
        if let Some(way) = gateways.open.first() {
            return way.try_clone();
        }
        let way = Way::open()?;
        if !gateways.is_left {
            gateways.open.push(way.try_clone()?);
        }
        Ok(way)
    }

    /// All that are open, for a new life.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(super) fn ways(&self) -> io::Result<Vec<Way>> {
        let gateways = lock(&self.gateways);
        gateways.open.iter().map(Way::try_clone).collect()
    }

    /// What a life in this process needs to be found by those who knew the ones before, as far as
    /// that is to be had: how it tells of its own way in, and all that are open.
    pub(super) fn returning(self: Arc<Self>) -> (Announce, Vec<Way>) {
        let ways = self.ways().inspect_err(|error| {
            tracing::warn!(%error, "who has a proxy of an earlier life cannot enter");
        });
        let announce: Announce = Box::new(move |way| {
            self.add(Way::of(way.try_clone_to_owned()?)?);
            Ok(())
        });
        (announce, ways.unwrap_or_default())
    }

    /// One that a life has opened.
    pub(super) fn add(&self, way: Way) {
        let mut gateways = lock(&self.gateways);
        if !gateways.is_left && gateways.open.len() < GATEWAYS_MAX {
            gateways.open.push(way);
        }
    }

    /// Nobody follows any more: those who wait to be let in are told.
    pub(crate) fn leave(&self) {
        let mut gateways = lock(&self.gateways);
        gateways.is_left = true;
        gateways.open.clear();
    }

    fn keep_ports(&self, network: &mut Network) {
        let known = self.ports.get().into_iter().flatten();
        for (entry, port) in network.listen.iter_mut().zip(known) {
            entry.port = *port;
        }
        let addresses = network.listen.iter().flat_map(|entry| {
            let address = entry.address.parse::<Address>();
            address.map(|address| address.or_port(Some(entry.port)))
        });
        // Who was there before is dead, and those who ask how it ended find the next one.
        grave::make_room(&addresses.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_there(way: &Way) -> bool {
        let (name, opener) = way.entrance();
        gateway::enter(&name, opener).is_ok()
    }

    /// A berth has one gateway, by whoever it is asked for; those of lives are there beside it, a
    /// bounded number. They are gone when nobody follows, and what is opened later is found by
    /// nobody.
    #[test]
    fn gateways_last_as_long_as_the_berth() {
        let berth = Berth::default();
        assert!(berth.ways().unwrap().is_empty());
        let first = berth.way().unwrap();
        assert_eq!(berth.way().unwrap().entrance(), first.entrance());
        for _ in 0..2 * GATEWAYS_MAX {
            let own = Way::open().unwrap();
            let (expected, told) = (own.entrance(), Way::of(own.into_socket()).unwrap());
            assert_eq!(told.entrance(), expected);
            berth.add(told);
        }
        assert_eq!(berth.ways().unwrap().len(), GATEWAYS_MAX);
        let (name, opener) = first.entrance();
        drop(first);
        assert!(gateway::enter(&name, opener).is_ok());
        berth.leave();
        assert!(gateway::enter(&name, opener).is_err());
        let late = berth.way().unwrap();
        assert!(is_there(&late));
        assert!(berth.ways().unwrap().is_empty());
    }
}
