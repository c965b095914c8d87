//! What a start that is given up half-way ends.

use std::io;

use tokio::task::JoinHandle;

use super::heartbeat::Heartbeat;
use super::ward::Ward;

/// Kills a process that did not become an actor.
pub(super) struct Starting(Option<Ward>);

impl Starting {
    pub(super) fn new(ward: Ward) -> Self {
        Self(Some(ward))
    }

    /// Has it let those in who have proxies of the lives before.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(super) fn take_berth(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), Ward::take_berth)
    }

    /// It has, and is asked from now on whether it still works, if it is to be.
    pub(super) fn done(mut self, heartbeat: Option<Heartbeat>) {
        if let (Some(ward), Some(heartbeat)) = (self.0.take(), heartbeat) {
            ward.watch_pulse(heartbeat);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(ward) = &self.0 {
            ward.kill();
        }
    }
}

/// Ends a task unless it is to go on.
pub(super) struct Abort(Option<JoinHandle<()>>);

impl Abort {
    pub(super) fn new(task: JoinHandle<()>) -> Self {
        Self(Some(task))
    }

    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
