//! A ward: a started process in the hands of those who use it.
//!
//! What is open for the process belongs to its ward until the warden has reaped it; whatever a
//! ward does, it does under its lock, so that nothing is ever sent to a number or a descriptor
//! that means something else by then. Only the warden reaps.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::berth::{Berth, Way};
use super::exited::Exited;
use super::family_key;
use super::heartbeat::Heartbeat;
use super::remote::grave::{Sockets, Will};
use super::remote::listen::{entrance_keys, keys_of_doors};
use crate::node::warden::{Command, Office};
use crate::sys::gateway::{Name, Opener};
use crate::sys::process::{Child, Exit};
use crate::sys::socket::Lifeline;
use crate::transport::auth_key::AuthKey;
use crate::wire::hello::Network;

/// The packet that asks a process to stop.
pub(crate) const STOP: &[u8] = b"stop";

/// The packet by which a process says that a caller, who does not own it, asks for its end.
pub(crate) const ASKED: &[u8] = b"asked";

/// The packet that asks a process whether it still works, and its answer.
pub(crate) const BEAT: &[u8] = b"beat";

/// The packet with the socket at which the process's family enters: the parent's, or, of an actor
/// that another one may follow, that which it has opened itself.
pub(crate) const ENTRANCE: &[u8] = b"entrance";

/// The packet with a copy of a gateway of the process at which nobody lets in when that has ended.
pub(crate) const GATEWAY: &[u8] = b"gateway";

/// The packet with copies of the sockets at which others connect to the process.
pub(crate) const DOORS: &[u8] = b"doors";

/// A handle of a started process; dropping it does nothing to the process.
#[derive(Clone)]
pub(crate) struct Ward(Arc<Shared>);

struct Shared {
    id: u64,
    pid: u32,
    office: Arc<Office>,
    state: Mutex<State>,
    exit: Exited,
    terms: OnceLock<Terms>,
    /// Somebody who does not own it has asked for its end.
    asked: watch::Sender<bool>,
}

struct State {
    /// Until it is reaped, which the warden alone does.
    body: Option<Body>,
    /// Whether it was sent the stop packet.
    asked: bool,
    /// When the grace is over.
    kill_at: Option<Instant>,
    killed: bool,
    /// Whether it was killed because its grace was over.
    overdue: bool,
    /// Whether it was killed because it hung.
    hung: bool,
    /// Where its family enters, once somebody was told.
    entrance: Option<(Name, Opener)>,
    /// Copies of what it listens at, for those who ask how it ended.
    sockets: Sockets,
}

impl State {
    /// Has the process accept those who come this way.
    fn open(&mut self, way: &Way) -> io::Result<(Name, Opener)> {
        if let Some(body) = &self.body {
            match body.lifeline.send(ENTRANCE, &[way.as_fd()]) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                // Of one that is ending, the name is gone when we let go of it.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(*self.entrance.get_or_insert_with(|| way.entrance()))
    }
}

/// What those need to know who are to enter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// It may run another program than this process.
    pub(crate) is_other_program: bool,
    /// How it listens, if it does.
    network: Option<Network>,
    /// If another one may follow it.
    pub(crate) berth: Option<Arc<Berth>>,
}

impl Terms {
    /// Those of a process that is started so.
    pub(crate) fn of(
        is_other_program: bool,
        network: Option<Network>,
        berth: Option<Arc<Berth>>,
    ) -> Self {
        Self {
            is_other_program,
            network,
            berth,
        }
    }

    /// What opens each place at which it listens, where the family has this key in common.
    fn keys_of_doors(&self, family: &AuthKey) -> Vec<Arc<[AuthKey]>> {
        let network = self.network.as_ref();
        network.map_or_else(Vec::new, |network| keys_of_doors(network, family))
    }

    /// Of which they must have one, where the family has this one in common.
    pub(crate) fn keys(&self, family: &AuthKey) -> Box<[AuthKey]> {
        entrance_keys(self.network.as_ref(), family)
    }
}

/// What is open here for a process.
pub(crate) struct Body {
    pub(crate) child: Child,
    pub(crate) lifeline: Lifeline,
}

impl Ward {
    /// The warden's: a process that it has just started, as `id`.
    pub(crate) fn new(id: u64, body: Body, office: Arc<Office>) -> Self {
        let pid = body.child.pid();
        let state = State {
            body: Some(body),
            asked: false,
            kill_at: None,
            killed: false,
            overdue: false,
            hung: false,
            entrance: None,
            sockets: Sockets::default(),
        };
        let exit = Exited::new();
        Self(Arc::new(Shared {
            id,
            pid,
            office,
            state: Mutex::new(state),
            exit,
            terms: OnceLock::new(),
            asked: watch::Sender::new(false),
        }))
    }

