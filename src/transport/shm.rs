//! A link through shared memory: two rings in one segment and a doorbell each way.
//!
//! ```text
//!            requests ring ─────────────>
//!   caller   <───────────── replies ring    server
//!            cancel table ─────────────>
//! ```
//!
//! It only puts the parts together. Both processes map the segment; neither knows it by name
//! afterwards.

use std::io;
use std::sync::Arc;

use super::Link;
use super::board::{Board, Geometry, Memory, Side};
use super::receiver::Receiver;
use super::sender::Sender;
use crate::ring::{Consumer, Glance, Producer};
use crate::sys::doorbell::{Doorbell, Ear};
use crate::sys::memory::Segment;

/// The two bells of a link, as this process holds them.
#[derive(Debug)]
pub(crate) struct Bells {
    /// Rung by the peer.
    pub(crate) own: Doorbell,
    /// Rung by us.
    pub(crate) peer: Doorbell,
}

/// This process's end of the link in `segment`, whose rings are still empty.
///
/// # Errors
/// When the runtime cannot wait for the bell. Must be called within a tokio runtime.
///
/// # Panics
/// When the segment is shorter than the geometry says.
pub(crate) fn connect(
    segment: Arc<Segment>,
    geometry: Geometry,
    side: Side,
    bells: Bells,
    message_len_max: u64,
) -> io::Result<Link> {
    let memory = Memory(segment);
    let (out, back) = match side {
        Side::Caller => (geometry.requests(), geometry.replies()),
        Side::Server => (geometry.replies(), geometry.requests()),
    };
    let producer = Producer::new(memory.clone(), out);
    Ok(Link {
        sender: Sender::new(producer, geometry.ring_capacity(), bells.peer),
        receiver: Receiver::new(Consumer::new(memory.clone(), back), message_len_max),
        glance: Glance::new(memory.clone(), back),
        board: Board::new(memory, geometry),
        ear: Ear::new(bells.own)?,
    })
}
