//! Where an actor is reached from outside: who knocks is admitted, or sent away.
//!
//! ```text
//!  accept ─> gate ─> handshake, 64 at a time ─> Welcome, Join ─> a line of the inbox
//!              └ failed often, or no room: sent away unheard
//! ```
//!
//! What a stranger can make it do is bounded: in time, in bytes, in number. When more knock at once
//! than may, the others wait to be accepted, as all clients of an actor do that was started anew.
//! Who has stood there for long by then is sent away, for an honest one is soon done.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::actor::port::Port;
use crate::actor::signals::{Arrival, Line, Signals};
use crate::node::family_key;
use crate::sys::clock;
use crate::sys::endpoint::Endpoint;
use crate::sys::machine;
use crate::transport::address::Address;
use crate::transport::auth_key::{AuthKey, AuthKeyError};
use crate::transport::board::{Geometry, Side};
use crate::transport::gate::{Gate, Source};
use crate::transport::handshake::{AdmitError, HANDSHAKE_WITHIN, admit, recv_packet, send_packet};
use crate::transport::idle::Idle;
use crate::transport::net::{Bound, Listener, Wire};
use crate::transport::noise::Preamble;
use crate::transport::relay::{Parting, Relay, part};
use crate::transport::sealed_stream::Sealed;
use crate::transport::stream::{Pumping, Runtimes, lay_remote};
use crate::transport::unix::pumps;
use crate::wire::hello::{self, Tables};
use crate::wire::passport::Home;
use crate::wire::welcome::{JOIN_LEN_MAX, Join, Welcome};

/// How many strangers may stand at a door at once.
const STRANGERS_MAX: usize = 64;

/// How long a stranger may stand there when others wait: five times what all of them take who have
/// the key and come at once.
const PATIENCE: Duration = Duration::from_millis(250);

/// The same where there is room for few callers: as long as an honest one takes who comes from far
/// away.
const PATIENCE_OF_FEW: Duration = Duration::from_secs(1);

/// How long is waited when the system has no descriptors for those who knock.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

/// Bytes of each of the two rings that a connection has on either side: the most memory that it
/// takes, which comes with use. Half of one is on its way of a large message; with 128 KiB a
/// megabyte takes twice as long (`benches/network.rs`).
pub(crate) const RING_CAPACITY: u64 = 256 * 1024;

/// Calls that one caller may have in flight before further ones wait to be sent.
pub(crate) const SLOTS: u64 = 1024;

/// The longest message over a network in bytes.
pub(crate) const MESSAGE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Tells where an actor lives; nothing, if there is no room for who would enter there.
pub(crate) type AskHome = Box<dyn Fn() -> Option<Home> + Send + Sync>;

/// What is to be behind a door.
pub(crate) struct Behind {
    pub(crate) tables: Tables,
    /// The actor's key on this machine.
    pub(crate) key: u64,
    /// Where it lives.
    pub(crate) home: AskHome,
    pub(crate) signals: Signals,
}

/// How much of its callers an actor takes at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// The bytes of blobs that came over one connection and are in use.
    pub(crate) blob_limit: u64,
}

/// What is said of an actor to those who are to call it.
pub(crate) struct Plate {
    /// Of which its family must have one to enter.
    pub(crate) keys: Box<[AuthKey]>,
    /// Where others connect to it.
    pub(crate) addresses: Box<[Address]>,
}

/// An actor's door. Dropped, it is closed at once.
pub(crate) struct Door(Arc<Inside>);

struct Inside {
    /// Of which those of the actor's family must have one who enter without knocking.
    entrance_keys: Box<[AuthKey]>,
    /// Where others reach the actor.
    addresses: Box<[Address]>,
    /// Without the home.
    welcome: Welcome,
    home: AskHome,
    signals: Signals,
    limits: Limits,
    pumps: Handle,
    /// Where the actor runs.
    runtime: Handle,
    began: Instant,
    state: Mutex<State>,
    /// A stranger has gone, or is none any more.
    moved: Notify,
}

#[derive(Default)]
struct State {
    gate: Gate,
    accepting: Vec<AbortHandle>,
    /// What is to be removed from the file system.
    names: Vec<Endpoint>,
    /// The eldest first.
    strangers: VecDeque<Stranger>,
    /// By a number that never recurs.
    callers: HashMap<u64, Caller>,
    last: u64,
    closed: bool,
}

