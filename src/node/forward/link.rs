//! Links to actors whose proxies came in messages: made by whoever uses one first.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::node::census::Life;
use crate::node::remote::connect::TOLD_WITHIN;
use crate::node::spawn::{MESSAGE_LEN_MAX, geometry, message_len_max};
use crate::node::spawn_options::ARENA_LIMIT;
use crate::proxy::Caller;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::proxy::failure::{AuthError, Death, Ended};
use crate::sys::doorbell::Doorbell;
use crate::sys::gateway::{self, Listening, Name, Opener};
use crate::sys::machine;
use crate::sys::memory::{Segment, segment_len_max};
use crate::sys::process::Exit;
use crate::transport::Link as Ends;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::board::{Board, Geometry, Memory, Side};
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::transport::porter::Porter;
use crate::transport::shm::{Bells, connect};
use crate::transport::unix::pumps;
use crate::transport::unreached::Unreached;
use crate::wire::chain::ActorKey;
use crate::wire::hello::{self, Secret, Tables};
use crate::wire::interface::Interface;
use crate::wire::obituary::{Inquiry, OBITUARY_LEN_MAX, Obituary};
use crate::wire::passport::{BUSY, BYE, Enter, Entrance, LOCKED, NO_ROOM};

/// A link to an actor.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) caller: Caller,
    pub(super) kind: LinkKind,
    /// Of an actor that this process has started, or that lives here: its life.
    pub(super) life: Option<Life>,
}

/// Whom a link is to lead to.
pub(super) struct Whom<'a> {
    pub(super) actor: ActorKey,
    pub(super) interface: &'static Interface,
    pub(super) pid: u32,
    pub(super) tables: &'a Arc<Tables>,
    /// Where others connect to it.
    pub(super) addresses: Vec<Address>,
    /// When it has ended, another one may follow it.
    pub(super) returns: bool,
    /// How the one before it has ended, if one has: as it does itself where nobody follows.
    pub(super) before: Option<Ended>,
}

impl Whom<'_> {
    fn caller(
        &self,
        exchange: Arc<Exchange>,
        owner: Arc<dyn std::any::Any + Send + Sync>,
    ) -> Caller {
        let callee = (self.interface, self.actor);
        let caller = Caller::new(exchange, callee, message_len_max(), owner);
        caller.of(Arc::clone(self.tables))
    }

    /// Where others connect to it first of all.
    pub(super) fn address(&self) -> Option<Address> {
        self.addresses.first().cloned()
    }

    /// It is gone, and nobody says how.
    fn died(&self) -> Ended {
        Ended::Died(Death::new(self.pid, Exit::Disconnected, None, None))
    }

    /// It is not there: if one was before it, that has ended so, and nobody has followed.
    pub(super) fn is_gone(&self) -> Ended {
        self.before.clone().unwrap_or_else(|| self.died())
    }

    /// A link that could not be made.
    pub(super) fn closed(&self, ended: Ended) -> Link {
        Link {
            caller: self.caller(Exchange::closed(ended), Arc::new(())),
            kind: LinkKind::SharedMemory,
            life: None,
        }
    }

    /// The link that this process has already.
    pub(super) fn here(&self, life: Life, kind: LinkKind) -> Link {
        // It keeps nobody alive.
        let caller = self.caller(Arc::clone(&life.exchange), Arc::new(()));
        Link {
            caller,
            kind,
            life: Some(life),
        }
    }

    /// A new link by its family's entrance.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn enter(&self, entrance: &Entrance, key: &AuthKey) -> Result<Link, Ended> {
        let (pid, uid) = entrance.opener;
        let opener = Opener { pid, uid };
        let entered = gateway::enter(&entrance.name, opener);
        let lifeline = entered.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => self.is_gone(),
            io::ErrorKind::WouldBlock => Ended::Unreachable(Unreached::Busy),
            _ => no_room(&error),
        })?;
        let runtime = Handle::try_current().or_else(|_| pumps());
        let runtime = runtime.map_err(|error| no_room(&error))?;
        let within = runtime.enter();
        let laid = lay(entrance.program).map_err(|error| no_room(&error))?;
        let Laid {
            geometry,
            ends,
            fds,
        } = laid;
        let enter = Enter {
            proof: Secret(*key.proof(&entrance.name).bytes()),
            // Whom this side does not trust need not trust it.
            program: match entrance.program {
                0 => 0,
                _ => machine::program(),
            },
            ring_capacity: geometry.ring_capacity() as u64,
            slots: geometry.slots() as u64,
            arena_limit: geometry.arena_limit(),
        };
        let packet =
            hello::encode_secret(&enter).map_err(|error| no_room(&io::Error::other(error)))?;
        let fds = fds.each_ref().map(|fd| fd.as_fd());
        lifeline
            .send(&packet, &fds)
            .map_err(|error| match error.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.is_gone(),
                _ => no_room(&error),
            })?;
        let lifeline = Listening::to(lifeline).map_err(|error| no_room(&error))?;
        let (exchange, ear) = Exchange::new(ends, geometry.slots(), Idle::Adaptive);
        runtime.spawn(drive(Arc::clone(&exchange), ear));
        let hearing = Hearing {
            lifeline,
            exchange: Arc::downgrade(&exchange),
            died: self.died(),
            is_gone: self.is_gone(),
            address: self.address(),
            asking: Asking {
                pid: self.pid,
                // There, the next one lets in, which knows of itself only.
                place: (!self.returns).then_some((entrance.name, opener)),
                key: key.clone(),
                enter,
            },
        };
        let hearing = runtime.spawn(hearing.run()).abort_handle();
        drop(within);
        let rope = Rope {
            exchange: Arc::clone(&exchange),
            hearing,
        };
        Ok(Link {
            caller: self.caller(exchange, Arc::new(rope)),
            kind: LinkKind::SharedMemory,
            life: None,
        })
    }
}

