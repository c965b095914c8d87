//! What every proxy can do.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use super::being::Being;
use super::ending::ShutdownError;
use super::faces::{ActorId, Face};
use super::handle::Handle;
use super::monitor::Monitor;
use super::output::Tail;
use crate::cpu::{self, CpuSet};
use crate::proxy::Bound;
use crate::sys::process::Exit;
use crate::transport::address::Address;
use crate::transport::link_kind::LinkKind;

/// What every proxy can do. Two proxies are equal if they call the same actor; one prints itself as
/// its actor's type and process.
///
/// A proxy is a value: a clone calls the same actor, and the last one dropped ends it, as
/// [`stop`](Self::stop) does but without waiting. A call that runs as a [`Pending`](crate::Pending)
/// keeps it, too. To keep an actor as long as the program runs, keep a proxy as long.
///
/// An actor's own method of the same name is what `proxy.kill()` calls; these are then
/// `Proxy::kill(&proxy)`.
///
/// # In messages
/// A proxy is a [message](crate::Message), too, in arguments, results, one's own types and
/// collections: that of an actor's type, of a trait, an [`AnyProxy`](crate::AnyProxy). Who gets one
/// calls the actor over a link of its own, made at the first use; who handed it on may be gone.
///
/// - Between the processes of one program the link is shared memory, and needs no address. An
///   actor with an [`authkey`](crate::Spawn::authkey) lets only those in who have it, here too.
/// - To another program's actor, which [listens](crate::Spawn::listen), it is made by a key that
///   this process has for one of its addresses, since it [connected](crate::Connect) there or from
///   its [credentials](crate::credentials()). Until it has one, calls fail with
///   [`CallError::Auth`](crate::CallError::Auth). Between programs of one user on one machine it is
///   shared memory, too, whoever handed the proxy on; of that each side copies what it reads, for
///   neither has to trust the other. Elsewhere it is a connection to where the actor listens.
///   [`link`](Self::link) tells which.
/// - It owns nothing, as a connected one: the actor ends with the proxies of the process that has
///   started it: hand on a clone. Its `shutdown` [asks](Self::end_asked) the owner, its `kill` ends
///   the link, and the next call makes another one. How the actor died is told by whoever has
///   started it, for some seconds; where that has gone, too, `Died` knows no more than that.
/// - One that comes home, to the process that has started its actor, uses the link that is there.
/// - A [supervised](crate::supervision) actor's goes on with the next life, elsewhere as at home:
///   calls that are under way at a death are told of it, and later ones go to who follows, by
///   shared memory or to where that listens, which is at the port of the one before. Within one
///   program those that are made while nobody is there wait for the next one; from other programs
///   they are told how the one before died, or, where the next one begins to listen just then, that
///   it is [`Unreachable`](crate::CallError::Unreachable), and have not run. Once nobody follows,
///   all are told how the last one ended.
/// - A [pool's](crate::pool) is not handed on: hand on its members. A
///   [part's](macro@crate::actor_part) is, as that of its actor.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Nobody;
///
/// #[actor]
/// impl Nobody {
///     pub fn new() -> Self { Self }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let nobody = Nobody::spawn().await?;
///     assert!(nobody.is_alive());
///     assert_ne!(nobody.process_id(), std::process::id());
///     nobody.shutdown().await?;
///     assert!(!nobody.is_alive());
///     Ok(())
/// }
/// ```
pub trait Proxy: Clone + fmt::Debug + fmt::Display + Eq + Hash + Send + Sync + 'static {
    #[doc(hidden)]
    const __FACE: Face;

    #[doc(hidden)]
    fn __from_handle(handle: Handle) -> Self;

    #[doc(hidden)]
    fn __handle(&self) -> &Handle;

    /// A proxy of the same actor whose calls may take at most `after`, where they
    /// [say](crate::Call::timeout) nothing else.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// fn quick<P: callboard::Proxy>(proxy: &P) -> P {
    ///     proxy.with_timeout(Duration::from_millis(50))
    /// }
    /// ```
    #[must_use]
    fn with_timeout(&self, after: Duration) -> Self {
        Self::__from_handle(self.__handle().bounded(Bound::Within(after)))
    }

    /// A proxy of the same actor whose calls may take as long as they take, where they say nothing
    /// else.
    ///
    /// # Examples
    /// ```
    /// fn patient<P: callboard::Proxy>(proxy: &P) -> P {
    ///     proxy.without_timeout()
    /// }
    /// ```
    #[must_use]
    fn without_timeout(&self) -> Self {
        Self::__from_handle(self.__handle().bounded(Bound::Endless))
    }

    /// Which actor this is. The key of a map is better this than the proxy: it is small, it keeps
    /// nobody alive, and clippy sees that its hash cannot change (`mutable_key_type`).
    ///
    /// # Examples
    /// ```
    /// use callboard::{ActorId, Proxy};
    /// use std::collections::HashMap;
    ///
    /// fn count(calls: &mut HashMap<ActorId, u64>, actor: &impl Proxy) {
    ///     *calls.entry(actor.id()).or_default() += 1;
    /// }
    /// ```
    fn id(&self) -> ActorId {
        ActorId(self.__handle().caller().key())
    }

    /// Where callers of other programs [connect](crate::Connect) to the actor: of one that
    /// [listens](crate::Spawn::listen) its first address; of one that this proxy is connected to,
    /// that by which it was.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Proxy;
    /// fn is_reached_by_others(actor: &impl Proxy) -> bool {
    ///     actor.address().is_some()
    /// }
    /// ```
    fn address(&self) -> Option<&Address> {
        self.addresses().first()
    }

    /// All addresses at which callers of other programs connect to the actor, in the order in which
    /// they were said.
    ///
    /// # Examples
    /// ```
    /// use callboard::{Address, Proxy};
    ///
    /// fn sockets(actor: &impl Proxy) -> impl Iterator<Item = &Address> {
    ///     actor.addresses().iter().filter(|address| address.path().is_some())
    /// }
    /// ```
    fn addresses(&self) -> &[Address] {
        self.__handle().addresses()
    }

    /// The id of the actor's process, as it was while it lived. Of a [connected](crate::Connect)
    /// actor, on its machine.
    ///
    /// # Examples
    /// ```
    /// fn is_a_task(actor: &impl callboard::Proxy) -> bool {
    ///     actor.process_id() == std::process::id()
    /// }
    /// ```
    fn process_id(&self) -> u32 {
        self.__handle().owner().life.being.pid()
    }

    /// The CPUs on which the actor's process runs: what the kernel gave, by
    /// [`Spawn::pin`](crate::Spawn::pin) or without.
    ///
    /// # Errors
    /// The system's, if it has ended. Of a [connected](crate::Connect) actor they are not known.
    ///
    /// # Examples
    /// ```
    /// fn is_alone<P: callboard::Proxy>(proxy: &P) -> bool {
    ///     proxy.cores().is_ok_and(|cores| cores.len() == 1)
    /// }
    /// ```
    fn cores(&self) -> std::io::Result<CpuSet> {
        if self.link() == LinkKind::Network {
            return Err(std::io::ErrorKind::Unsupported.into());
        }
        let cores = cpu::allowed_to(self.process_id());
        // Once it is reaped, its number may be another's.
        if self.is_alive() {
            cores
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    /// What happens to the actor from now on, as a stream: that it lives, and how it ends. Each
    /// monitor tells it once.
    ///
    /// # Examples
    /// ```
    /// use callboard::{DownReason, LifeEvent, Proxy};
    ///
    /// async fn report<P: Proxy>(actor: &P) {
    ///     let mut monitor = actor.monitor();
    ///     while let Some(event) = monitor.next().await {
    ///         println!("{actor}: {event:?}");
    ///     }
    /// }
    /// ```
    fn monitor(&self) -> Monitor {
        let owner = self.__handle().owner();
        let events = match &owner.life.being {
            Being::Many(group) => group.monitor(),
            _ => None,
        };
        events.unwrap_or_else(|| Monitor::of_one(owner.life.present(), owner.tails.clone()))
    }

    /// Whether the actor's process lives. It may be gone the moment after. Of a
    /// [connected](crate::Connect) actor, whether the connection does.
    ///
    /// # Examples
    /// ```
    /// use callboard::Proxy;
    ///
    /// fn living<P: Proxy>(actors: &[P]) -> impl Iterator<Item = &P> {
    ///     actors.iter().filter(|actor| actor.is_alive())
    /// }
    /// ```
    fn is_alive(&self) -> bool {
        self.__handle().owner().life.being.is_alive()
    }

    /// What the link to the actor goes over. Of an actor that this process has started: shared
    /// memory, unless [`Spawn::link`](crate::Spawn::link) asked for something else or it could not
    /// be had, or nothing, if it is a task here. Of one that it has connected to: a network, which
    /// may be a socket of this machine. Of a proxy that came in a message: what its link goes over,
    /// or will by what is known now.
    ///
    /// # Examples
    /// ```
    /// use callboard::LinkKind;
    /// use callboard::prelude::*;
    ///
    /// fn is_fast(actor: &impl Proxy) -> bool {
    ///     actor.link() == LinkKind::SharedMemory
    /// }
    /// ```
    fn link(&self) -> LinkKind {
        let owner = self.__handle().owner();
        owner.life.being.link().unwrap_or(owner.link)
    }

    /// The end of what the actor's process has written to its standard output until now, if that
    /// is kept ([`Output::Tail`](crate::Output::Tail)); else nothing. Bytes that are no UTF-8 are
    /// replaced.
    ///
    /// # Examples
    /// ```
    /// fn has_said(actor: &impl callboard::Proxy, word: &str) -> bool {
    ///     actor.stdout_tail().contains(word)
    /// }
    /// ```
    fn stdout_tail(&self) -> String {
        text(self.__handle().owner().tails.stdout.as_deref())
    }

    /// The same of its standard error.
    ///
    /// # Examples
    /// ```
    /// fn has_warned(actor: &impl callboard::Proxy) -> bool {
    ///     actor.stderr_tail().contains("warning")
    /// }
    /// ```
    fn stderr_tail(&self) -> String {
        text(self.__handle().owner().tails.stderr.as_deref())
    }

    /// Ends the actor in order: what it was sent before is done, its value is dropped, and its
    /// process ends. Calls that come later are told [`Stopped`](crate::CallError::Stopped). A
    /// process that has not ended when the [grace](crate::Spawn::grace) is over is killed.
    ///
    /// A [connected](crate::Connect) proxy does not end the actor: its hook `#[on_end_asked]` runs,
    /// and unless that says no its owner is told ([`end_asked`](Self::end_asked)).
    ///
    /// It can be asked again, also at once and after the end. The `shutdown` of every proxy does
    /// the same, with an error for `main` functions; this one is for code over any actor, and for
    /// those that tell the errors apart.
    ///
    /// # Errors
    /// [`ShutdownError`] when it ended otherwise, now or before.
    ///
    /// # Cancel safety
    /// Once it was polled, the actor ends all the same.
    ///
    /// # Examples
    /// ```
    /// use callboard::ShutdownError;
    /// use callboard::prelude::*;
    ///
    /// async fn was_in_time(actor: impl Proxy) -> bool {
    ///     !matches!(actor.stop().await, Err(ShutdownError::Killed { .. }))
    /// }
    /// ```
    fn stop(&self) -> impl Future<Output = Result<(), ShutdownError>> + Send {
        self.__handle().shutdown()
    }

    /// Kills the actor's process, and all of its group, and waits until it is gone.
    ///
    /// No queue is waited for, no destructor runs, nothing is asked: for an actor that is worth
    /// nothing any more. Calls that it had read may have run, all others did not. The actors that
    /// it has started end with it. Nothing happens if it has ended before. A
    /// [connected](crate::Connect) proxy kills nobody: its connection ends at once.
    ///
    /// # Cancel safety
    /// Once it was polled, the process is killed all the same.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::prelude::*;
    ///
    /// pub struct Stuck;
    ///
    /// #[actor]
    /// impl Stuck {
    ///     pub fn new() -> Self { Self }
    ///     pub fn block(&mut self) { loop { std::thread::park() } }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let stuck = Stuck::spawn().await?;
    ///     let endless = stuck.block().start();
    ///     println!("{}", stuck.kill().await);                // SIGKILL (9)
    ///     assert!(matches!(endless.await, Err(CallError::Died { .. })));
    ///     Ok(())
    /// }
    /// ```
    fn kill(&self) -> impl Future<Output = Exit> + Send {
        let life = &self.__handle().owner().life;
        async {
            life.being.kill();
            life.exited().await
        }
    }

    /// Waits until a [connected](crate::Connect) proxy asks for the actor's end by
    /// [`stop`](Self::stop) or `shutdown`, or the actor has ended: for whoever started it, to end
    /// it then or not. Of a supervised actor it may be any of its lives that was asked, of a
    /// [pool](crate::pool) any of its members.
    ///
    /// # Cancel safety
    /// Nothing is lost: it can be asked again.
    ///
    /// # Examples
    /// A server that ends when a client says so:
    /// ```
    /// use callboard::{Proxy, ShutdownError};
    ///
    /// async fn serve(actor: impl Proxy) -> Result<(), ShutdownError> {
    ///     actor.end_asked().await;
    ///     actor.stop().await
    /// }
    /// ```
    fn end_asked(&self) -> impl Future<Output = ()> + Send {
        self.__handle().owner().life.being.asked()
    }

    /// Waits until the actor's process has ended, and tells how. Of a [connected](crate::Connect)
    /// actor, until the connection has: code 0 where the actor had ended in order, how it died
    /// where that is told, else [`Exit::Disconnected`].
    ///
    /// # Cancel safety
    /// Nothing is lost: it can be asked again.
    ///
    /// # Examples
    /// ```
    /// use callboard::Exit;
    /// use callboard::prelude::*;
    ///
    /// async fn has_failed(actor: impl Proxy) -> bool {
    ///     actor.exited().await != Exit::Code(0)
    /// }
    /// ```
    fn exited(&self) -> impl Future<Output = Exit> + Send {
        self.__handle().owner().life.exited()
    }
}

fn text(tail: Option<&Tail>) -> String {
    tail.map(Tail::text).unwrap_or_default()
}
