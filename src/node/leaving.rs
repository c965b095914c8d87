//! How a task that was an actor leaves: those who had to do with it are told.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::census;
use super::ending::PANIC_CODE;
use super::forward::resident::Resident;
use super::leash::Leash;
use super::remote::grave::Will;
use crate::actor::server::End;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Ended;
use crate::sys::process::Exit;
use crate::wire::passport::BYE;

/// Tells of an actor's end when it is dropped, which is when the task is gone, however it went.
#[doc(hidden)]
#[must_use = "the actor has ended when this is dropped"]
pub struct Leaving {
    id: u64,
    pub(super) leash: Leash,
    exchange: Arc<Exchange>,
    exit: Exit,
    /// While it lives here.
    pub(super) resident: Option<Arc<Resident>>,
    /// For those who ask how it ended.
    will: Will,
}

impl Leaving {
    pub(super) fn of(id: u64, (leash, exchange): (&Leash, &Arc<Exchange>), will: Will) -> Self {
        Self {
            id,
            leash: leash.clone(),
            exchange: Arc::clone(exchange),
            exit: Exit::Dropped,
            resident: None,
            will,
        }
    }

    /// Whether the actor has ended in order.
    pub(super) fn is_orderly(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// Takes in how serving ended; none: it was dropped.
    pub(super) fn note(&mut self, end: Option<End>) {
        self.exit = match end {
            Some(End::Stopped | End::Rejected) => Exit::Code(0),
            Some(End::Panicked(report)) => {
                self.leash.set_report(report);
                Exit::Code(PANIC_CODE)
            }
            Some(End::Corrupt(error)) => {
                tracing::error!(%error, "a local actor's link is broken");
                Exit::Unknown
            }
            None => Exit::Dropped,
        };
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        census::leave(self.id);
        let death = self.leash.death(self.exit);
        let obituary = death.obituary().filter(|_| !self.is_orderly());
        if let Some(resident) = &self.resident {
            let bye = self.is_orderly().then(|| BYE.to_vec());
            let told = obituary.as_ref().and_then(|told| told.packet().ok());
            resident.leave(bye.or(told).as_deref());
        }
        let will = mem::take(&mut self.will);
        match obituary {
            Some(obituary) => will.open().tell(&obituary),
            // Who follows is to listen where it did.
            None => drop(will),
        }
        self.leash.end_tasks();
        let ended = if self.exchange.was_stopped(self.exit) {
            Ended::Stopped
        } else {
            Ended::Died(death)
        };
        self.exchange.end(ended);
        self.leash.set_exit(self.exit);
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaving")
            .field("exit", &self.exit)
            .finish_non_exhaustive()
    }
}