/// Somebody who knocks.
struct Stranger {
    source: Source,
    since: Duration,
    /// Has shown that it has the key: it is to be a caller.
    has_key: Arc<AtomicBool>,
    task: AbortHandle,
}

impl State {
    /// How many more may become callers, beside those who have shown that they have the key.
    fn room(&mut self, connections_max: usize) -> usize {
        self.strangers
            .retain(|stranger| !stranger.task.is_finished());
        let known = self.strangers.iter().filter(|known| known.has_key());
        connections_max.saturating_sub(self.callers.len() + known.count())
    }

    /// The eldest of those who have shown nothing yet, if there are as many as may be: no more than
    /// there is room for callers, so that each who has the key is let in, and they hold up others
    /// for no longer than they may stand there.
    fn eldest_of_too_many(&self, room: usize) -> Option<usize> {
        let strange = self.strangers.iter().enumerate();
        let mut strange = strange.filter(|(_, stranger)| !stranger.has_key());
        let (eldest, _) = strange.next()?;
        (1 + strange.count() >= room.min(STRANGERS_MAX)).then_some(eldest)
    }
}

impl Stranger {
    fn has_key(&self) -> bool {
        // Relaxed: it says only this, and may be a moment late.
        self.has_key.load(Ordering::Relaxed)
    }
}

/// A caller that was admitted.
struct Caller {
    relay: Arc<dyn Relay>,
    /// Dropped, it ends the connection.
    _pumping: Pumping,
}

impl Door {
    /// A door that is still closed: those who knock wait. Must be called where the actor runs.
    ///
    /// # Errors
    /// The system's: no thread.
    pub(crate) fn new(
        behind: Behind,
        (entrance_keys, addresses): (Box<[AuthKey]>, Box<[Address]>),
        limits: Limits,
    ) -> io::Result<Self> {
        let welcome = Welcome {
            tables: behind.tables,
            machine: machine::id(),
            pid: std::process::id(),
            key: behind.key,
            home: None,
            ring_capacity: RING_CAPACITY,
            slots: SLOTS,
            message_len_max: MESSAGE_LEN_MAX,
        };
        // What no packet holds could be told to nobody.
        hello::encode(&welcome).map_err(io::Error::other)?;
        Ok(Self(Arc::new(Inside {
            entrance_keys,
            addresses,
            welcome,
            home: behind.home,
            signals: behind.signals,
            limits,
            pumps: pumps()?,
            runtime: Handle::current(),
            began: Instant::now(),
            state: Mutex::default(),
            moved: Notify::new(),
        })))
    }

    /// What is said of an actor behind this door, or behind none, to those who are to call it: of
    /// which keys its family must have one to enter, and where others connect to it.
    ///
    /// # Errors
    /// There is no key for the family either.
    pub(crate) fn plate(door: Option<&Self>) -> Result<Plate, AuthKeyError> {
        Ok(match door {
            Some(Self(inside)) => Plate {
                keys: inside.entrance_keys.clone(),
                addresses: inside.addresses.clone(),
            },
            None => Plate {
                keys: [family_key::of_this_process()?].into(),
                addresses: Box::default(),
            },
        })
    }

    /// Opens it, once the actor is there, at these places: each for those who have one of its keys.
    pub(crate) fn open_with(&self, places: Vec<(Bound, Arc<[AuthKey]>)>) {
        let inside = Arc::clone(&self.0);
        self.0.signals.on_begin(move || {
            for (bound, keys) in places {
                inside.accept_at(bound, keys);
            }
        });
    }

    /// Closes it: those who are there are told, if the actor `has_ended` in order, that it has.
    pub(crate) async fn close(&self, has_ended: bool) {
        self.0.close(has_ended);
        let callers: Vec<_> = {
            let state = self.0.lock();
            let relays = state.callers.values();
            relays.map(|caller| Arc::clone(&caller.relay)).collect()
        };
        join_all(callers.iter().map(|relay| part(&**relay, has_ended))).await;
        self.0.lock().callers.clear();
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.close(false);
        let callers = std::mem::take(&mut self.0.lock().callers);
        // Its end is told under the lock.
        drop(callers);
    }
}