impl Link {
    /// Whether calls over it may be answered.
    pub(super) fn is_open(&self) -> bool {
        self.caller.exchange().ended().is_none()
    }

    /// That the actor has ended: none will answer, unless another one follows it.
    pub(super) fn end(&self) -> Option<Ended> {
        let ended = self.caller.exchange().ended()?;
        matches!(ended, Ended::Died(_) | Ended::Stopped).then(|| ended.clone())
    }

    /// Ends it now, and not the actor.
    pub(super) fn cut(&self) {
        let exchange = self.caller.exchange();
        // The actor lives on, and shall not begin what nobody waits for.
        exchange.give_up_waiting();
        exchange.end(Ended::Unreachable(Unreached::Cut));
    }

    /// How the actor ended, as far as this link knows, if it has.
    pub(super) fn exit(&self) -> Option<Exit> {
        match self.caller.exchange().ended()? {
            Ended::Stopped => Some(Exit::Code(0)),
            Ended::Died(death) => Some(death.exit()),
            _ => Some(Exit::Disconnected),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

fn no_room(error: &io::Error) -> Ended {
    tracing::warn!(%error, "no link to an actor whose proxy came in a message");
    Ended::Unreachable(Unreached::NoRoom)
}

/// Keeps a link; dropped with the last proxy and call that has it, it ends the link.
struct Rope {
    exchange: Arc<Exchange>,
    hearing: AbortHandle,
}

impl Drop for Rope {
    fn drop(&mut self) {
        self.exchange.end(Ended::Unreachable(Unreached::Cut));
        self.hearing.abort();
    }
}

/// Hears of the actor's end.
struct Hearing {
    lifeline: Listening,
    exchange: Weak<Exchange>,
    /// What it is told if the actor ends without a word,
    died: Ended,
    /// and what if nobody has let it in.
    is_gone: Ended,
    address: Option<Address>,
    asking: Asking,
}

impl Hearing {
    /// One of several that follow each other has let it in, and says whom to ask how that ends.
    fn learn(&mut self, Inquiry { name, opener }: Inquiry) {
        let (pid, uid) = opener;
        self.died = Ended::Died(Death::new(pid, Exit::Disconnected, None, None));
        self.asking.pid = pid;
        self.asking.place = Some((name, Opener { pid, uid }));
    }

    async fn run(mut self) {
        let mut buffer = vec![0; OBITUARY_LEN_MAX];
        let mut received = self.lifeline.recv(&mut buffer).await;
        if let Ok(packet) = &received
            && let Some(inquiry) = Inquiry::read(&buffer[..packet.len])
        {
            self.learn(inquiry);
            received = self.lifeline.recv(&mut buffer).await;
        }
        let word = &buffer[..received.as_ref().map_or(0, |packet| packet.len)];
        let ended = match (word, self.address) {
            ([], _) => {
                let was_read = received.is_ok_and(|end| !end.left_unread);
                let unknown = if was_read { self.died } else { self.is_gone };
                self.asking.ask(buffer).await.map_or(unknown, Ended::Died)
            }
            (BYE, _) => Ended::Stopped,
            (BUSY, _) => Ended::Unreachable(Unreached::Busy),
            (NO_ROOM, _) => Ended::Unreachable(Unreached::NoRoom),
            (LOCKED, Some(address)) => Ended::Auth(AuthError::Rejected { address }),
            (LOCKED, None) => Ended::Unreachable(Unreached::NoWay),
            (word, _) => self.asking.told(word).map_or(self.died, Ended::Died),
        };
        if let Some(exchange) = self.exchange.upgrade() {
            exchange.end(ended);
        }
    }
}

/// Asks how an actor ended whose lifeline has broken: whoever has started it answers where that had
/// entered, or, if another one follows and lets in there, where it has said.
struct Asking {
    pid: u32,
    /// A gateway, and who has opened it; none: nobody answers.
    place: Option<(Name, Opener)>,
    key: AuthKey,
    enter: Enter,
}

impl Asking {
    /// None: nobody is there who knows.
    async fn ask(&self, mut buffer: Vec<u8>) -> Option<Death> {
        let (name, opener) = self.place?;
        let proof = Secret(*self.key.proof(&name).bytes());
        let enter = hello::encode_secret(&Enter {
            proof,
            ..self.enter.clone()
        });
        let enter = enter.ok()?;
        let asking = async {
            let lifeline = gateway::enter(&name, opener)?;
            let lifeline = Listening::to(lifeline)?;
            lifeline.send(&enter, &[])?;
            lifeline.recv(&mut buffer).await
        };
        let len = timeout(TOLD_WITHIN, asking).await.ok()?.ok()?.len;
        self.told(&buffer[..len])
    }

    /// What a packet tells of the actor.
    fn told(&self, packet: &[u8]) -> Option<Death> {
        let obituary = Obituary::read(packet)?.ok()?;
        (obituary.pid == self.pid).then(|| Death::told(obituary))
    }
}

/// The caller's end of a new link, and what the actor needs for its end.
struct Laid {
    geometry: Geometry,
    ends: Ends,
    fds: [std::os::fd::OwnedFd; 4],
}

/// Lays a link to an actor of this `program`. Must be called within a runtime.
fn lay(program: u64) -> io::Result<Laid> {
    let geometry = geometry();
    let with = geometry.with_arenas(ARENA_LIMIT).ok();
    let with = with.filter(|with| with.segment_len() <= segment_len_max());
    let make = |geometry: Geometry| {
        let made = Segment::nameless(geometry.segment_len(), geometry.rings_len());
        made.map_err(|error| error.source)
    };
    let (geometry, (segment, memory)) = match with.map(|with| (with, make(with))) {
        Some((with, Ok(made))) => (with, made),
        // Without arenas, large messages go in pieces.
        Some((_, Err(_))) | None => (geometry, make(geometry)?),
    };
    let segment = Arc::new(segment);
    Board::new(Memory(Arc::clone(&segment)), geometry).stamp();
    let (own, peer) = (Doorbell::new()?, Doorbell::new()?);
    let theirs = [
        peer.as_fd().try_clone_to_owned()?,
        own.as_fd().try_clone_to_owned()?,
    ];
    let mut ends = connect(
        segment,
        geometry,
        Side::Caller,
        Bells { own, peer },
        MESSAGE_LEN_MAX,
    )?;
    // Another program may be anything.
    if program == 0 || program != machine::program() {
        ends.receiver.distrust();
    }
    let (porter, beside) = Porter::pair()?;
    let [their_own, their_peer] = theirs;
    Ok(Laid {
        geometry,
        ends: ends.attach(porter),
        fds: [memory, their_own, their_peer, beside],
    })
}
