//! The place of a supervised actor, which outlives it: its proxies call whoever sits here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::post::{Post, Started, not_any_more};
use crate::node::being::{Being, Group};
use crate::node::berth::Berth;
use crate::node::census::Life;
use crate::node::ending::ShutdownError;
use crate::node::exited::Exited;
use crate::node::forward::HandOnError;
use crate::node::handle::{Handle, Proxy};
use crate::node::monitor::{self, DownReason, LifeEvent, Monitor, Teller};
use crate::proxy::Caller;
use crate::proxy::failure::Death;
use crate::proxy::target::Choose;
use crate::sys::process::Exit;
use crate::wire::passport::Passport;

/// Starts somebody for a seat; none: it could not be, and why was logged.
pub(super) type Make<P> = Box<dyn Fn() -> BoxFuture<'static, Option<P>> + Send + Sync>;

/// See the module.
pub(super) struct Seat<P> {
    /// Itself, for what it starts.
    this: Weak<Self>,
    make: Make<P>,
    sitting: RwLock<Sitting<P>>,
    /// Whether somebody is to sit here: not once a proxy has stopped or killed who does.
    wanted: watch::Sender<bool>,
    /// How the last one ended, once nobody follows.
    left: Exited,
    /// Counts who has come.
    lives: watch::Sender<u64>,
    /// What stays of them for those who call from other processes.
    berth: Option<Arc<Berth>>,
}

/// Who sits in a seat now.
struct Sitting<P> {
    proxy: P,
    restarts: u64,
    /// Its end was told.
    down: Option<DownReason>,
    /// Somebody who does not own the actor has asked one for its end who sat here before.
    was_asked: bool,
    /// Until nobody follows.
    teller: Option<Teller>,
}

impl<P: Proxy> Seat<P> {
    /// A seat for `first`, whose followers come by `make`, all of them in `berth`.
    pub(super) fn new(first: P, make: Make<P>, berth: Option<Arc<Berth>>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            make,
            sitting: RwLock::new(Sitting {
                proxy: first,
                restarts: 0,
                down: None,
                was_asked: false,
                teller: Some(Teller::new()),
            }),
            wanted: watch::Sender::new(true),
            left: Exited::new(),
            lives: watch::Sender::new(0),
            berth,
        })
    }

    /// A proxy for whoever sits here.
    pub(super) fn face(self: &Arc<Self>) -> P {
        let first = self.read(|sitting| sitting.proxy.clone());
        let being = Being::Many(Arc::clone(self) as _);
        let first = first.__handle();
        let handle = Handle::of_many(first, being, Arc::clone(self) as _);
        P::__from_handle(handle.reached_as(first))
    }

    fn life(&self) -> Life {
        self.read(|sitting| sitting.life().clone())
    }

    /// Puts somebody new here, who is ended again if that is not wanted any more.
    fn refill(&self, new: P) -> Started {
        let old = self.write(|sitting| {
            sitting.restarts += 1;
            sitting.down = None;
            // Its owner hears of it all the same.
            sitting.was_asked = sitting.was_asked();
            let old = std::mem::replace(&mut sitting.proxy, new);
            sitting.tell(sitting.up());
            old
        });
        drop(old);
        self.lives.send_modify(|lives| *lives += 1);
        // After it can be seen: who stops the seat stops whom it sees after it said so.
        if *self.wanted.borrow() {
            Started::Up
        } else {
            self.life().ask_to_stop();
            Started::Unwanted
        }
    }

    /// No user's code runs in `f`, and nothing waits.
    fn read<T>(&self, f: impl FnOnce(&Sitting<P>) -> T) -> T {
        f(&self.sitting.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Sitting<P>) -> T) -> T {
        f(&mut self.sitting.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Proxy> Sitting<P> {
    fn life(&self) -> &Life {
        self.proxy.__handle().life()
    }

    fn was_asked(&self) -> bool {
        self.was_asked || self.life().being.was_asked()
    }

    fn up(&self) -> LifeEvent {
        LifeEvent::Up {
            process_id: self.proxy.process_id(),
            restarts: self.restarts,
        }
    }

    fn tell(&self, event: LifeEvent) {
        if let Some(teller) = &self.teller {
            teller.tell(event);
        }
    }
}

impl<P: Proxy> Post for Seat<P> {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let life = self.life();
        async move { life.exited().await }.boxed()
    }

    fn start(&self) -> BoxFuture<'static, Started> {
        let seat = self.this.upgrade();
        async move {
            let Some(seat) = seat else {
                return Started::Unwanted;
            };
            let made = (seat.make)().await;
            made.map_or(Started::Failed, |new| seat.refill(new))
        }
        .boxed()
    }

    fn stop(&self) -> BoxFuture<'static, (Exit, Result<(), ShutdownError>)> {
        let handle = self.read(|sitting| sitting.proxy.__handle().clone());
        async move {
            let stopped = handle.shutdown().await;
            (handle.life().exited().await, stopped)
        }
        .boxed()
    }

    fn fell(&self, exit: Exit) {
        let handle = self.read(|sitting| sitting.proxy.__handle().clone());
        let stopped = handle.life().exchange.was_stopped(exit);
        let reason = DownReason::new(stopped, || handle.death(exit));
        self.write(|sitting| {
            // Who does not know whether somebody was here may ask twice.
            if sitting.down.is_none() {
                sitting.down = Some(reason.clone());
                sitting.tell(LifeEvent::Down(reason));
            }
        });
    }

    fn leave(&self, exit: Exit) {
        // Whoever hears of it finds the monitors ended.
        drop(self.write(|sitting| sitting.teller.take()));
        if let Some(berth) = &self.berth {
            berth.leave();
        }
        self.left.tell(exit);
    }

    fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        not_any_more(&self.wanted)
    }

    fn was_stopped(&self) -> bool {
        self.read(|sitting| sitting.life().exchange.is_stopping())
    }

    fn process_id(&self) -> Option<u32> {
        self.read(|sitting| {
            let lives = sitting.life().being.exit().is_none();
            lives.then(|| sitting.proxy.process_id())
        })
    }

    fn is_alive(&self) -> bool {
        Post::process_id(self).is_some()
    }

    fn restarts(&self) -> u64 {
        self.read(|sitting| sitting.restarts)
    }
}

