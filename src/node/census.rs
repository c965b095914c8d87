//! The actors that this process has started and that still live.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Handle};

use super::being::Being;
use crate::proxy::exchange::Exchange;
use crate::sys::process::Exit;

static LIVING: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// One actor; the youngest is the last.
struct Entry {
    id: u64,
    /// By which its callers know it.
    key: u64,
    /// The runtime that serves the actor's link.
    runtime: runtime::Id,
    life: Life,
}

/// What it takes to end an actor.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) being: Being,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) grace: Duration,
}

impl Life {
    /// Waits for its end, and until its callers have been told of it: no call begins after that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn exited(&self) -> Exit {
        let exit = self.being.exited().await;
        if let Being::Process(_) = self.being {
            self.exchange.told_over().await;
        }
        exit
    }

    /// The same, of an actor that is known by its proxy's way: as it is reached now.
    pub(crate) fn present(&self) -> Self {
        let present = match &self.being {
            Being::Many(group) => group.present(),
            _ => None,
        };
        present.unwrap_or_else(|| self.clone())
    }

    /// Asks the actor to end within its grace; once is enough.
    pub(crate) fn ask_to_stop(&self) {
        self.exchange.stop_beginning();
        self.being.stop(self.grace);
    }
}

/// Counts an actor of this runtime in, which its callers know by `key`.
pub(crate) fn enter(id: u64, key: u64, life: Life) {
    let runtime = Handle::current().id();
    let mut living = living();
    if life.being.exit().is_none() {
        living.push(Entry {
            id,
            key,
            runtime,
            life,
        });
    }
}

/// One that this process has started and that still lives.
pub(super) fn find(key: u64) -> Option<Life> {
    let living = living();
    let found = living.iter().rev().find(|entry| entry.key == key);
    found.map(|entry| entry.life.clone())
}

/// Counts an actor out.
pub(crate) fn leave(id: u64) {
    living().retain(|entry| entry.id != id);
}

/// Ends every actor that was started in this runtime: one after the other, the youngest first, so
/// that each finds those there that were there before it.
///
/// Each is stopped as by [`Proxy::stop`](crate::Proxy::stop), with its own grace; all of it takes
/// at most twice the longest of these. Actors that are started meanwhile are ended, too. Those of
/// other runtimes in this process go on.
///
/// [`main`](macro@crate::main) and [`test`](macro@crate::test) do so at their end. A program with a
/// runtime of its own calls it before it drops that; an actor that is still there when the process
/// ends is ended without its destructor.
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Cancel safety
/// Dropped, those that were asked end all the same, and the others go on.
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
///     let (first, second) = (Nobody::spawn().await?, Nobody::spawn().await?);
///     callboard::shutdown_all().await;
///     assert!(!first.is_alive() && !second.is_alive());
///     Ok(())
/// }
/// ```
pub async fn shutdown_all() {
    let runtime = Handle::current().id();
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while let Some(mut life) = youngest(runtime) {
        longest = longest.max(life.grace);
        let end = began.checked_add(longest.saturating_mul(2));
        let left = end.map_or(Duration::MAX, |end| {
            end.saturating_duration_since(Instant::now())
        });
        life.grace = life.grace.min(left);
        life.ask_to_stop();
        crate::sys::failpoint::at("parent.all.asked");
        life.being.exited().await;
    }
}

fn youngest(runtime: runtime::Id) -> Option<Life> {
    // Who has ended may still be counted for a moment.
    let lives = |entry: &&Entry| entry.runtime == runtime && entry.life.being.exit().is_none();
    let living = living();
    living
        .iter()
        .rev()
        .find(lives)
        .map(|entry| entry.life.clone())
}

fn living() -> MutexGuard<'static, Vec<Entry>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
