//! The kinds of links over which `conformance.rs` runs, and its dice.
//!
//! Loopback; shared memory, mapped a second time by its name, as another process would, without
//! and with arenas; a Unix socket, as between parent and child; a stream so narrow that hardly a
//! frame passes whole; and what strangers have: TCP, and a Unix socket with a name, both sealed, by
//! one runtime or [as in life](apart).

use std::net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

pub(super) use self::apart::{settle, tcp_apart, tcp_restless, unix_restless};
use super::Link;
use super::arena::Parcel;
use super::aside::Aside;
use super::auth_key::AuthKey;
use super::board::{Geometry, Side};
use super::freight::TAKEN_LEN_MAX;
use super::net::Wire;
use super::noise::{self, Records, Suite};
use super::sealed_stream::Sealed;
use super::sender::{SendError, Sender};
use super::shm::{Bells, connect};
use super::stream::{Laid, Pumping, Runtimes, lay, lay_remote};
use super::unix::Plug;
use crate::sys::doorbell::Doorbell;
use crate::sys::endpoint::Endpoint;
use crate::sys::memory::Segment;
use crate::wire::frame::Head;
use crate::wire::sink::Spill as _;

/// The largest message of these links.
pub(super) const MESSAGE_LEN_MAX: u32 = 8 << 20;

/// Makes both ends of a link, the caller's first.
pub(super) type Make = fn(Geometry) -> (Link, Link);

/// Whether the ends tell each other some things at once, beside the frames: between two machines
/// everything goes in one stream.
pub(super) fn tells_beside(make: Make) -> bool {
    let sealed: [Make; 5] = [tcp, unix, tcp_apart, tcp_restless, unix_restless];
    !sealed
        .into_iter()
        .any(|sealed| std::ptr::fn_addr_eq(make, sealed))
}

/// Expects that something was told: at once, where that is so; else soon.
pub(super) async fn told(make: Make, is_so: impl Fn() -> bool) {
    while !is_so() {
        assert!(!tells_beside(make), "it is told at once");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) fn loopback(geometry: Geometry) -> (Link, Link) {
    super::loopback::pair(geometry, MESSAGE_LEN_MAX.into())
}

/// The memory of each arena where there are some.
pub(super) const ARENA_LIMIT: u64 = 4 << 20;

pub(super) fn arenas(geometry: Geometry) -> (Link, Link) {
    shm(geometry.with_arenas(ARENA_LIMIT).unwrap())
}

/// Writes `body` into the arena, if there is one with room for it.
pub(super) fn place(sender: &Sender, body: &[u8]) -> Option<Parcel> {
    let mut draft = sender.draft()?;
    draft.extend(0, body.len())?.write(0, body);
    draft.seal(body.len())
}

/// Sends a frame as callers and callees do: what is long lies in the arena, if there is one.
pub(super) async fn send(sender: &Sender, head: &Head, body: &[u8]) -> Result<u64, SendError> {
    if body.len() > sender.inline_len_max()
        && let Some(parcel) = place(sender, body)
    {
        return sender.send(&parcel.address(*head), &[]).await;
    }
    sender.send(head, body).await
}

pub(super) fn shm(geometry: Geometry) -> (Link, Link) {
    let bells = [Doorbell::new().unwrap(), Doorbell::new().unwrap()];
    let bells_of = |own: usize| {
        let [own, peer] = [own, 1 - own].map(|at| bells[at].try_clone().unwrap());
        Bells { own, peer }
    };
    let created = Segment::create(geometry.segment_len()).unwrap();
    let opened = Segment::open(created.name().unwrap(), geometry.segment_len()).unwrap();
    created.unlink();
    let link = |segment, side, bells| {
        connect(
            Arc::new(segment),
            geometry,
            side,
            bells,
            MESSAGE_LEN_MAX.into(),
        )
        .unwrap()
    };
    (
        link(created, Side::Caller, bells_of(0)),
        link(opened, Side::Server, bells_of(1)),
    )
}

pub(super) fn socket(geometry: Geometry) -> (Link, Link) {
    let (caller, fds) = Plug::pair().unwrap();
    let server = Plug::from_fds(fds.try_into().unwrap());
    let link = |plug: Plug| kept(plug.lay_on(&Handle::current(), geometry).unwrap());
    (link(caller), link(server))
}

pub(super) fn narrow(geometry: Geometry) -> (Link, Link) {
    let (caller, server) = tokio::io::duplex(509);
    let (told, fds) = Aside::pair().unwrap();
    let link = |stream, side, aside| {
        let runtime = Handle::current();
        kept(lay(stream, (geometry, side), Some(aside), &runtime))
    };
    (
        link(caller, Side::Caller, told),
        link(server, Side::Server, Aside::from_fds(fds)),
    )
}

/// TCP, as between two machines: sealed, and nothing beside it.
pub(super) fn tcp(geometry: Geometry) -> (Link, Link) {
    sealed(tcp_ends(), geometry)
}

/// A Unix socket with a name, which is opened as those by address are.
pub(super) fn unix(geometry: Geometry) -> (Link, Link) {
    sealed(unix_ends(), geometry)
}

/// Both ends of a connection.
fn tcp_ends() -> [Wire; 2] {
    let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
    let near = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    [near, far].map(|stream| Wire::tcp_from(stream).unwrap())
}

/// The same of a socket with a name.
fn unix_ends() -> [Wire; 2] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("callboard-kind-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let (listener, endpoint) = Endpoint::bind(&path).unwrap();
    let near = StdUnixStream::connect(&path).unwrap();
    let (far, _) = listener.accept().unwrap();
    drop(endpoint);
    assert!(!path.exists(), "the name is gone");
    [near, far].map(|stream| Wire::unix_from(stream).unwrap())
}

/// A link over both ends of a connection, as between strangers: sealed, and nothing beside it. One
/// runtime carries all of it, so that a test knows when nothing moves any more.
fn sealed(ends: [Wire; 2], geometry: Geometry) -> (Link, Link) {
    let [near, far] = ends;
    let keys = noise::pair(&AuthKey::from([7; 32]), Suite::preferred());
    let here = &Handle::current();
    let link = |stream: Wire, side, records: Records| {
        let stream = Sealed::new(stream, records.rekeyed_after(50));
        let (links, owner) = (here, here);
        let runtimes = (Runtimes { links, owner }, Box::new(|_| {}) as _);
        let terms = (0, TAKEN_LEN_MAX);
        kept(lay_remote(stream, (geometry, side), terms, runtimes))
    };
    (
        link(near, Side::Caller, keys.0),
        link(far, Side::Server, keys.1),
    )
}

/// The link of a stream that is carried on until the test's runtime ends.
fn kept((laid, pumping): (Laid, Pumping)) -> Link {
    tokio::spawn(async move {
        let _pumping = pumping;
        std::future::pending::<()>().await;
    });
    laid.connect(MESSAGE_LEN_MAX.into())
}

/// A source of numbers that are the same in every run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}

#[path = "kinds_apart.rs"]
mod apart;
