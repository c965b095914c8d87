//! Values to archives and back. Pure.
//!
//! Encoding writes into memory of this thread that is used again, so it allocates nothing once
//! warm, and no user's code runs while a link is locked. What is long goes straight to where it is
//! read ([`Spill`]), if there is room. Decoding checks the whole archive first:
//! lengths, offsets, utf-8, and a depth of at most [`DEPTH_MAX`]; then it copies the value out.
//!
//! An archive carries no schema: both sides must mean the same type. The greeting sees to that.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rkyv::api::{access_with_context, deserialize_using, serialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error as Cause, Strategy};
use rkyv::ser::allocator::{Arena, ArenaHandle};
use rkyv::ser::{Positional as _, Serializer};
use rkyv::util::AlignedVec;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archive, Deserialize, Portable, Serialize};
use zeroize::Zeroize as _;

use super::attached::{AttachError, Attached, Collecting};
use super::sink::{Sink, Spill, Written};
use crate::sys::body::{self, Body};

/// The deepest nesting of an archive that is decoded.
pub(crate) const DEPTH_MAX: usize = 128;

/// Archives begin at multiples of this many bytes, in private memory.
pub(crate) const ALIGNMENT: usize = body::ALIGNMENT;

/// Memory for one archive.
pub(crate) type Buffer = AlignedVec<ALIGNMENT>;

/// A thread's memory for encoding shrinks back to this after something larger.
const SCRATCH_LEN_MAX: usize = 64 * 1024;

/// What encodes a [`Message`]: bounded, unshared (`Rc` and `Arc` are no messages), reusing its
/// memory.
#[doc(hidden)]
pub type Encoder<'a> = Strategy<Serializer<Sink<'a>, ArenaHandle<'a>, ()>, Cause>;

/// What decodes a [`Message`].
#[doc(hidden)]
pub type Decoder = Strategy<(), Cause>;

/// What checks the archive of a [`Message`].
#[doc(hidden)]
pub type Checker<'a> = Strategy<Validator<ArchiveValidator<'a>, ()>, Cause>;

/// A value that can be an argument or a result: anything that rkyv archives, checks and copies
/// back.
///
/// Implemented for every such type by itself: numbers, strings, vectors, maps, options, results,
/// tuples of up to 13, and what [`message`](macro@crate::message) is written on. `Rc`, `Arc` and
/// borrowed data are no messages.
///
/// # Examples
/// ```
/// use callboard::prelude::*;
///
/// #[message]
/// pub struct Job { name: String, sizes: Vec<u32> }
///
/// fn is_message<M: callboard::Message>() {}
/// is_message::<Job>();
/// is_message::<(u8, Option<String>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to an actor",
    note = "put `#[message]` on the type, or use owned types such as `String` and `Vec<u8>`"
)]
pub trait Message:
    Archive<Archived: Portable + for<'a> CheckBytes<Checker<'a>> + Deserialize<Self, Decoder>>
    + for<'a> Serialize<Encoder<'a>>
    + Send
    + Sized
    + 'static
{
}

#[diagnostic::do_not_recommend]
impl<T> Message for T where
    T: Archive<Archived: Portable + for<'a> CheckBytes<Checker<'a>> + Deserialize<T, Decoder>>
        + for<'a> Serialize<Encoder<'a>>
        + Send
        + Sized
        + 'static
{
}

/// What a call takes with it: a tuple of messages, each owned or [lent](crate::Lent).
///
/// Implemented for every such tuple by itself.
///
/// # Examples
/// ```
/// use callboard::{Arguments, Lent};
///
/// fn are_arguments<A: Arguments>() {}
/// are_arguments::<(u64, String)>();
/// are_arguments::<(u64, Lent<'_, str>)>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to an actor",
    note = "put `#[message]` on the types of the arguments, or use owned ones such as `String`"
)]
pub trait Arguments: Archive<Archived: Portable> + for<'a> Serialize<Encoder<'a>> {}

#[diagnostic::do_not_recommend]
impl<T: Archive<Archived: Portable> + for<'a> Serialize<Encoder<'a>>> Arguments for T {}