impl Inside {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits nobody any more. Its names are gone if the actor `has_ended` in order; else those ask
    /// there how it ended who had been admitted.
    fn close(&self, has_ended: bool) {
        let mut state = self.lock();
        state.closed = true;
        let names = std::mem::take(&mut state.names);
        if !has_ended {
            names.into_iter().for_each(Endpoint::leave);
        }
        let strangers = std::mem::take(&mut state.strangers).into_iter();
        let strangers = strangers.map(|stranger| stranger.task);
        let accepting = std::mem::take(&mut state.accepting);
        accepting
            .into_iter()
            .chain(strangers)
            .for_each(|task| task.abort());
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Begins to accept at one place those who have one of these keys.
    fn accept_at(self: &Arc<Self>, bound: Bound, keys: Arc<[AuthKey]>) {
        let inside = Arc::clone(self);
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let entered = self.pumps.enter();
        let address = bound.address().clone();
        match bound.open() {
            Ok((listener, name)) => {
                let accepting = self.pumps.spawn(inside.accept(listener, keys));
                state.accepting.push(accepting.abort_handle());
                state.names.extend(name);
            }
            Err(error) => tracing::error!(%error, %address, "nobody can be admitted"),
        }
        drop(entered);
    }

    async fn accept(self: Arc<Self>, listener: Listener, keys: Arc<[AuthKey]>) -> ! {
        loop {
            self.room_for_another().await;
            match listener.accept().await {
                Ok((wire, source)) => {
                    crate::sys::failpoint::at("door.accepted");
                    self.let_knock(wire, source, &keys);
                }
                // Whoever it was has gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "a caller could not be accepted");
                    sleep(EXHAUSTED_FOR).await;
                }
            }
        }
    }

    /// Waits while as many strangers stand at the door as may, and none of them for long.
    async fn room_for_another(&self) {
        loop {
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            let (eldest, room) = {
                let mut state = self.lock();
                let room = state.room(self.limits.connections_max);
                let eldest = state.eldest_of_too_many(room);
                (eldest.map(|eldest| state.strangers[eldest].since), room)
            };
            let Some(since) = eldest.filter(|_| room > 0) else {
                return;
            };
            let patience = if room < STRANGERS_MAX {
                PATIENCE_OF_FEW
            } else {
                PATIENCE
            };
            let left = (since + patience).saturating_sub(self.now());
            if left.is_zero() || timeout(left, moved).await.is_err() {
                return;
            }
        }
    }

    /// Lets somebody knock, or sends him away.
    fn let_knock(self: &Arc<Self>, wire: Wire, source: Source, keys: &Arc<[AuthKey]>) {
        let now = self.now();
        let mut state = self.lock();
        let room = state.room(self.limits.connections_max);
        let eldest = state.eldest_of_too_many(room);
        if state.closed || room == 0 || !state.gate.admits(source, now) {
            wire.say_now(&Preamble::busy().bytes());
            return;
        }
        if let Some(slow) = eldest.and_then(|eldest| state.strangers.remove(eldest)) {
            slow.task.abort();
            state.gate.note_failure(slow.source, now);
        }
        let has_key = Arc::new(AtomicBool::new(false));
        let keys = Arc::clone(keys);
        let hearing = Arc::clone(self).hear((wire, keys), source, Arc::clone(&has_key));
        let (inside, leaving) = (Arc::clone(self), Leaving(Arc::clone(self)));
        let knocking = inside.pumps.spawn(async move {
            let _leaving = leaving;
            hearing.await;
        });
        state.strangers.push_back(Stranger {
            source,
            since: now,
            has_key,
            task: knocking.abort_handle(),
        });
    }

    /// What becomes of one who knocks.
    async fn hear(
        self: Arc<Self>,
        (wire, keys): (Wire, Arc<[AuthKey]>),
        source: Source,
        has_key: Arc<AtomicBool>,
    ) {
        let admitted = admit(wire, &keys).await;
        has_key.store(admitted.is_ok(), Ordering::Relaxed);
        self.moved.notify_waiters();
        let refused = match admitted {
            Ok(sealed) => match timeout(HANDSHAKE_WITHIN, self.welcome(sealed, &has_key)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => AdmitError::Io(error),
                Err(_) => AdmitError::Late,
            },
            Err(error) => error,
        };
        // Who has just gone has tried nothing.
        if matches!(&refused, AdmitError::Io(_) | AdmitError::Unable) {
            tracing::debug!(error = %refused, ?source, "a caller was not admitted");
            return;
        }
        let now = self.now();
        let mut state = self.lock();
        state.gate.note_failure(source, now);
        let times = state.gate.news(source, now);
        drop(state);
        if let Some(times) = times {
            tracing::warn!(error = %refused, ?source, times, "a caller was not admitted");
        }
    }

