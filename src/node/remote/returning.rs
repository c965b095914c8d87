//! A connection that is made again when it was lost: its proxies go on.
//!
//! ```text
//!  up ── lost ──> a new link at once, whose calls wait in its ring
//!   ^                 └─ ask how the actor ended, if it did; tell those who wait for it
//!   │                    └─ pause, knock ─┬─ let in: the link gets its connection ──┐
//!   │                                     └─ too often, or the key is wrong: over   │
//!   └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What was under way at the loss ends with it: nothing is sent twice. What is called after it
//! waits for the new connection, in its order, and as long as the call may take. Nothing of it has
//! been sent before there is one, so what ends before has not run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::Instant;

use tokio::runtime;
use tokio::sync::watch;
use tokio::time::sleep;

use super::bond::{self, BeforeEnd, Parted, Way};
use super::connect::{ConnectError, Entered, Place};
use super::reconnect::Reconnect;
use crate::node::being::{Being, Group};
use crate::node::census::Life;
use crate::node::exited::Exited;
use crate::node::forward::HandOnError;
use crate::node::handle::Handle;
use crate::node::monitor::{self, DownReason, LifeEvent, Monitor, Teller};
use crate::proxy::Caller;
use crate::proxy::failure::Death;
use crate::proxy::target::Choose;
use crate::sys::process::Exit;
use crate::sys::random;
use crate::transport::relay::Parting;
use crate::wire::passport::Passport;
use crate::wire::welcome::Welcome;

/// See the module.
pub(super) struct Returning {
    this: Weak<Self>,
    place: Place,
    reconnect: Reconnect,
    /// Where the user's tasks run, and ours.
    runtime: runtime::Handle,
    now: RwLock<Now>,
    /// Whether a connection is wanted: not once the last proxy is gone, or one has ended it.
    wanted: watch::Sender<bool>,
    /// How it ended, once no further one follows.
    left: Exited,
}

/// How things are.
struct Now {
    handle: Handle,
    /// What the actor said when it was connected to last.
    welcome: Welcome,
    /// While there is no connection, and one is looked for.
    way: Option<Way>,
    /// Which link this is: the ends of earlier ones are over.
    number: u64,
    /// When the connection was made.
    since: Instant,
    /// How often it was tried since one lasted.
    tries: u32,
    restarts: u64,
    /// Its end was told.
    down: Option<DownReason>,
    /// Until no further one follows.
    teller: Option<Teller>,
}

impl Returning {
    /// A handle that goes on over further connections like the one that was just made.
    ///
    /// # Errors
    /// [`ConnectError`]: what the actor said is nonsense, or there is no room.
    pub(super) fn begin(
        place: Place,
        reconnect: Reconnect,
        (sealed, welcome): Entered,
    ) -> Result<Handle, ConnectError> {
        let runtime = runtime::Handle::current();
        let told = Arc::new(OnceLock::new());
        let before = before_end(Arc::clone(&told), 0);
        let (handle, way) = bond::lay(&welcome, &place, &runtime, before)?;
        let made = Arc::new_cyclic(|this: &Weak<Self>| Self {
            this: Weak::clone(this),
            place,
            reconnect,
            runtime,
            now: RwLock::new(Now::new(handle, welcome)),
            wanted: watch::Sender::new(true),
            left: Exited::new(),
        });
        // Set once, here; and the link waits for the connection.
        let _ = told.set(Weak::clone(&made.this));
        let _ = way.send(sealed);
        let first = made.read(|now| now.handle.clone());
        let being = Being::Many(Arc::clone(&made) as _);
        Ok(Handle::of_many(&first, being, made as _).reached_as(&first))
    }

    /// A link of this number for whom `welcome` tells of.
    fn lay(&self, welcome: &Welcome, number: u64) -> Result<(Handle, Way), ConnectError> {
        let told = Arc::new(OnceLock::from(Weak::clone(&self.this)));
        let before = before_end(told, number);
        bond::lay(welcome, &self.place, &self.runtime, before)
    }

