//! Where an actor listened, after its death: those who had a link to it are told how it ended.
//!
//! ```text
//!  actor's process ── copies of its sockets ──> its parent ── it dies ──> open for some seconds
//!  caller: the link is gone without a word ── asks where it was laid ──> told, and sent away
//! ```
//!
//! Who asks before the parent has heard of the death waits: the sockets' queues are the dead one's.
//! Only those are told who show the key that the actor had asked for. Where the parent has gone,
//! too, nobody listens, and nobody knows.
//!
//! Of an actor that another one follows the gateway is not laid here, for that lets in there; its
//! process has one more, which is for asking only, and says so to whom it lets in.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, SocketAddrUnix, getsockname, shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::node::ward::{DOORS, GATEWAY};
use crate::sys::endpoint::Endpoint;
use crate::sys::gateway::{self, Gateway, Listening, Name, Opener};
use crate::sys::socket::Lifeline;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::gate::{Gate, Source};
use crate::transport::handshake::{AdmitError, HANDSHAKE_WITHIN, admit, send_packet};
use crate::transport::net::{Listener, Wire};
use crate::transport::noise::Preamble;
use crate::transport::unix::pumps;
use crate::wire::hello;
use crate::wire::obituary::{Inquiry, Obituary};
use crate::wire::passport::{ENTER_LEN_MAX, Enter, LOCKED};

/// How long those are told who ask. They do so at once; later ones find nobody.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// How many sockets of either kind are kept of one process: fewer than a packet may bring.
pub(crate) const SOCKETS_MAX: usize = 8;

/// How many may ask at once.
const ASKING_MAX: usize = 64;

/// How long is waited when there are no descriptors for those who ask.
const EXHAUSTED_FOR: Duration = Duration::from_millis(100);

/// Copies of the sockets at which an actor's process listens.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    gateways: Vec<OwnedFd>,
    /// With their names, if they have some.
    doors: Vec<(OwnedFd, Option<Endpoint>)>,
}

impl Sockets {
    /// Where its family enters.
    pub(crate) fn keep_gateway(&mut self, socket: OwnedFd) {
        if self.gateways.len() < SOCKETS_MAX {
            self.gateways.push(socket);
        }
    }

    /// Where others connect to it: instead of any before. It listens there now.
    pub(crate) fn keep_doors(&mut self, sockets: Vec<OwnedFd>) {
        let sockets = sockets.into_iter().take(SOCKETS_MAX).map(|socket| {
            let name = path_of(&socket).and_then(|path| Endpoint::known(path).ok());
            (socket, name)
        });
        self.doors = sockets.collect();
    }
}

/// The parent of this process, which is an actor's.
static PARENT: OnceLock<Arc<Lifeline>> = OnceLock::new();

/// This process is an actor's: `parent` is told what there is to be told of its sockets.
pub(crate) fn set_parent(parent: &Arc<Lifeline>) {
    // Once: a process becomes an actor once.
    let _ = PARENT.set(Arc::clone(parent));
}

/// Gives this process's parent a copy of a socket at which the family enters, and nobody lets in
/// any more when this process has ended.
pub(crate) fn entrust_gateway(socket: BorrowedFd<'_>) {
    entrust(GATEWAY, &[socket]);
}

/// Where the family asks about the end of this process, which an actor of it cannot say of its own
/// gateway: who follows lets in there. None: nobody is there to tell.
pub(crate) fn inquiry() -> Option<Inquiry> {
    static NAME: OnceLock<Name> = OnceLock::new();

    PARENT.get()?;
    let name = match NAME.get() {
        Some(name) => *name,
        None => {
            let opened = gateway::open().inspect_err(|error| {
                tracing::debug!(%error, "nobody will be told how this process ended");
            });
            let (socket, name) = opened.ok()?;
            // The parent has it from now on; of two that are opened at once, both.
            entrust_gateway(socket.as_fd());
            *NAME.get_or_init(|| name)
        }
    };
    let Opener { pid, uid } = Opener::here();
    Some(Inquiry {
        name,
        opener: (pid, uid),
    })
}

