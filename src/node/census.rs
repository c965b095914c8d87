//! The actors that this process has started and that still live.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ward::Ward;

static LIVING: Mutex<Vec<(u64, Ward, Duration)>> = Mutex::new(Vec::new());

/// Counts an actor in, with the grace that it gets at the end.
pub(crate) fn enter(id: u64, ward: Ward, grace: Duration) {
    let mut living = living();
    if ward.exit().is_none() {
        living.push((id, ward, grace));
    }
}

/// Counts an actor out.
pub(crate) fn leave(id: u64) {
    living().retain(|(entry, ..)| *entry != id);
}

/// Ends every actor of this process, the youngest first, and waits until they are gone.
///
/// Bounded by the longest grace: who has not ended by then is killed.
pub(crate) async fn settle() {
    let wards: Vec<_> = living().iter().rev().map(|(_, ward, grace)| (ward.clone(), *grace)).collect();
    for (ward, grace) in wards {
        ward.stop(grace);
        ward.exited().await;
    }
}

fn living() -> MutexGuard<'static, Vec<(u64, Ward, Duration)>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
