//! The actors that live in this process, as those reach them who did not start them.
//!
//! ```text
//!  gateway ── accept ──> Enter: the right key? ──> a link ──> one more line of the actor's inbox
//!                                 └ no: told why, and sent away
//! ```
//!
//! All of it runs on the actor's own runtime. Who enters while that is busy need not wait: the
//! memory of its link is its own, and what it writes there is found later.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::id_of;
use crate::actor::Actor;
use crate::actor::context::Itself;
use crate::actor::port::Port;
use crate::actor::signals::{Arrival, Line, Signals};
use crate::node::remote::door::Plate;
use crate::node::remote::grave;
use crate::node::spawn::MESSAGE_LEN_MAX;
use crate::sys::doorbell::Doorbell;
use crate::sys::gateway::{self, Gateway, Listening, Name, Opener};
use crate::sys::machine;
use crate::sys::memory::Segment;
use crate::sys::socket::{Lifeline, Packet};
use crate::transport::Link;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::board::{Board, Geometry, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::porter::Porter;
use crate::transport::shm::{Bells, connect};
use crate::wire::chain::ActorKey;
use crate::wire::hello;
use crate::wire::passport::{BUSY, ENTER_LEN_MAX, Enter, Entrance, LOCKED, NO_ROOM};

/// How many callers an actor has at most that have entered.
const CALLERS_MAX: usize = 1024;

/// How long one who has entered may take to say what it wants.
const ENTER_WITHIN: Duration = Duration::from_secs(5);

/// How long is waited when there are no descriptors for those who enter.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

static RESIDENTS: Mutex<Option<HashMap<ActorKey, Arc<Resident>>>> = Mutex::new(None);

/// An actor that lives in this process.
pub(crate) struct Resident {
    pub(super) itself: Itself,
    plate: Plate,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where others enter, if it was opened here.
    entrance: Option<(Name, Opener)>,
    /// Who accepts.
    accepting: Vec<AbortHandle>,
    /// Those who have entered, by a number that never recurs.
    callers: HashMap<u64, Entered>,
    last: u64,
    has_left: bool,
}

/// One who has entered.
struct Entered {
    lifeline: Arc<Listening>,
    hearing: AbortHandle,
}

/// The one with this key, if it lives here.
pub(crate) fn find(actor: ActorKey) -> Option<Arc<Resident>> {
    let residents = RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner);
    residents.as_ref()?.get(&actor).cloned()
}

/// Lets the family of `actor` enter by this socket, if the actor lives here.
pub(crate) fn open(actor: ActorKey, socket: OwnedFd) {
    if let Some(resident) = find(actor) {
        let named = gateway::name_of(&socket);
        match named.and_then(|name| resident.accept_at(socket, name)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "nobody can enter"),
        }
    }
}

impl Resident {
    /// An actor that lives here from now on, of which others are told what is on its `plate`. Must
    /// be called within its runtime.
    pub(crate) fn of<A: Actor>(
        actor: ActorKey,
        message_len_max: usize,
        signals: &Signals,
        plate: Plate,
    ) -> Arc<Self> {
        let itself = Itself {
            actor,
            interface: const { &A::INTERFACE },
            message_len_max,
            signals: signals.clone(),
        };
        let resident = Arc::new(Self {
            itself,
            plate,
            runtime: Handle::current(),
            state: Mutex::default(),
        });
        let mut residents = RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let residents = residents.get_or_insert_default();
        residents.insert(actor, Arc::clone(&resident));
        resident
    }

