//! An actor that is called over a network, and ways to it.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::future::IntoFuture as _;
use std::io::Read as _;
use std::net::TcpStream;

use callboard::prelude::*;
use callboard::{Address, AuthKey, ConnectError, Connecting};

pub use super::common::HERE;
use super::common::{LONG, place_of, within};

/// What is called from outside.
pub struct Counter {
    n: u64,
    seen: Vec<u64>,
}

#[actor(Talker)]
impl Counter {
    pub fn new() -> Self {
        Self {
            n: 0,
            seen: Vec::new(),
        }
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.n += by;
        self.n
    }

    pub fn see(&mut self, value: u64) {
        self.seen.push(value);
    }

    pub fn seen(&self) -> Vec<u64> {
        self.seen.clone()
    }

    pub fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    pub fn fail(&self, text: String) -> Result<(), String> {
        Err(text)
    }

    pub fn panic(&self, text: String) {
        panic!("{text}")
    }

    /// Alone, until its caller gives up.
    #[cancellable]
    pub async fn hold(&mut self) {
        std::future::pending().await
    }

    /// Until its caller gives up.
    #[cancellable]
    pub async fn wait(&self) {
        std::future::pending().await
    }
}

/// A part of it.
#[actor_trait]
pub trait Talker {
    fn word(&self) -> String {
        "hello".to_owned()
    }
}

impl Talker for Counter {}

/// Another actor.
pub struct Other;

#[actor]
impl Other {
    pub fn new() -> Self {
        Self
    }
}

pub fn key() -> AuthKey {
    AuthKey::from([1; 32])
}

/// An actor that listens, and where.
pub async fn listening() -> (CounterProxy, Address) {
    let counter = Counter::spawn().listen(HERE).authkey(key());
    let counter = within(LONG, counter.into_future())
        .await
        .expect("it starts");
    let address = counter.address().expect("it listens").clone();
    (counter, address)
}

pub async fn connected<P: Proxy>(connecting: Connecting<P>) -> P {
    // The default is for networks, not for machines that do much else.
    let connecting = connecting.within(LONG);
    within(LONG, connecting.into_future())
        .await
        .expect("it is let in")
}

pub async fn refused<P: Proxy>(connecting: Connecting<P>) -> ConnectError {
    let connecting = connecting.within(LONG);
    within(LONG, connecting.into_future())
        .await
        .expect_err("nobody is let in so")
}

/// A plain socket to a door.
pub fn socket_to(address: &Address) -> TcpStream {
    let socket = TcpStream::connect(place_of(address)).expect("somebody listens");
    let timeout = Some(LONG);
    socket.set_read_timeout(timeout).expect("it has one");
    socket
}

/// Everything that comes until the other side closes.
pub fn rest_of(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut bytes);
    bytes
}