    /// The link of this number has ended so: what is called from now on goes over the next one.
    fn lost(self: Arc<Self>, number: u64, parting: &Parting) -> Parted {
        if self.read(|now| now.number != number) {
            // It was replaced: its calls do not fit the actor that is there now.
            return bond::nothing();
        }
        let has_ended = matches!(parting, Parting::Bye);
        let former = self.next(number, has_ended).map(|(handle, way)| {
            self.write(|now| {
                if self.reconnect.is_settled(now.since.elapsed()) {
                    now.tries = 0;
                }
                (now.number, now.way) = (number + 1, Some(way));
                std::mem::replace(&mut now.handle, handle)
            })
        });
        Box::new(move |death| self.parted(has_ended, death, former))
    }

    /// A link has ended so, and the actor by this `death`, if that was told. `former` is who was
    /// called over it; none: no further one follows.
    fn parted(
        self: Arc<Self>,
        has_ended: bool,
        death: Option<&Death>,
        former: Option<Handle>,
    ) -> Option<Handle> {
        let exit = match death {
            Some(death) => death.exit(),
            None if has_ended => Exit::Code(0),
            None => Exit::Disconnected,
        };
        self.write(|now| {
            let unknown = || Death::new(now.welcome.pid, exit, None, None);
            let reason = DownReason::new(has_ended, || death.cloned().unwrap_or_else(unknown));
            now.fell(reason);
        });
        let Some(former) = former else {
            self.leave(exit);
            return None;
        };
        // Only now, so that monitors are told of the end before they are of what follows.
        tracing::info!(address = %self.place.address, "a connection was lost; it is made again");
        let runtime = self.runtime.clone();
        runtime.spawn(self.come_back());
        Some(former)
    }

    /// The link that follows the one of this number, if one is to.
    fn next(&self, number: u64, has_ended: bool) -> Option<(Handle, Way)> {
        if !*self.wanted.borrow() || !self.reconnect.wants(has_ended) {
            return None;
        }
        let welcome = self.read(|now| now.welcome.clone());
        let laid = self.lay(&welcome, number + 1);
        laid.inspect_err(|error| tracing::warn!(%error, "a connection is not made again"))
            .ok()
    }

    /// Looks for a connection until there is one, or it is given up, or nobody wants it any more.
    async fn come_back(self: Arc<Self>) {
        let mut wanted = self.wanted.subscribe();
        let entered = tokio::select! {
            _ = wanted.wait_for(|wanted| !wanted) => return,
            entered = self.try_again() => entered,
        };
        let refilled = entered.and_then(|entered| self.refill(entered));
        if let Err(error) = refilled {
            tracing::warn!(%error, "a connection is not made again");
            self.wanted.send_replace(false);
            // Those who wait for it are told, and then all.
            drop(self.write(|now| now.way.take()));
        }
    }

