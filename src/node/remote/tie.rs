//! A tie: an actor of another program in the hands of those who call it.
//!
//! It says nothing about the actor's life but what the connection tells: that it is there, that it
//! has ended in order, that nothing is known any more; and what is told after that by whoever has
//! started it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::node::exited::Exited;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{Death, Ended};
use crate::sys::process::Exit;
use crate::transport::farewell::Farewell;
use crate::transport::relay::Parting;
use crate::transport::stream::Pumping;
use crate::transport::unreached::Unreached;
use crate::wire::chain::ActorKey;
use crate::wire::passport::Home;
use crate::wire::welcome::Welcome;

/// Nothing here is left half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle of a connection to an actor.
#[derive(Clone)]
pub(crate) struct Tie(Arc<Shared>);

struct Shared {
    found: Mutex<Found>,
    /// Until the connection is to end.
    pumping: Mutex<Option<Pumping>>,
    exit: Exited,
    /// What was told of the actor's end, if somebody knew.
    death: OnceLock<Death>,
}

/// Who is at the other end.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) actor: ActorKey,
    /// The number of its process, on its machine.
    pub(crate) pid: u32,
    /// Where it lives, if that is known.
    pub(crate) home: Option<Home>,
}

impl Found {
    fn by(welcome: &Welcome) -> Self {
        Self {
            actor: ActorKey::from_bits(welcome.machine, welcome.key),
            pid: welcome.pid,
            home: welcome.home.clone(),
        }
    }
}

impl Tie {
    /// To the actor that has said `welcome`, or is to say it.
    pub(super) fn new(welcome: &Welcome) -> Self {
        Self(Arc::new(Shared {
            found: Mutex::new(Found::by(welcome)),
            pumping: Mutex::new(None),
            exit: Exited::new(),
            death: OnceLock::new(),
        }))
    }

    /// Keeps the connection until it is to end.
    pub(super) fn hold(&self, pumping: Pumping) {
        *lock(&self.0.pumping) = Some(pumping);
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
        lock(&self.0.found).pid
    }

    /// Who is at the other end.
    pub(crate) fn found(&self) -> Found {
        lock(&self.0.found).clone()
    }

    /// It is who has said `welcome`: the actor that was expected, or one that has followed it.
    pub(crate) fn find(&self, welcome: &Welcome) {
        *lock(&self.0.found) = Found::by(welcome);
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
        lock(&self.0.pumping).take()
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
