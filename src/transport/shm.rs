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
use super::bell::{Bell, Ear};
use super::board::{Geometry, Memory, Side};
use crate::sys::doorbell::{self, Doorbell};
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
    let ear = Ear::Door(doorbell::Ear::new(bells.own)?);
    let bells = (ear, Bell::Door(bells.peer));
    let memory = Memory(segment);
    Ok(Link::over(memory, geometry, side, bells, message_len_max))
}