/// A value could not be written as an archive.
///
/// # Examples
/// ```
/// use callboard::{CallError, EncodeError};
///
/// fn is_too_large(error: &CallError) -> bool {
///     matches!(error, CallError::Encode { source: EncodeError::TooLarge { .. }, .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The archive is longer than a message may be.
    #[error("the message has {len} bytes, and {limit} is the most that may travel")]
    TooLarge {
        /// The archive's length in bytes.
        len: usize,
        /// The most that may travel.
        limit: usize,
    },
    /// The type's own archiving failed.
    #[error("a `{type_name}` could not be archived")]
    Refused {
        /// The type's name.
        type_name: &'static str,
        /// What archiving said.
        #[source]
        source: Cause,
    },
    /// The message has an [array](crate::Array) with it, which is memory that several processes of
    /// one machine write, and goes over a network. A [blob](crate::Blob) of its numbers may.
    #[error("its arrays are shared memory of this machine, and do not travel over a network")]
    Arrays,
}

/// Bytes are no archive of the expected type: damaged, of another type, or nested too deeply.
///
/// # Examples
/// ```
/// use callboard::CallError;
///
/// fn is_unreadable(error: &CallError) -> bool {
///     matches!(error, CallError::Decode { .. } | CallError::Arguments { .. })
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{len} bytes are no archive of `{type_name}`")]
pub struct DecodeError {
    /// The type that was expected.
    type_name: &'static str,
    /// How many bytes there were.
    len: usize,
    /// What the check said.
    #[source]
    source: Fault,
}

impl DecodeError {
    /// The error of so many bytes that were to be an `M`.
    #[cold]
    pub(crate) fn new<M>(len: usize, cause: &Cause) -> Self {
        Self {
            type_name: std::any::type_name::<M>(),
            len,
            source: Fault::new(cause),
        }
    }
}

/// What the check of an archive said, cut to what a person reads: it adds a line for each level of
/// nesting, and a deep archive has many.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(String);

impl Fault {
    const LEN_MAX: usize = 200;

    fn new(cause: &Cause) -> Self {
        let text = cause.to_string();
        let line = text.lines().next().unwrap_or_default();
        Self(line.chars().take(Self::LEN_MAX).collect())
    }
}

/// An archive in memory of its thread, which is used again: who must wait with it
/// [keeps](Self::keep) it.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    memory: &'a mut Buffer,
    len: usize,
}

impl<'a> Script<'a> {
    /// All of these bytes.
    pub(crate) fn of(bytes: &'a mut Buffer) -> Self {
        let len = bytes.len();
        Self { memory: bytes, len }
    }

    /// The bytes in memory of their own: a copy, or what is too large to be used again.
    pub(crate) fn keep(self) -> Buffer {
        if self.memory.capacity() <= SCRATCH_LEN_MAX {
            return copy(&self);
        }
        let mut kept = std::mem::take(self.memory);
        kept.resize(self.len, 0);
        kept
    }
}

impl Deref for Script<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

/// Where an archive lies.
enum Archived<'a> {
    Here(Script<'a>),
    /// In the spill, with this length.
    There(usize),
}

/// Reused memory of one thread.
struct Scratch {
    bytes: Buffer,
    arena: Arena,
}

impl Scratch {
    fn new() -> Self {
        Self {
            bytes: Buffer::new(),
            arena: Arena::new(),
        }
    }

