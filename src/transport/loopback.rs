//! A link within one process: both ends of a segment of private memory, with bells that need no
//! system.
//!
//! The same code as between processes but for the bells, and so the same promises.

use std::sync::Arc;

use super::Link;
use super::bell::{Bell, Chime};
use super::board::{Geometry, Memory, Side};
use super::porter::Porter;
use crate::sys::memory::Segment;

/// Both ends of a link, the caller's first.
pub(crate) fn pair(geometry: Geometry, message_len_max: u64) -> (Link, Link) {
    let memory = Memory(Arc::new(Segment::private(geometry.segment_len())));
    let (caller, server) = (Chime::default(), Chime::default());
    let end = |side, own: &Chime, peer: &Chime| {
        let bells = (own.ear(), Bell::Chime(peer.clone()));
        Link::over(memory.clone(), geometry, side, bells, message_len_max)
    };
    let [near, far] = Porter::here();
    (
        end(Side::Caller, &caller, &server).attach(near),
        end(Side::Server, &server, &caller).attach(far),
    )
}
