//! The actors that this process has started and that still live.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{self, Handle};

use super::ward::Ward;

static LIVING: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    id: u64,
    /// The runtime that serves the actor's link.
    runtime: runtime::Id,
    ward: Ward,
    grace: Duration,
}

/// Counts an actor of this runtime in, with the grace that it gets at the end.
pub(crate) fn enter(id: u64, ward: Ward, grace: Duration) {
    let runtime = Handle::current().id();
    let mut living = living();
    if ward.exit().is_none() {
        living.push(Entry {
            id,
            runtime,
            ward,
            grace,
        });
    }
}

/// Counts an actor out.
pub(crate) fn leave(id: u64) {
    living().retain(|entry| entry.id != id);
}

/// Ends every actor of this runtime, the youngest first, and waits until all are gone. Those of
/// other runtimes go on: the tests of one program run beside each other, each on a runtime of its
/// own.
///
/// Bounded by the longest grace: who has not ended by then is killed.
pub(crate) async fn settle() {
    let runtime = Handle::current().id();
    let wards: Vec<_> = living()
        .iter()
        .rev()
        .filter(|entry| entry.runtime == runtime)
        .map(|entry| (entry.ward.clone(), entry.grace))
        .collect();
    for (ward, grace) in &wards {
        ward.stop(*grace);
    }
    for (ward, _) in &wards {
        ward.exited().await;
    }
}

fn living() -> MutexGuard<'static, Vec<Entry>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
