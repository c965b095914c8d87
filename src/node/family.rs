//! How many actors may live at once in the tree of processes that begins at one program.
//!
//! An actor that starts actors that start actors does not end by itself. The root sets the number,
//! each start takes a place out of it, and who has ended has given its own back.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use crate::sys::places::{Places, Taken};

/// Each takes a process and some megabytes: more than this is a mistake, or a machine of which
/// somebody knows that it can.
const ACTORS_MAX: u64 = 1024;

static FAMILY: OnceLock<Places> = OnceLock::new();

/// Sets how many actors may live at once in this program: those that it starts, those that these
/// start, and so on. Default: 1024. One more is
/// [`SpawnError::TooMany`](crate::SpawnError::TooMany).
///
/// # Errors
/// [`LimitError`] after the first start, in an actor, or for a limit of 0.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Nobody;
///
/// #[actor]
/// impl Nobody {
///     pub fn new() -> Self { Self }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     callboard::limit_actors(1)?;
///     let nobody = Nobody::spawn().await?;
///     assert!(matches!(Nobody::spawn().await, Err(SpawnError::TooMany { limit: 1 })));
///     nobody.shutdown().await?;
///     Nobody::spawn().await?.shutdown().await
/// }
/// ```
pub fn limit_actors(limit: usize) -> Result<(), LimitError> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    if limit == 0 || limit > i64::MAX.unsigned_abs() {
        return Err(LimitError::Impossible);
    }
    let places = Places::new(limit).map_err(LimitError::System)?;
    FAMILY.set(places).map_err(|_| LimitError::TooLate)
}

/// The number of actors was not set.
///
/// # Examples
/// ```
/// assert!(matches!(callboard::limit_actors(0), Err(callboard::LimitError::Impossible)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// An actor was started before, or this process is one: the root of the tree decides.
    #[error("the number of actors is set before the first of them is started")]
    TooLate,
    /// No actor could ever be started, or there is no such number of processes.
    #[error("there is no such number of actors")]
    Impossible,
    /// The system gave no descriptor to count with.
    #[error("there is nothing to count the actors with")]
    System(#[source] io::Error),
}

/// A place for one more, to be handed to it.
///
/// # Errors
/// The system's: no descriptor.
pub(super) fn take_place() -> io::Result<Result<OwnedFd, Taken>> {
    let places = match FAMILY.get() {
        Some(places) => places,
        None => {
            let places = Places::new(ACTORS_MAX)?;
            FAMILY.get_or_init(|| places)
        }
    };
    Ok(places.take()?.map(OwnedFd::from))
}

/// The child's: it has this place, and counts with those who gave it.
///
/// # Errors
/// The system's; `InvalidData` if it is no place.
pub(super) fn join(place: OwnedFd) -> io::Result<()> {
    // Nobody can have started an actor before this process was one.
    let _ = FAMILY.set(Places::of(place)?);
    Ok(())
}
