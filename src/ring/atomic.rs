//! The atomics of the rings: the processor's, or loom's while a model runs. Pure.
//!
//! Nothing in `ring/` names another atomic type, so that what a model explores is what runs.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
