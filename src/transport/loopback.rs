//! A link within one process: both ends of a segment of private memory, with real bells.
//!
//! The same code as between processes, so that tests of callers and servers need no second one.

use std::io;
use std::sync::Arc;

use super::Link;
use super::board::{Geometry, Side};
use super::shm::{Bells, connect};
use crate::sys::doorbell::Doorbell;
use crate::sys::memory::Segment;

/// Both ends of a link, the caller's first.
///
/// # Errors
/// When there are no descriptors left for the bells.
pub(crate) fn pair(geometry: Geometry, message_len_max: u64) -> io::Result<(Link, Link)> {
    let segment = Arc::new(Segment::private(geometry.segment_len()));
    let (caller_bell, server_bell) = (Doorbell::new()?, Doorbell::new()?);
    let bells = Bells {
        own: caller_bell.try_clone()?,
        peer: server_bell.try_clone()?,
    };
    let caller = connect(
        Arc::clone(&segment),
        geometry,
        Side::Caller,
        bells,
        message_len_max,
    )?;
    let bells = Bells {
        own: server_bell,
        peer: caller_bell,
    };
    let server = connect(segment, geometry, Side::Server, bells, message_len_max)?;
    Ok((caller, server))
}