/// The same of those at which others connect.
pub(crate) fn entrust_doors(sockets: &[OwnedFd]) {
    let fds: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
    entrust(DOORS, &fds);
}

fn entrust(packet: &[u8], fds: &[BorrowedFd<'_>]) {
    if let Some(parent) = PARENT.get()
        && let Err(error) = parent.send(packet, fds)
    {
        tracing::debug!(%error, "nobody will be told how this process ended");
    }
}

/// Those at which others connect that are open for the dead.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// One of them, with its name if it has one, by a number that never recurs.
struct Open {
    number: u64,
    socket: OwnedFd,
    _name: Option<Endpoint>,
}

fn open() -> MutexGuard<'static, Vec<Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets somebody listen at these addresses who is to do so next.
pub(crate) fn make_room(addresses: &[Address]) {
    open().retain(|Open { socket, .. }| {
        let port = getsockname(socket).and_then(SocketAddr::try_from);
        let port = port.map_or(0, |address| address.port());
        let is_in_the_way = |address: &Address| match address.path() {
            // Without its name it is in nobody's way.
            Some(path) => path_of(socket).is_some_and(|found| found == path),
            None => port != 0 && address.port() == Some(port),
        };
        let is_in_the_way = addresses.iter().any(is_in_the_way);
        if is_in_the_way && port != 0 {
            // Its copies listen no more, either; one that is closed already does no harm.
            let _ = shutdown(socket, Shutdown::Both);
        }
        !is_in_the_way
    });
}

/// The name of a socket in the file system.
fn path_of(socket: &OwnedFd) -> Option<PathBuf> {
    let address = SocketAddrUnix::try_from(getsockname(socket).ok()?).ok()?;
    let path = OsStr::from_bytes(address.path_bytes()?);
    Some(PathBuf::from(path))
}

/// Keeps a socket among those that are open, until it is dropped.
struct Noted(u64);

impl Noted {
    fn new(socket: &OwnedFd, name: Option<Endpoint>) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let socket = socket.try_clone()?;
        open().push(Open {
            number,
            socket,
            _name: name,
        });
        Ok(Self(number))
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        open().retain(|open| open.number != self.0);
    }
}

/// Where those ask who had a link to an actor, and what they must have to be told.
#[derive(Debug, Default)]
pub(crate) struct Will {
    pub(crate) sockets: Sockets,
    /// Of its family, by a gateway.
    pub(crate) keys: Box<[AuthKey]>,
    /// Of others, by each of its doors.
    pub(crate) keys_of_doors: Vec<Arc<[AuthKey]>>,
}

impl Will {
    /// The actor has died: those who ask from now on wait until it is known how. Whoever is to
    /// listen there next can.
    pub(crate) fn open(self) -> Waiting {
        let Self {
            sockets,
            keys,
            keys_of_doors,
        } = self;
        let doors = sockets.doors.into_iter().zip(keys_of_doors);
        let noted = |((socket, name), keys)| {
            let noted = Noted::new(&socket, name).ok()?;
            Some((socket, noted, keys))
        };
        Waiting {
            gateways: sockets.gateways,
            doors: doors.filter_map(noted).collect(),
            keys,
        }
    }
}

/// Those who are to be told, and wait.
pub(crate) struct Waiting {
    gateways: Vec<OwnedFd>,
    doors: Vec<(OwnedFd, Noted, Arc<[AuthKey]>)>,
    keys: Box<[AuthKey]>,
}