    /// # Errors
    /// The last try's, or one after which there is nothing to try.
    async fn try_again(&self) -> Result<Entered, ConnectError> {
        let mut last = None;
        loop {
            let tries = self.write(|now| {
                now.tries = now.tries.saturating_add(1);
                now.tries - 1
            });
            let mut chance = [0; 8];
            // Without chance all pauses are half as long as they may be.
            let _ = random::fill(&mut chance);
            let pause = self.reconnect.pause(tries, u64::from_le_bytes(chance));
            let Some(pause) = pause else {
                return Err(last.unwrap_or_else(|| self.place.is_late()));
            };
            sleep(pause).await;
            match self.place.enter().await {
                Ok(entered) => return Ok(entered),
                Err(error) if error.is_passing() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on over a connection that was made.
    fn refill(&self, (sealed, welcome): Entered) -> Result<(), ConnectError> {
        let old = self.read(|now| {
            let fits = bond::fits(&now.welcome, &welcome);
            (!fits).then_some(now.number)
        });
        // What waits was written for another program: it is not sent, and its callers are told.
        let fresh = match old {
            None => None,
            Some(number) => Some(self.lay(&welcome, number + 1)?),
        };
        let former = self.write(|now| {
            let former = fresh.map(|(handle, way)| {
                now.number += 1;
                let handle = std::mem::replace(&mut now.handle, handle);
                (handle, now.way.replace(way))
            });
            if let Being::Remote(tie) = &now.handle.life().being {
                // By which it is asked for when it dies, and handed on.
                tie.find(&welcome);
            }
            now.welcome = welcome;
            now.since = Instant::now();
            now.restarts += 1;
            now.down = None;
            if let Some(way) = now.way.take() {
                // Its link may have been cut in the meantime.
                let _ = way.send(sealed);
            }
            now.tell(now.up());
            former
        });
        drop(former);
        Ok(())
    }

    /// No further connection follows.
    fn leave(&self, exit: Exit) {
        // Whoever hears of it finds the monitors ended.
        drop(self.write(|now| now.teller.take()));
        self.left.tell_first(exit);
    }

    fn life(&self) -> Life {
        self.read(|now| now.handle.life().clone())
    }

    /// No user's code runs in `f`, and nothing waits.
    fn read<T>(&self, f: impl FnOnce(&Now) -> T) -> T {
        f(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Now) -> T) -> T {
        f(&mut self.now.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells whoever is in `told` of the end of its link of this number.
fn before_end(told: Arc<OnceLock<Weak<Returning>>>, number: u64) -> BeforeEnd {
    Box::new(move |parting| match told.wait().upgrade() {
        Some(returning) => returning.lost(number, parting),
        None => bond::nothing(),
    })
}

impl Now {
    fn new(handle: Handle, welcome: Welcome) -> Self {
        Self {
            handle,
            welcome,
            way: None,
            number: 0,
            since: Instant::now(),
            tries: 0,
            restarts: 0,
            down: None,
            teller: Some(Teller::new()),
        }
    }

    fn up(&self) -> LifeEvent {
        LifeEvent::Up {
            process_id: self.welcome.pid,
            restarts: self.restarts,
        }
    }

    fn tell(&self, event: LifeEvent) {
        if let Some(teller) = &self.teller {
            teller.tell(event);
        }
    }

    fn fell(&mut self, reason: DownReason) {
        // A link that never got its connection was told of when the one before it was lost.
        if self.down.is_none() {
            self.down = Some(reason.clone());
            self.tell(LifeEvent::Down(reason));
        }
    }
}

impl Choose for Returning {
    fn choose(&self) -> Option<Caller> {
        Some(self.read(|now| now.handle.caller().clone()))
    }
}

impl Group for Returning {
    fn pid(&self) -> u32 {
        self.read(|now| now.welcome.pid)
    }

    fn exit(&self) -> Option<Exit> {
        self.left.get()
    }

    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        self.left.awaited()
    }

    fn stop(&self) {
        self.wanted.send_replace(false);
        self.life().ask_to_stop();
    }

    fn kill(&self) {
        self.wanted.send_replace(false);
        self.life().being.kill();
    }

    fn strike(&self) {
        self.life().being.kill();
    }

    fn is_overdue(&self) -> bool {
        false
    }

    fn death(&self, exit: Exit) -> Death {
        self.read(|now| match &now.down {
            Some(DownReason::Died(death)) if death.exit() == exit => death.clone(),
            _ => now.handle.death(exit),
        })
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn passport(&self) -> Result<Passport, HandOnError> {
        // Who gets it makes a connection of its own, to where this one was.
        self.read(|now| now.handle.clone()).passport()
    }

    fn is_alive(&self) -> bool {
        // One that is looked for is not there, also while it is asked how the last one ended.
        self.read(|now| now.down.is_none() && now.way.is_none())
    }

    fn monitor(&self) -> Option<Monitor> {
        // Under the lock under which events are told: none is missed, none told twice.
        Some(self.read(|now| {
            let last = now.down.clone();
            let last = last.map_or_else(|| now.up(), LifeEvent::Down);
            match &now.teller {
                Some(teller) => teller.monitor(last),
                None => monitor::over(last),
            }
        }))
    }
}

impl fmt::Debug for Returning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returning")
            .field("address", &self.place.address)
            .field("wanted", &*self.wanted.borrow())
            .field("left", &self.left.get())
            .finish_non_exhaustive()
    }
}