impl<P: Proxy> Choose for Seat<P> {
    fn choose(&self) -> Option<Caller> {
        // Also a dead one: it tells how it died. Of a pool, one of its members.
        Some(self.read(|sitting| sitting.proxy.__handle().chosen()))
    }
}

impl<P: Proxy> Group for Seat<P> {
    fn pid(&self) -> u32 {
        self.read(|sitting| sitting.proxy.process_id())
    }

    fn exit(&self) -> Option<Exit> {
        self.left.get()
    }

    fn exited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        self.left.awaited()
    }

    fn asked(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let mut lives = self.lives.subscribe();
            loop {
                lives.borrow_and_update();
                let (life, was_asked) =
                    self.read(|sitting| (sitting.life().clone(), sitting.was_asked()));
                if was_asked {
                    return;
                }
                // Whether it was asked or has ended: who follows may be asked, too.
                life.being.asked().await;
                if life.being.was_asked() {
                    return;
                }
                tokio::select! {
                    _ = self.left.wait() => return,
                    // Its sender is borrowed.
                    _ = lives.changed() => {}
                }
            }
        })
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
        self.life().being.is_overdue()
    }

    fn death(&self, exit: Exit) -> Death {
        self.read(|sitting| sitting.proxy.__handle().clone())
            .death(exit)
    }

    fn is_alive(&self) -> bool {
        self.process_id().is_some()
    }

    fn is_kept(&self) -> bool {
        true
    }

    fn passport(&self) -> Result<Passport, HandOnError> {
        // Who gets it calls the one that sits here now, and finds those who follow.
        self.read(|sitting| sitting.proxy.__handle().clone())
            .passport()
    }

    fn monitor(&self) -> Option<Monitor> {
        // Under the lock under which events are told: none is missed, none told twice.
        Some(self.read(|sitting| {
            let now = sitting.down.clone();
            let now = now.map_or_else(|| sitting.up(), LifeEvent::Down);
            match &sitting.teller {
                Some(teller) => teller.monitor(now),
                None => monitor::over(now),
            }
        }))
    }
}

/// Also of one that never came into anybody's care.
impl<P> Drop for Seat<P> {
    fn drop(&mut self) {
        if let Some(berth) = &self.berth {
            berth.leave();
        }
    }
}

impl<P> fmt::Debug for Seat<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat")
            .field("wanted", &*self.wanted.borrow())
            .field("left", &self.left.get())
            .finish_non_exhaustive()
    }
}
