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
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::{HandOnError, home_at};
use crate::actor::Actor;
use crate::actor::context::Itself;
use crate::actor::port::Port;
use crate::actor::signals::{Arrival, Line, Signals};
use crate::node::berth::Way;
use crate::node::family_key;
use crate::node::remote::door::Plate;
use crate::node::remote::grave;
use crate::node::spawn::MESSAGE_LEN_MAX;
use crate::sys::doorbell::Doorbell;
use crate::sys::gateway::{Gateway, Listening, Name, Opener};
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
use crate::wire::passport::{BUSY, ENTER_LEN_MAX, Enter, Home, LOCKED, NO_ROOM};

/// How many callers an actor has at most that have entered.
const CALLERS_MAX: usize = 1024;

/// How long one who has entered may take to say what it wants.
const ENTER_WITHIN: Duration = Duration::from_secs(5);

/// How long is waited when there are no descriptors for those who enter.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

static RESIDENTS: Mutex<Option<HashMap<ActorKey, Arc<Resident>>>> = Mutex::new(None);

/// Tells whoever keeps the ways in for the next life that this one has opened one.
pub(crate) type Announce = Box<dyn Fn(BorrowedFd<'_>) -> io::Result<()> + Send + Sync>;

/// An actor that lives in this process.
pub(crate) struct Resident {
    pub(super) itself: Itself,
    plate: Plate,
    /// If another one may follow it.
    announce: Option<Announce>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where others enter, if it was opened here.
    entrance: Option<(Name, Opener)>,
    /// All names under which others enter.
    ways: Vec<Name>,
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

/// What the neighbours of `actor` need to know of it, if it lives here and there is room for them.
pub(crate) fn home_of(actor: ActorKey) -> Option<Home> {
    let home = find(actor)?.home();
    home.inspect_err(|error| tracing::debug!(%error, "others reach it over the network only"))
        .ok()
}

/// Lets the family of `actor` enter by this socket, if the actor lives here.
pub(crate) fn open(actor: ActorKey, socket: OwnedFd) {
    if let Some(resident) = find(actor) {
        match Way::of(socket).and_then(|way| resident.open(way)) {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "nobody can enter"),
        }
    }
}

impl Resident {
    /// An actor that lives here from now on: `who` it is, its longest message, and what others are
    /// told on its `plate`. If others may follow it, those come in by the ways of the lives before
    /// who have their proxies, and of its own it tells. Must be called within its runtime.
    pub(crate) fn of<A: Actor>(
        (actor, message_len_max): (ActorKey, usize),
        signals: &Signals,
        plate: Plate,
        returning: Option<(Announce, Vec<Way>)>,
    ) -> Arc<Self> {
        let (announce, ways) = returning.unzip();
        let itself = Itself {
            actor,
            interface: const { &A::INTERFACE },
            message_len_max,
            signals: signals.clone(),
        };
        let resident = Arc::new(Self {
            itself,
            plate,
            announce,
            runtime: Handle::current(),
            state: Mutex::default(),
        });
        let mut residents = RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let residents = residents.get_or_insert_default();
        residents.insert(actor, Arc::clone(&resident));
        for way in ways.into_iter().flatten() {
            if let Err(error) = resident.open(way) {
                tracing::warn!(%error, "who has a proxy of an earlier life cannot enter");
            }
        }
        resident
    }

    /// It lives here no more. Those who have entered are told by this `word`: `BYE` if it has
    /// ended in order. None: whoever has started it will tell.
    pub(crate) fn leave(&self, word: Option<&[u8]>) {
        let mut residents = RESIDENTS.lock().unwrap_or_else(PoisonError::into_inner);
        let actor = self.itself.actor;
        // Another one may live here by now that is known by the same key.
        let own = residents.as_mut().and_then(|residents| {
            let found = residents.get(&actor)?;
            std::ptr::eq(Arc::as_ptr(found), self).then(|| residents.remove(&actor))
        });
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
    fn entrance(self: &Arc<Self>) -> io::Result<(Name, Opener)> {
        let known = self.lock().entrance;
        if let Some(known) = known {
            return Ok(known);
        }
        let way = Way::open()?;
        match &self.announce {
            Some(announce) => announce(way.as_fd())?,
            // Nobody follows: whoever has started it tells there how it ended.
            None => grave::entrust_gateway(way.as_fd()),
        }
        self.open(way)
    }

    /// What its neighbours need to know of it.
    ///
    /// # Errors
    /// [`HandOnError`]: no descriptors are free, or there is no key for its family.
    pub(super) fn home(self: &Arc<Self>) -> Result<Home, HandOnError> {
        let own = family_key::of_this_process()?;
        let (keys, program) = (&self.plate.keys, machine::program());
        Ok(home_at(
            self.entrance()?,
            keys,
            &own,
            program,
            self.returns(),
        ))
    }

    /// Whether another one may follow it.
    fn returns(&self) -> bool {
        self.announce.is_some()
    }

    /// Accepts those who come this way, too. Tells where others are to enter.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(self: &Arc<Self>, way: Way) -> io::Result<(Name, Opener)> {
        let entrance = way.entrance();
        let is_new = {
            let mut state = self.lock();
            let is_new = !state.ways.contains(&entrance.0);
            state.ways.extend(is_new.then_some(entrance.0));
            is_new
        };
        if is_new {
            self.accept_at(way.into_socket(), entrance.0)?;
        }
        Ok(*self.lock().entrance.get_or_insert(entrance))
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

    /// One who shows a key, as a caller of the actor.
    ///
    /// # Errors
    /// What it is told.
    fn admit(
        &self,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
        name: &Name,
    ) -> Result<Arrival, &'static [u8]> {
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
        let line = Line::new(
            (link.sender, Idle::Park),
            board,
            self.itself.message_len_max,
        );
        let line = Arc::new(line);
        Ok(Arrival { port, line })
    }

    /// Has the actor serve one who was admitted, and tells him first whom to ask how it has ended,
    /// if that is not where he came in.
    fn serve(&self, arrival: Arrival, lifeline: &Listening) -> Arc<Line> {
        let inquiry = self.returns().then(grave::inquiry).flatten();
        if let Some(Ok(packet)) = inquiry.map(|inquiry| inquiry.packet()) {
            // Who is gone need not hear it.
            let _ = lifeline.send(&packet, &[]);
        }
        let line = Arc::clone(&arrival.line);
        self.itself.signals.arrive(arrival);
        line
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
        Ok(Ok(Packet { len, fds, .. })) => strong.admit(&buffer[..len], fds, &name),
        // Its descriptors found no room here.
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(NO_ROOM),
        Ok(Err(_)) | Err(_) => Err(LOCKED),
    };
    let admitted = admitted.map(|arrival| strong.serve(arrival, &lifeline));
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