    /// It lives here no more. Those who have entered are told by this `word`: `BYE` if it has
    /// ended in order. None: whoever has started it will tell.
    pub(crate) fn leave(&self, word: Option<&[u8]>) {
        let mut residents = RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let own = residents.as_mut();
        let own = own.and_then(|residents| residents.remove(&self.itself.actor));
        drop((residents, own));
        let mut state = self.lock();
        state.has_left = true;
        state.accepting.drain(..).for_each(|task| task.abort());
        let callers = std::mem::take(&mut state.callers);
        drop(state);
        for Entered { lifeline, hearing } in callers.into_values() {
            if let Some(word) = word {
                // Who is gone need not hear it.
                let _ = lifeline.send(word, &[]);
            }
            hearing.abort();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where others connect to it.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.plate.addresses
    }

    /// Where its family enters, opened now if nobody asked before.
    ///
    /// # Errors
    /// The system's: no descriptors are free.
    pub(super) fn entrance(self: &Arc<Self>) -> io::Result<Entrance> {
        let known = self.lock().entrance;
        let (name, Opener { pid, uid }) = match known {
            Some(known) => known,
            None => {
                let (socket, name) = gateway::open()?;
                grave::entrust_gateway(&socket);
                self.accept_at(socket, name)?;
                *self
                    .lock()
                    .entrance
                    .get_or_insert_with(|| (name, Opener::here()))
            }
        };
        Ok(Entrance {
            name,
            opener: (pid, uid),
            program: machine::program(),
            locks: self.plate.keys.iter().map(id_of).collect(),
        })
    }

    fn accept_at(self: &Arc<Self>, socket: OwnedFd, name: Name) -> io::Result<()> {
        let entered = self.runtime.enter();
        let gateway = Gateway::of(socket)?;
        drop(entered);
        let accepting = accept(Arc::downgrade(self), gateway, name);
        let mut state = self.lock();
        if !state.has_left {
            let accepting = self.runtime.spawn(accepting);
            state.accepting.push(accepting.abort_handle());
        }
        Ok(())
    }

    /// Hears one who has entered, until it goes.
    fn receive(self: &Arc<Self>, lifeline: Lifeline, name: Name) {
        let entered = self.runtime.enter();
        let Ok(lifeline) = Listening::to(lifeline) else {
            return;
        };
        drop(entered);
        let lifeline = Arc::new(lifeline);
        let mut state = self.lock();
        if state.has_left {
            return;
        }
        if state.callers.len() >= CALLERS_MAX {
            let _ = lifeline.send(BUSY, &[]);
            return;
        }
        state.last += 1;
        let number = state.last;
        let hearing = hear(Arc::downgrade(self), Arc::clone(&lifeline), (number, name));
        let hearing = self.runtime.spawn(hearing).abort_handle();
        state.callers.insert(number, Entered { lifeline, hearing });
    }

    /// Makes one who shows a key a caller of the actor.
    ///
    /// # Errors
    /// What it is told.
    fn admit(
        &self,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        name: &Name,
    ) -> Result<Arc<Line>, &'static [u8]> {
        let enter: Enter = hello::decode(bytes).map_err(|_| LOCKED)?;
        let proof = AuthKey::from(enter.proof.0);
        if !self.plate.keys.iter().any(|key| key.proof(name) == proof) {
            tracing::warn!("one who wanted to enter has another key");
            return Err(LOCKED);
        }
        let link = lay(&enter, fds).map_err(|error| {
            tracing::warn!(%error, "one who wanted to enter could not");
            NO_ROOM
        })?;
        if let Some(porter) = &link.porter {
            let signals = self.itself.signals.clone();
            porter.set_wake(move || signals.tell());
        }
        let board = link.board.clone();
        let incoming = (link.receiver, link.glance);
        let port = Port::new(incoming, link.board, link.ear, Idle::Park);
        let line = Line::new(link.sender, board, self.itself.message_len_max);
        let line = Arc::new(line);
        let arrival = Arrival {
            port,
            line: Arc::clone(&line),
        };
        self.itself.signals.arrive(arrival);
        Ok(line)
    }
}

async fn accept(resident: Weak<Resident>, gateway: Gateway, name: Name) {
    loop {
        let accepted = gateway.accept().await;
        let Some(resident) = resident.upgrade() else {
            return;
        };
        match accepted {
            Ok(lifeline) => resident.receive(lifeline, name),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "one who wanted to enter could not");
                drop(resident);
                sleep(EXHAUSTED_FOR).await;
            }
        }
    }
}

async fn hear(resident: Weak<Resident>, lifeline: Arc<Listening>, (number, name): (u64, Name)) {
    let mut buffer = vec![0; ENTER_LEN_MAX];
    let first = timeout(ENTER_WITHIN, lifeline.recv(&mut buffer)).await;
    let Some(strong) = resident.upgrade() else {
        return;
    };
    let admitted = match first {
        Ok(Ok(Packet { len, fds })) => strong.admit(&buffer[..len], fds, &name),
        // Its descriptors found no room here.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(NO_ROOM),
        Ok(Err(_)) | Err(_) => Err(LOCKED),
    };
    drop(strong);
    let line = match admitted {
        Ok(line) => {
            // Nothing else is said; what comes is the end.
            while matches!(lifeline.recv(&mut buffer).await, Ok(packet) if packet.len > 0) {}
            Some(line)
        }
        Err(why) => {
            let _ = lifeline.send(why, &[]);
            None
        }
    };
    if let Some(resident) = resident.upgrade() {
        drop(resident.lock().callers.remove(&number));
        if let Some(line) = line {
            resident.itself.signals.close(&line);
        }
    }
}

/// The server's end of the link of one who enters.
fn lay(enter: &Enter, fds: Vec<OwnedFd>) -> io::Result<Link> {
    let Ok([memory, own, peer, beside]) = <[_; 4]>::try_from(fds) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let geometry = Geometry::new(enter.ring_capacity, enter.slots)
        .and_then(|geometry| geometry.with_arenas(enter.arena_limit))
        .map_err(io::Error::other)?;
    let segment = Segment::passed(memory, geometry.segment_len()).map_err(io::Error::other)?;
    let segment = Arc::new(segment);
    if !Board::new(Memory(Arc::clone(&segment)), geometry).is_stamped() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bells = Bells {
        own: Doorbell::from_fd(own),
        peer: Doorbell::from_fd(peer),
    };
    let mut link = connect(segment, geometry, Side::Server, bells, MESSAGE_LEN_MAX)?;
    // Another program may be anything.
    if enter.program == 0 || enter.program != machine::program() {
        link.receiver.distrust();
    }
    Ok(link.attach(Porter::from_fd(beside)?))
}
