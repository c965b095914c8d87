//! What the bytes mean: identifiers, frames, archives, the greeting. Pure.
//!
//! Nothing here waits, and nothing knows how bytes travel. Every decoder treats its input as
//! foreign: it checks lengths before it allocates, depth before it recurses, and answers with an
//! error.

#![forbid(unsafe_code)]

pub(crate) mod array;
pub(crate) mod attached;
pub(crate) mod beside;
pub(crate) mod blob;
pub(crate) mod chain;
pub(crate) mod codec;
pub(crate) mod sink;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod holding;
pub(crate) mod id;
pub(crate) mod interface;
#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod lent;
pub(crate) mod obituary;
pub(crate) mod parts;
pub(crate) mod passport;
pub(crate) mod report;
pub(crate) mod view;
pub(crate) mod welcome;
