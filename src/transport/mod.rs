//! Carries frames to a peer: in order, whole, with back-pressure.
//!
//! A [`Link`] is one end of the path to one peer. Its halves are apart: many send through the
//! [`Sender`](sender::Sender), one reads from the [`Receiver`](receiver::Receiver), whoever looks
//! for news takes a glance, and one task waits for the bell. What a frame means is not known here.

#![forbid(unsafe_code)]

pub(crate) mod board;
pub(crate) mod idle;
pub(crate) mod receiver;
pub(crate) mod sender;
pub(crate) mod shm;
pub(crate) mod spin;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod loopback;

use crate::ring::Glance;
use crate::sys::doorbell::Ear;

/// One end of the path to one peer.
#[derive(Debug)]
pub(crate) struct Link {
    /// Frames go out here.
    pub(crate) sender: sender::Sender,
    /// Frames come in here.
    pub(crate) receiver: receiver::Receiver,
    /// Says without a lock whether something came in.
    pub(crate) glance: Glance<board::Memory>,
    /// Cancels and last words.
    pub(crate) board: board::Board,
    /// Hears the peer's ringing.
    pub(crate) ear: Ear,
}
