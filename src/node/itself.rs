//! An actor's proxy of itself: one more link, within its process.
//!
//! ```text
//!  a method, or a task of the actor ── own proxy ──> a ring in private memory ──> the same inbox
//! ```
//!
//! What is called through it waits its turn like any call. It keeps nobody alive: not the actor,
//! whose owners are others, nor after the actor's end itself.

use std::sync::Arc;

use super::being::Being;
use super::census::Life;
use super::faces::AnyProxy;
use super::forward::resident;
use super::handle::{Handle, Owner, Proxy};
use super::output::Tails;
use super::spawn;
use super::spawn_options::GRACE;
use crate::actor::context::{Context, Itself};
use crate::actor::port::Port;
use crate::actor::signals::{Arrival, Line};
use crate::proxy::Caller;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::Ended;
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::transport::loopback;
use crate::wire::hello::Tables;

impl Context {
    /// The actor's own proxy: for a long method that lets others run between its steps, for tasks
    /// that come back to the actor, and to be handed on.
    ///
    /// A method that awaits a call of its own actor which cannot begin before the method has ended
    /// gets [`CallError::Cycle`](crate::CallError::Cycle): tell it, or start it and return.
    ///
    /// The proxy does not keep the actor alive, and [`stop`](crate::Proxy::stop) of it asks the
    /// actor to end, but does not wait for that.
    ///
    /// # Panics
    /// If the actor is no `P`.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::prelude::*;
    ///
    /// pub struct Sum { todo: Vec<u64>, sum: u64 }
    ///
    /// #[actor]
    /// impl Sum {
    ///     pub fn new(todo: Vec<u64>) -> Self { Self { todo, sum: 0 } }
    ///
    ///     /// Does one piece of the work, and comes back for the rest when others had their turn.
    ///     pub async fn work(&mut self, context: &Context) {
    ///         if let Some(number) = self.todo.pop() {
    ///             self.sum += number;
    ///             let own: SumProxy = context.own();
    ///             let _ = own.work().tell().await;
    ///         }
    ///     }
    ///
    ///     pub fn is_done(&self) -> Option<u64> {
    ///         self.todo.is_empty().then_some(self.sum)
    ///     }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let sum = Sum::spawn(vec![1, 2, 3]).await?;
    ///     sum.work().await?;
    ///     let mut done = None;
    ///     while done.is_none() {
    ///         done = sum.is_done().await?;
    ///     }
    ///     assert_eq!(done, Some(6));
    ///     sum.shutdown().await
    /// }
    /// ```
    #[must_use]
    pub fn own<P: Proxy>(&self) -> P {
        let handle = own_handle(self.itself());
        let own = AnyProxy::__from_handle(handle);
        match own.downcast() {
            Ok(own) => own,
            Err(error) => panic!("the own proxy is of another type: {error}"),
        }
    }
}

/// The one untyped proxy that an actor has of itself.
pub(super) fn own_handle(itself: &Itself) -> Handle {
    itself.signals.own_or(|| {
        let handle = link(itself);
        let exchange = Arc::clone(handle.exchange());
        (handle, Box::new(move || exchange.end(Ended::Stopped)))
    })
}

/// A link of an actor to itself.
fn link(itself: &Itself) -> Handle {
    let Itself {
        actor,
        interface,
        message_len_max,
        signals,
    } = itself;
    let (geometry, limit) = (spawn::geometry(), *message_len_max as u64);
    let (near, mut far) = loopback::pair(geometry, limit);
    // On the actor's own thread: nobody answers while another one looks.
    let exchange = Exchange::local((near, &mut far), geometry.slots(), Idle::Park);
    exchange.set_tables(Tables::of(interface));
    let board = far.board.clone();
    let port = Port::new((far.receiver, far.glance), far.board, far.ear, Idle::Park);
    let line = Arc::new(Line::new((far.sender, Idle::Park), board, *message_len_max));
    signals.arrive(Arrival { port, line });
    let life = Life {
        being: Being::Itself(signals.clone()),
        exchange: Arc::clone(&exchange),
        grace: GRACE,
    };
    let owner = Arc::new(Owner::new(life, Tails::default(), LinkKind::Local));
    // What others are told who get this proxy.
    let resident = resident::find(*actor);
    let addresses = resident.map(|resident| resident.addresses().into());
    let _ = owner.addresses.set(addresses.unwrap_or_default());
    let callee = (*interface, *actor);
    let caller = Caller::new(exchange, callee, *message_len_max, owner.clone());
    Handle::new(caller, owner)
}