    /// The warden's: a caller has asked for its end.
    pub(crate) fn note_asked(&self) {
        self.0.asked.send_replace(true);
    }

    /// Waits until a caller has asked for its end, or that has come.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn asked(&self) {
        self.0.exit.or_asked(&self.0.asked).await;
    }

    /// Whether a caller has asked for its end.
    pub(crate) fn was_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// Where the processes of its family enter, made now if nobody asked before. Once it has ended,
    /// that is where nobody listens.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors are free.
    pub(crate) fn entrance(&self) -> io::Result<(Name, Opener)> {
        let mut state = lock(&self.0.state);
        if let Some(entrance) = state.entrance {
            return Ok(entrance);
        }
        match self.berth() {
            // It stays open for who follows, who lets in there: nothing is told at it.
            Some(berth) => state.open(&berth.way()?),
            None => {
                let way = Way::open()?;
                let entrance = state.open(&way)?;
                if state.body.is_some() {
                    state.sockets.keep_gateway(way.into_socket());
                }
                Ok(entrance)
            }
        }
    }

    /// If another one may follow it.
    fn berth(&self) -> Option<&Arc<Berth>> {
        self.0.terms.get().and_then(|terms| terms.berth.as_ref())
    }

    /// Has it let those in who have proxies of the lives before.
    ///
    /// # Errors
    ///
    /// The system's: no descriptors are free.
    pub(crate) fn take_berth(&self) -> io::Result<()> {
        let ways = self
            .berth()
            .map_or_else(|| Ok(Vec::new()), |berth| berth.ways())?;
        let mut state = lock(&self.0.state);
        ways.iter().try_for_each(|way| state.open(way).map(|_| ()))
    }

    /// The warden's: it has opened this way by itself.
    pub(crate) fn note_way(&self, way: Way) {
        lock(&self.0.state)
            .entrance
            .get_or_insert_with(|| way.entrance());
        if let Some(berth) = self.berth() {
            berth.add(way);
        }
    }

    /// The warden's: the process listens at these, too, and has sent copies.
    pub(crate) fn keep_sockets(&self, is_gateway: bool, sockets: Vec<OwnedFd>) {
        let mut state = lock(&self.0.state);
        if state.body.is_none() {
            return;
        }
        if is_gateway {
            let sockets = sockets.into_iter();
            sockets.for_each(|socket| state.sockets.keep_gateway(socket));
        } else {
            state.sockets.keep_doors(sockets);
        }
    }

    /// The warden's: it has ended, and this is for those who ask how. Of one that ended as it was
    /// asked to there is nothing to ask.
    pub(crate) fn take_will(&self, exit: Exit) -> Will {
        let mut state = lock(&self.0.state);
        let sockets = std::mem::take(&mut state.sockets);
        if state.asked && exit == Exit::Code(0) {
            return Will::default();
        }
        drop(state);
        let Ok(family) = family_key::of_this_process() else {
            return Will::default();
        };
        let terms = self.terms();
        Will {
            sockets,
            keys: terms.keys(&family),
            keys_of_doors: terms.keys_of_doors(&family),
        }
    }

    /// Tells what those need to know who are to enter.
    pub(crate) fn set_terms(&self, terms: Terms) {
        // Set once, by whoever starts it.
        let _ = self.0.terms.set(terms);
    }

    /// What those need to know who are to enter.
    pub(crate) fn terms(&self) -> Terms {
        self.0.terms.get().cloned().unwrap_or_default()
    }

    /// The process's number, for people; it may be another's once this one has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it stands still by a signal.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.0.state)
            .body
            .as_ref()
            .is_some_and(|body| body.child.is_stopped())
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.0.exit.get()
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost; the end is told to each who asks.
    pub(crate) async fn exited(&self) -> Exit {
        self.0.exit.wait().await
    }

    /// Asks it to stop, and kills it after `grace`; asked again, only a shorter grace counts.
    pub(crate) fn stop(&self, grace: Duration) {
        let mut state = lock(&self.0.state);
        let State {
            body: Some(body),
            asked,
            kill_at,
            ..
        } = &mut *state
        else {
            return;
        };
        if !*asked {
            *asked = true;
            if let Err(error) = body.lifeline.send(STOP, &[]) {
                // It is ending already, or takes no packets; the grace decides.
                tracing::debug!(pid = self.0.pid, %error, "stop not sent");
            }
            crate::sys::failpoint::at("parent.stop.after");
        }
        // A grace beyond the end of time is none.
        let Some(at) = Instant::now().checked_add(grace) else {
            return;
        };
        if kill_at.is_none_or(|earlier| at < earlier) {
            *kill_at = Some(at);
            drop(state);
            self.0.office.post(Command::KillAt(at, self.0.id));
        }
    }

    /// Kills it and its process group now.
    pub(crate) fn kill(&self) {
        let mut state = lock(&self.0.state);
        if let State {
            body: Some(body),
            killed,
            ..
        } = &mut *state
        {
            *killed = true;
            body.child.kill();
            crate::sys::failpoint::at("parent.kill.after");
        }
    }

    /// The warden's: kills it, for its grace is over.
    pub(crate) fn kill_overdue(&self) {
        let mut state = lock(&self.0.state);
        // If it was killed before, this is not what it died of.
        state.overdue |= state.body.is_some() && !state.killed;
        drop(state);
        self.kill();
    }

    /// Has the warden ask it from now on whether it still works.
    pub(crate) fn watch_pulse(&self, heartbeat: Heartbeat) {
        self.0
            .office
            .post(Command::WatchPulse(heartbeat, self.0.id));
    }

    /// The warden's: asks it whether it still works, unless it is to end.
    pub(crate) fn ask_beat(&self) {
        let state = lock(&self.0.state);
        if let State {
            body: Some(body),
            asked: false,
            ..
        } = &*state
            && let Err(error) = body.lifeline.send(BEAT, &[])
        {
            // It is ending already, or takes no packets; the next periods tell.
            tracing::debug!(pid = self.0.pid, %error, "heartbeat not sent");
        }
    }

    /// Whether it was asked to stop.
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        lock(&self.0.state).asked
    }

    /// The warden's: kills it, for it hangs.
    pub(crate) fn kill_hung(&self) {
        let mut state = lock(&self.0.state);
        state.hung |= state.body.is_some() && !state.killed;
        drop(state);
        self.kill();
    }

    /// Whether it died of having hung.
    pub(crate) fn is_hung(&self) -> bool {
        let state = lock(&self.0.state);
        state.hung && state.killed
    }

    /// Whether it died of having had no time left to end by itself.
    pub(crate) fn is_overdue(&self) -> bool {
        let state = lock(&self.0.state);
        state.overdue && state.killed
    }

    /// Whether it was we who killed it, because it did not greet, its grace ran out, or by
    /// [`kill`](Self::kill).
    pub(crate) fn was_killed_by_us(&self) -> bool {
        lock(&self.0.state).killed
    }

    /// The warden's: what is open for the process, if it has ended.
    pub(crate) fn reap(&self) -> Option<(Exit, Body)> {
        let mut state = lock(&self.0.state);
        let exit = match state.body.as_mut()?.child.try_reap() {
            Ok(exit) => exit?,
            Err(error) => {
                tracing::error!(pid = self.0.pid, %error, "ended process not reaped");
                Exit::Unknown
            }
        };
        // It may have ended by itself just before it was to be killed.
        state.killed &= matches!(
            exit,
            Exit::Signal {
                number: libc::SIGKILL,
                ..
            }
        );
        Some((exit, state.body.take()?))
    }

    /// The warden's: tells the end to each who waits for it.
    pub(crate) fn tell(&self, exit: Exit) {
        self.0.exit.tell(exit);
    }

    /// The warden's: does something with what is open for the process, unless it is reaped.
    pub(crate) fn with_body<T>(&self, use_it: impl FnOnce(&Body) -> T) -> Option<T> {
        lock(&self.0.state).body.as_ref().map(use_it)
    }
}