    fn encode<A: Arguments>(
        &mut self,
        message: &A,
        limit: usize,
        spill: Option<(usize, &mut dyn Spill)>,
    ) -> Result<Archived<'_>, EncodeError> {
        const {
            assert!(
                align_of::<A::Archived>() <= ALIGNMENT,
                "archives are aligned to at most 16"
            )
        };
        let mut is_there = false;
        let sink = Sink::new(&mut self.bytes, limit, spill, &mut is_there);
        let mut encoder = Serializer::new(sink, self.arena.acquire(), ());
        let written = serialize_using::<_, Cause>(message, &mut encoder);
        let len = encoder.pos();
        drop(encoder);
        written.map_err(|source| EncodeError::Refused {
            type_name: std::any::type_name::<A>(),
            source,
        })?;
        if len > limit {
            return Err(EncodeError::TooLarge { len, limit });
        }
        Ok(if is_there {
            Archived::There(len)
        } else {
            let memory = &mut self.bytes;
            Archived::Here(Script { memory, len })
        })
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Encodes `message`, beside which nothing may travel, and hands the archive to `use_bytes`.
///
/// # Errors
/// [`EncodeError`] when the archive is longer than `limit`, the type cannot be archived, or there
/// are blobs in it.
pub(crate) fn encode<A: Arguments, R>(
    message: &A,
    limit: usize,
    use_bytes: impl FnOnce(&[u8]) -> R,
) -> Result<R, EncodeError> {
    let encoded = encode_with(message, limit, |bytes, attached| {
        attached.is_empty().then(|| use_bytes(bytes))
    });
    encoded?.ok_or_else(|| EncodeError::Refused {
        type_name: std::any::type_name::<A>(),
        source: cause(AttachError::NoMessage),
    })
}

/// Encodes `message`, and hands the archive with what travels beside it to `use_both`.
///
/// # Errors
/// [`EncodeError`] when the archive is longer than `limit` or the type cannot be archived.
pub(crate) fn encode_with<A: Arguments, R>(
    message: &A,
    limit: usize,
    use_both: impl FnOnce(&[u8], &Attached) -> R,
) -> Result<R, EncodeError> {
    match encode_by(message, limit, None, |archive, attached| {
        use_both(&archive, attached)
    })? {
        Written::Here(used) => Ok(used),
        Written::There(..) => unreachable!("there is nowhere else"),
    }
}

/// The same for a message that may go elsewhere: beyond a length, into what `spill` has room for.
/// Where there is none, it is handed to `use_both` whatever its length.
///
/// # Errors
/// As [`encode_with`].
#[inline]
pub(crate) fn encode_by<A: Arguments, R>(
    message: &A,
    limit: usize,
    spill: Option<(usize, &mut dyn Spill)>,
    use_both: impl FnOnce(Script<'_>, &Attached) -> R,
) -> Result<Written<R>, EncodeError> {
    let collecting = Collecting::begin();
    let used = |archive: Archived<'_>| match archive {
        Archived::Here(script) => Written::Here(use_both(script, &collecting.finish())),
        Archived::There(len) => Written::There(len, collecting.finish()),
    };
    SCRATCH.with(|cell| {
        if let Ok(mut scratch) = cell.try_borrow_mut() {
            let used = scratch.encode(message, limit, spill).map(used);
            trim(&mut scratch.bytes);
            used
        } else {
            // A message whose own archiving encodes another one.
            Scratch::new().encode(message, limit, spill).map(used)
        }
    })
}

/// Encodes what nobody else is to see, beside which nothing may travel, and hands the archive to
/// `use_bytes`: the memory that it was in is overwritten.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_secret<A: Arguments, R>(
    message: &A,
    limit: usize,
    use_bytes: impl FnOnce(&[u8]) -> R,
) -> Result<R, EncodeError> {
    let mut scratch = Scratch::new();
    // It does not move while it grows, and so leaves nothing behind.
    scratch.bytes.reserve_exact(limit);
    let archive = scratch.encode(message, limit, None);
    let used = archive.map(|archive| match archive {
        Archived::Here(script) => use_bytes(&script),
        Archived::There(_) => unreachable!("there is nowhere else"),
    });
    scratch.bytes.as_mut_slice().zeroize();
    used
}

/// The archive in memory of its own, for whoever must wait with it.
pub(crate) fn copy(bytes: &[u8]) -> Buffer {
    let mut copy = spare();
    copy.clear();
    copy.extend_from_slice(bytes);
    copy
}

/// The error for bytes where none were to come: a method without errors of its own reported one.
pub(crate) fn unexpected<T>(bytes: &[u8]) -> Result<T, DecodeError> {
    Err(DecodeError::new::<T>(bytes.len(), &cause(NoSuchError)))
}