impl Waiting {
    /// Tells them how it ended, for some seconds.
    pub(crate) fn tell(self, obituary: &Obituary) {
        if self.gateways.is_empty() && self.doors.is_empty() {
            return;
        }
        let (Ok(packet), Ok(runtime)) = (obituary.packet(), pumps()) else {
            return;
        };
        let grave = Arc::new(Grave {
            keys: self.keys,
            packet,
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
            gate: Mutex::default(),
            began: Instant::now(),
        });
        for socket in self.gateways {
            let grave = Arc::clone(&grave);
            runtime.spawn(for_some_time(async move {
                if let (Ok(name), Ok(gateway)) = (gateway::name_of(&socket), Gateway::of(socket)) {
                    grave.tell_family(gateway, name).await;
                }
            }));
        }
        for (socket, noted, keys) in self.doors {
            let grave = Arc::clone(&grave);
            runtime.spawn(for_some_time(async move {
                let _noted = noted;
                if let Ok(listener) = Listener::of(socket) {
                    grave.tell_others(listener, keys).await;
                }
            }));
        }
    }
}

async fn for_some_time(telling: impl Future<Output = ()>) {
    let _ = timeout(OPEN_FOR, telling).await;
}

/// What is told, and to whom.
struct Grave {
    /// Of its family.
    keys: Box<[AuthKey]>,
    packet: Vec<u8>,
    asking: Arc<Semaphore>,
    gate: Mutex<Gate>,
    began: Instant,
}

impl Grave {
    /// Those of its family, who entered by a gateway.
    async fn tell_family(self: Arc<Self>, gateway: Gateway, name: Name) {
        loop {
            let Ok(turn) = Arc::clone(&self.asking).acquire_owned().await else {
                return;
            };
            match gateway.accept().await {
                Ok(lifeline) => {
                    let grave = Arc::clone(&self);
                    tokio::spawn(async move {
                        let _turn = turn;
                        let _ = timeout(HANDSHAKE_WITHIN, grave.tell_one(lifeline, name)).await;
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => sleep(EXHAUSTED_FOR).await,
            }
        }
    }

    /// One who enters as he would enter to the actor.
    async fn tell_one(&self, lifeline: Lifeline, name: Name) -> io::Result<()> {
        let lifeline = Listening::to(lifeline)?;
        let mut buffer = vec![0; ENTER_LEN_MAX];
        let packet = lifeline.recv(&mut buffer).await?;
        let enter: Enter = hello::decode(&buffer[..packet.len]).map_err(io::Error::other)?;
        let proof = AuthKey::from(enter.proof.0);
        // As at the actor's own entrance: any of its keys.
        let opens = self.keys.iter().any(|key| key.proof(&name) == proof);
        lifeline.send(if opens { &self.packet } else { LOCKED }, &[])
    }

    /// Those who were connected.
    async fn tell_others(self: Arc<Self>, listener: Listener, keys: Arc<[AuthKey]>) {
        loop {
            let Ok(turn) = Arc::clone(&self.asking).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((wire, source)) => {
                    let (grave, keys) = (Arc::clone(&self), Arc::clone(&keys));
                    tokio::spawn(async move {
                        let _turn = turn;
                        grave.tell_connected((wire, source), &keys).await;
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Somebody else is to listen here.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                Err(_) => sleep(EXHAUSTED_FOR).await,
            }
        }
    }

    async fn tell_connected(&self, (wire, source): (Wire, Source), keys: &[AuthKey]) {
        if !self.gate().admits(source, self.began.elapsed()) {
            return wire.say_now(&Preamble::busy().bytes());
        }
        match admit(wire, keys).await {
            Ok(mut sealed) => {
                let telling = async {
                    send_packet(&mut sealed, &self.packet).await?;
                    sealed.shutdown().await?;
                    // Who was told closes his end; to close first could take the packet back.
                    sealed.read(&mut [0]).await
                };
                let _ = timeout(HANDSHAKE_WITHIN, telling).await;
            }
            Err(AdmitError::Io(_) | AdmitError::Unable) => {}
            Err(_) => self.gate().note_failure(source, self.began.elapsed()),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