impl fmt::Debug for Ward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ward")
            .field("pid", &self.0.pid)
            .field("exit", &self.exit())
            .finish()
    }
}

/// The first packet of a process, as a future; dropped before that is ready, it kills the process.
#[derive(Debug)]
pub(crate) struct Greeting {
    packet: oneshot::Receiver<Result<Vec<u8>, GreetError>>,
    /// Until the packet is handed over.
    unwanted: Option<Ward>,
}

impl Greeting {
    /// The warden's: the packet of `ward`.
    pub(crate) fn new(packet: oneshot::Receiver<Result<Vec<u8>, GreetError>>, ward: Ward) -> Self {
        Self {
            packet,
            unwanted: Some(ward),
        }
    }
}

impl Future for Greeting {
    type Output = Result<Vec<u8>, GreetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let packet = ready!(Pin::new(&mut self.packet).poll(cx));
        self.unwanted = None;
        Poll::Ready(packet.unwrap_or(Err(GreetError::Exited)))
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        if let Some(ward) = self.unwanted.take() {
            ward.kill();
        }
    }
}

/// A process was started and did not greet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GreetError {
    /// Not in time; it is killed.
    #[error("the process did not greet in time")]
    Silent,
    /// It ended before.
    #[error("the process ended before it greeted")]
    Exited,
}

/// No state here can be left half-changed by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
