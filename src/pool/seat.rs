//! The place of one member in its pool, and what can be told of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::node::census::Life;
use crate::node::handle::Proxy;
use crate::sys::process::Exit;

/// The place of a member, which outlives it.
pub(super) struct Seat<P> {
    pub(super) proxy: P,
    pub(super) restarts: u64,
    /// When its member took it.
    since: Instant,
    /// How its last member ended, once nobody follows.
    pub(super) left: Option<Exit>,
    /// Nobody is to sit there until there is more work: its last member was dismissed.
    pub(super) is_vacant: bool,
}

/// One member of a pool as it is now.
///
/// # Examples
/// ```
/// # use callboard::prelude::*;
/// # use callboard::pool::Pool;
/// fn print<P: Proxy>(pool: &Pool<P>) {
///     for member in pool.members() {
///         println!("{}: {} calls", member.process_id, member.in_flight);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its process, as it was while it lived.
    pub process_id: u32,
    /// Whether it lives and takes calls.
    pub is_alive: bool,
    /// Answers that it owes this process, and calls that wait here to be sent to it.
    pub in_flight: usize,
    /// How often it was started again.
    pub restarts: u64,
    /// Calls that it was sent by this process, those in flight among them; tells are not counted.
    pub calls: u64,
    /// How long it is a member.
    pub uptime: Duration,
}

impl<P: Proxy> Seat<P> {
    pub(super) fn new(proxy: P) -> Self {
        Self {
            proxy,
            restarts: 0,
            since: Instant::now(),
            left: None,
            is_vacant: false,
        }
    }

    /// Somebody new sits here; gives who did.
    pub(super) fn refill(&mut self, new: P) -> P {
        self.restarts += 1;
        self.since = Instant::now();
        self.left = None;
        std::mem::replace(&mut self.proxy, new)
    }

    pub(super) fn life(&self) -> &Life {
        self.proxy.__handle().life()
    }

    /// Whether the one with this life sits there.
    pub(super) fn is_of(&self, life: &Life) -> bool {
        is_same(self.life(), life)
    }

    /// How much its member has to do; none: it takes nothing.
    pub(super) fn load(&self) -> Option<usize> {
        let exchange = &self.life().exchange;
        let takes = !self.is_vacant && !exchange.is_over() && !exchange.is_stopping();
        takes.then(|| exchange.load())
    }

    pub(super) fn member(&self) -> Member {
        Member {
            process_id: self.proxy.process_id(),
            is_alive: self.load().is_some(),
            in_flight: self.load().unwrap_or(0),
            restarts: self.restarts,
            // The first was its constructor's.
            calls: self.life().exchange.made().saturating_sub(1),
            uptime: self.since.elapsed(),
        }
    }
}

/// Whether both are of one actor.
pub(super) fn is_same(one: &Life, other: &Life) -> bool {
    Arc::ptr_eq(&one.exchange, &other.exchange)
}
