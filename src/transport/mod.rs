//! Carries frames to a peer: in order, whole, with back-pressure.
//!
//! A [`Link`] is one end of the path to one peer. Its halves are apart: many send through the
//! [`Sender`](sender::Sender), one reads from the [`Receiver`](receiver::Receiver), whoever looks
//! for news takes a glance, and one task waits for the bell. What a frame means is not known here.
//!
//! A link lies in shared memory (`shm`), or in private memory whose records a pump carries over a
//! stream (`stream`, on one machine `unix`). To other machines the stream is a socket (`net`) whose
//! bytes are sealed (`sealed_stream`), once both sides have shown that they have one key
//! (`handshake`, `noise`, `auth_key`); who fails at that often is not heard (`gate`).

#![forbid(unsafe_code)]

pub(crate) mod arena;
pub(crate) mod bell;
pub(crate) mod board;
pub(crate) mod direct;
pub(crate) mod idle;
pub(crate) mod loopback;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod shm;
pub(crate) mod sleeper;
pub(crate) mod spin;

pub(crate) mod link_kind;
pub(crate) mod porter;
mod throttle;
pub(crate) mod freight;
pub(crate) mod relay;
pub(crate) mod pump;
pub(crate) mod aside;
mod traffic;
pub(crate) mod carried;
mod carrier;
mod cipher;
#[cfg(test)]
mod cipher_tests;
pub(crate) mod stream;
pub(crate) mod unix;

pub(crate) mod unreached;
pub(crate) mod coming;
pub(crate) mod address;
pub(crate) mod auth_key;
pub(crate) mod noise;
pub(crate) mod sealed_stream;
pub(crate) mod handshake;
pub(crate) mod gate;
pub(crate) mod net;
pub(crate) mod farewell;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod arena_tests;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_stream;

use std::sync::Arc;

use arena::{Arena, Shelf};
use bell::{Bell, Chime, Ear};
use board::{Board, Geometry, Memory, Side};
use porter::Porter;
use relay::Relay;

use crate::ring::{Consumer, Glance, Producer};

/// One end of the path to one peer.
#[derive(Debug)]
pub(crate) struct Link {
    /// Frames go out here.
    pub(crate) sender: sender::Sender,
    /// Frames come in here.
    pub(crate) receiver: receiver::Receiver,
    /// Says without a lock whether something came in.
    pub(crate) glance: Glance<Memory>,
    /// Cancels and last words.
    pub(crate) board: Board,
    /// Hears the peer's ringing.
    pub(crate) ear: Ear,
    /// Carries the memory beside the frames, if it can travel at all.
    pub(crate) porter: Option<Arc<Porter>>,
}

impl Link {
    /// One end of the link in `memory`, whose rings are still empty, with the ear that hears the
    /// peer and the bell that the peer hears.
    ///
    /// # Panics
    /// When the memory is shorter than the geometry says.
    pub(crate) fn over(
        memory: Memory,
        geometry: Geometry,
        side: Side,
        (ear, bell): (Ear, Bell),
        message_len_max: u64,
    ) -> Self {
        let (out, back) = match side {
            Side::Caller => (geometry.requests(), geometry.replies()),
            Side::Server => (geometry.replies(), geometry.requests()),
        };
        let producer = Producer::new(memory.clone(), out);
        let consumer = Consumer::new(memory.clone(), back);
        let arena = Arena::new(memory.clone(), geometry.arena_of(side));
        let shelf = Shelf::new(memory.clone(), geometry.arena_of(side.other()));
        let board = Board::new(memory.clone(), geometry);
        let here = (board.clone(), side);
        Self {
            sender: sender::Sender::new(producer, geometry.frame_len_max(), bell, arena, here),
            receiver: receiver::Receiver::new(consumer, shelf, message_len_max),
            glance: Glance::new(memory, back),
            board,
            ear,
            porter: None,
        }
    }

    /// The same link, with memory that travels beside the frames by way of `porter`.
    pub(crate) fn attach(mut self, porter: Arc<Porter>) -> Self {
        self.sender.attach(Arc::clone(&porter));
        self.receiver.attach(Arc::clone(&porter));
        self.porter = Some(porter);
        self
    }

    /// The same in memory that the peer does not see: `relay` carries the records on, and rings
    /// `chime` for those that come.
    ///
    /// # Panics
    /// When the memory is shorter than the geometry says.
    pub(crate) fn relayed(
        memory: Memory,
        geometry: Geometry,
        side: Side,
        (chime, relay): (Chime, Arc<dyn Relay>),
        message_len_max: u64,
    ) -> Self {
        let bells = (chime.ear(), Bell::Relay(Arc::clone(&relay)));
        let mut link = Self::over(memory, geometry, side, bells, message_len_max);
        link.receiver.heed(Arc::clone(&relay));
        link.board.heed(relay);
        link
    }
}
