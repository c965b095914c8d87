//! A tie: an actor of another program in the hands of those who call it.
//!
//! It says nothing about the actor's life but what the connection tells: that it is there, that it
//! has ended in order, that nothing is known any more; and what is told after that by whoever has
//! started it.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::node::exited::Exited;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{Death, Ended};
use crate::sys::process::Exit;
use crate::transport::farewell::Farewell;
use crate::transport::relay::Parting;
use crate::transport::stream::Pumping;
use crate::transport::unreached::Unreached;

/// A handle of a connection to an actor.
#[derive(Clone)]
pub(crate) struct Tie(Arc<Shared>);

struct Shared {
    pid: AtomicU32,
    /// Until the connection is to end.
    pumping: Mutex<Option<Pumping>>,
    exit: Exited,
    /// What was told of the actor's end, if somebody knew.
    death: OnceLock<Death>,
}

impl Tie {
    /// To an actor that lives in process `pid`, wherever that is.
    pub(super) fn new(pid: u32) -> Self {
        Self(Arc::new(Shared {
            pid: AtomicU32::new(pid),
            pumping: Mutex::new(None),
            exit: Exited::new(),
            death: OnceLock::new(),
        }))
    }

    /// Keeps the connection until it is to end.
    pub(super) fn hold(&self, pumping: Pumping) {
        let mut held = self
            .0
            .pumping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Some(pumping);
    }

    /// The connection has ended, and whoever has started the actor may have told of its `death`.
    pub(super) fn part(&self, exchange: &Exchange, parting: Parting, death: Option<Death>) {
        let (ended, exit) = match (parting, death) {
            (_, Some(death)) => {
                // Set once, here.
                let _ = self.0.death.set(death.clone());
                let exit = death.exit();
                (Ended::Died(death), exit)
            }
            (Parting::Bye, None) => (Ended::Stopped, Exit::Code(0)),
            (Parting::Cut, None) => (Ended::Unreachable(Unreached::Cut), Exit::Disconnected),
            (Parting::Lost(why), None) => (Ended::Unreachable(why), Exit::Disconnected),
            (Parting::Broken(error), None) => {
                (Ended::Corrupt(error.to_string()), Exit::Disconnected)
            }
        };
        exchange.end(ended);
        self.0.exit.tell(exit);
    }

    /// The number of the actor's process, on its machine.
    pub(crate) fn pid(&self) -> u32 {
        // Relaxed: it says only this.
        self.0.pid.load(Ordering::Relaxed)
    }

    /// At the other end lives, in process `pid`, one that has followed the actor that was expected.
    pub(crate) fn found(&self, pid: u32) {
        self.0.pid.store(pid, Ordering::Relaxed);
    }

    /// How it ended, as far as is known here.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.0.exit.get()
    }

    /// All that is known about the actor's end by `exit`.
    pub(crate) fn death(&self, exit: Exit) -> Death {
        let told = self.0.death.get().cloned();
        told.unwrap_or_else(|| Death::new(self.pid(), exit, None, None))
    }

    /// Waits for the end of the connection.
    ///
    /// # Cancel safety
    /// Nothing is lost; the end is told to each who asks.
    pub(crate) async fn exited(&self) -> Exit {
        self.0.exit.wait().await
    }

    /// Ends the connection now, whatever is on its way.
    pub(crate) fn cut(&self) {
        drop(self.take());
    }

    /// Ends the connection when all that was sent is out.
    pub(crate) fn hang_up(&self) {
        if let Some(pumping) = self.take() {
            let farewell = Farewell::begin();
            pumping.finish(Box::new(move || drop(farewell)));
        }
    }

    fn take(&self) -> Option<Pumping> {
        let mut held = self
            .0
            .pumping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        held.take()
    }
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tie")
            .field("pid", &self.pid())
            .field("exit", &self.exit())
            .finish_non_exhaustive()
    }
}