    /// Agrees with a caller who has the key, and makes it one of the actor's.
    async fn welcome(
        self: &Arc<Self>,
        mut sealed: Sealed<Wire>,
        stranger: &Arc<AtomicBool>,
    ) -> io::Result<()> {
        let welcome = Welcome {
            home: (self.home)(),
            ..self.welcome.clone()
        };
        // Where there is no room for it in a packet, its proxies lead over the network only.
        let packet = hello::encode(&welcome).or_else(|_| hello::encode(&self.welcome));
        send_packet(&mut sealed, &packet.map_err(io::Error::other)?).await?;
        crate::sys::failpoint::at("door.welcomed");
        let join = recv_packet(&mut sealed, JOIN_LEN_MAX).await?;
        crate::sys::failpoint::at("door.joined");
        let join: Join = hello::decode(&join).map_err(io::Error::other)?;
        self.take_in(sealed, join.skew(machine::id(), clock::now()), stranger);
        Ok(())
    }

    /// Makes a caller of who was that `stranger`.
    fn take_in(self: &Arc<Self>, sealed: Sealed<Wire>, skew: i64, stranger: &Arc<AtomicBool>) {
        let geometry = Geometry::new(RING_CAPACITY, SLOTS).expect("the sizes above are possible");
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.last += 1;
        let number = state.last;
        let told = Arc::new(OnceLock::<Arc<Line>>::new());
        let (inside, line) = (Arc::downgrade(self), Arc::clone(&told));
        // It waits for the lock, and so until the caller is counted in.
        let on_parting = Box::new(move |parting: Parting| {
            tracing::debug!(?parting, "a caller has gone");
            let Some(inside) = inside.upgrade() else {
                return;
            };
            let gone = inside.lock().callers.remove(&number);
            drop(gone);
            if let Some(line) = line.get() {
                inside.signals.close(line);
            }
        });
        let (links, owner) = (&self.pumps, &self.runtime);
        let runtimes = (Runtimes { links, owner }, on_parting as _);
        let terms = (skew, self.limits.blob_limit);
        let (laid, pumping) = lay_remote(sealed, (geometry, Side::Server), terms, runtimes);
        let relay = laid.relay();
        let link = laid.connect(MESSAGE_LEN_MAX);
        if let Some(porter) = &link.porter {
            let signals = self.signals.clone();
            porter.set_wake(move || signals.tell());
        }
        let limit = usize::try_from(MESSAGE_LEN_MAX).unwrap_or(usize::MAX);
        let board = link.board.clone();
        let port = Port::new(
            (link.receiver, link.glance),
            link.board,
            link.ear,
            Idle::Park,
        );
        let line = Arc::new(Line::new((link.sender, Idle::Park), board, limit));
        // Set once, here.
        let _ = told.set(Arc::clone(&line));
        let caller = Caller {
            relay,
            _pumping: pumping,
        };
        state.callers.insert(number, caller);
        // Who is both would take the room of two.
        let is_another = |known: &Stranger| !Arc::ptr_eq(&known.has_key, stranger);
        state.strangers.retain(is_another);
        drop(state);
        self.signals.arrive(Arrival { port, line });
    }
}

/// Tells that a stranger has gone when it is dropped with his task.
struct Leaving(Arc<Inside>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.moved.notify_waiters();
    }
}

/// Listens at all these addresses, or at none: at the port beside an address if that has none and
/// it is to be had, else at any.
///
/// # Errors
/// The address at which it cannot be listened, and the system's reason.
pub(crate) fn bind(places: &[(Address, u16)]) -> Result<Vec<Bound>, (Address, io::Error)> {
    let listen = |(address, port): &(Address, u16)| {
        let first = Bound::listen(&address.clone().or_port(Some(*port)));
        let bound = match first {
            // Somebody else has it by now.
            Err(_) if *port != 0 && address.port() == Some(0) => Bound::listen(address),
            bound => bound,
        };
        bound.map_err(|error| (address.clone(), error))
    };
    places.iter().map(listen).collect()
}
