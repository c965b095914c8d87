//! The crew of a pool whose size follows its work: who comes, and who goes.
//!
//! A call that finds the pool crowded rings; a task hears it and starts members. While there are
//! more than the fewest, it looks now and then whether all of them are needed; else it sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::crew::{Crew, Phase};
use super::scale::{Elastic, Lull, Step};
use crate::node::handle::Proxy;

/// How long nothing is started after a start that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What calls tell of how much there is to do.
#[derive(Debug)]
pub(super) struct Gauge {
    size: Elastic,
    /// The most calls that were under way since this was last asked for.
    peak: AtomicUsize,
    crowded: Notify,
}

impl Gauge {
    pub(super) fn new(size: Elastic) -> Self {
        Self {
            size,
            peak: AtomicUsize::new(0),
            crowded: Notify::new(),
        }
    }

    /// A call is about to be made, which makes so many under way for so many members.
    #[inline]
    pub(super) fn note(&self, members: usize, calls: usize) {
        // ORDERING: Relaxed; numbers to compare, which say nothing of other memory.
        if calls > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(calls, Ordering::Relaxed);
        }
        if self.size.is_crowded(members, calls) {
            self.crowded.notify_one();
        }
    }

    fn take_peak(&self) -> usize {
        // ORDERING: Relaxed; as above.
        self.peak.swap(0, Ordering::Relaxed)
    }
}

impl<P: Proxy> Crew<P> {
    /// Lets the crew's size follow its work, until the pool ends.
    pub(super) async fn follow(self: Arc<Self>) {
        let Some(gauge) = self.gauge() else {
            return;
        };
        let began = Instant::now();
        let mut lull = Lull::default();
        let mut phase = self.phase();
        loop {
            let is_least = self.len() <= gauge.size.min;
            tokio::select! {
                _ = phase.wait_for(|phase| *phase != Phase::Works) => return,
                () = gauge.crowded.notified() => {}
                () = tokio::time::sleep(gauge.size.period()), if !is_least => {}
            }
            let (members, calls) = self.burden();
            let now = (calls, gauge.take_peak());
            match gauge.size.step(&mut lull, began.elapsed(), members, now) {
                Step::Stay => {}
                Step::Grow(count) => {
                    if !self.take_on(count).await {
                        // Calls that come meanwhile ring again.
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Step::Shrink => self.shrink(),
            }
        }
    }

    /// Ends one member when what it was sent is done.
    fn shrink(self: &Arc<Self>) {
        if let Some(old) = self.dismiss() {
            tokio::spawn(Self::drain(old));
        }
    }
}