/// The error of so many bytes that are no `M`, for this reason.
#[cold]
pub(crate) fn refused<M>(
    len: usize,
    why: impl std::error::Error + Send + Sync + 'static,
) -> DecodeError {
    DecodeError::new::<M>(len, &cause(why))
}

/// A failure came from a method that has none.
#[derive(Debug, thiserror::Error)]
#[error("the method has no errors of its own")]
struct NoSuchError;

/// The check of an archive gave up in the middle.
#[derive(Debug, thiserror::Error)]
#[error("the check panicked")]
struct CheckPanicked;

fn cause(error: impl std::error::Error + Send + Sync + 'static) -> Cause {
    <Cause as rkyv::rancor::Source>::new(error)
}

/// How many spare buffers a thread keeps.
const SPARES_MAX: usize = 64;

thread_local! {
    static SPARES: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer, one that was used before if there is one.
#[inline]
pub(crate) fn spare() -> Buffer {
    SPARES.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// The same, for a message that is to come.
#[inline]
pub(crate) fn spare_body() -> Body {
    spare().into()
}

/// Lets a message go, and keeps its buffer to be used again, unless that is large or there are
/// enough.
#[inline]
pub(crate) fn recycle(body: Body) {
    let buffer = body.into_own();
    if buffer.capacity() <= SCRATCH_LEN_MAX {
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARES_MAX {
                spares.push(buffer);
            }
        });
    }
}

/// Gives back the memory of a buffer that has grown large.
#[inline]
pub(crate) fn trim(buffer: &mut Buffer) {
    if buffer.capacity() > SCRATCH_LEN_MAX {
        *buffer = Buffer::new();
    }
}

/// Checks `bytes` and gives the archive in place.
fn access<M: Message>(bytes: &[u8]) -> Result<&M::Archived, Cause> {
    const DEPTH: NonZeroUsize = NonZeroUsize::new(DEPTH_MAX).expect("the depth is not zero");
    let mut checker = Validator::new(ArchiveValidator::with_max_depth(bytes, Some(DEPTH)), ());
    access_with_context::<M::Archived, _, Cause>(bytes, &mut checker)
}

/// Checks `bytes` and gives the archive where it lies.
///
/// # Errors
/// [`DecodeError`] when they are no archive of `M`, or nested too deeply.
#[inline]
pub(crate) fn check<M: Message>(bytes: &[u8]) -> Result<&M::Archived, DecodeError> {
    // Where overflow is checked, rkyv panics at some made-up archives of hash maps. What is foreign
    // must not end a task: it becomes an error. What needs no drop has no map in it, and no price
    // to pay.
    let checked = if const { std::mem::needs_drop::<M>() } {
        let caught = catch_unwind(AssertUnwindSafe(|| access::<M>(bytes)));
        caught.unwrap_or_else(|_| Err(cause(CheckPanicked)))
    } else {
        access::<M>(bytes)
    };
    checked.map_err(|cause| DecodeError::new::<M>(bytes.len(), &cause))
}

/// Checks `bytes` and copies the value out of them.
///
/// # Errors
/// [`DecodeError`] when they are no archive of `M`, or nested too deeply.
#[inline]
pub(crate) fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    own(check::<M>(bytes)?).map_err(|cause| DecodeError::new::<M>(bytes.len(), &cause))
}

/// Checks `bytes`, and takes from them where they lie.
///
/// # Errors
/// [`DecodeError`] when they are no archive of `M`, or nested too deeply, or `take` fails.
#[inline]
pub(crate) fn read<'a, M: Message, R>(
    bytes: &'a [u8],
    take: impl FnOnce(&'a M::Archived) -> Result<R, Cause>,
) -> Result<R, DecodeError> {
    take(check::<M>(bytes)?).map_err(|cause| DecodeError::new::<M>(bytes.len(), &cause))
}

/// Copies a value out of its checked archive.
///
/// # Errors
/// The type's own deserialising failed.
#[doc(hidden)]
#[inline]
pub fn own<M: Message>(archived: &M::Archived) -> Result<M, Cause> {
    deserialize_using::<M, _, Cause>(archived, &mut ())
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
