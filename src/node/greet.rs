//! The child's side of a start: from the first instruction to the actor's end.
//!
//! ```text
//!  init ─> mark? ─> lifeline ─> hello ─> map ─> watcher thread ─> greeting
//!                                       runtime: construct, serve ─> exit code
//! ```
//!
//! What the system may refuse comes before the greeting, which can tell it. Nothing waits for an
//! answer to that: the constructor's call lies in the link already, or comes to it.
//!
//! A process without the mark passes through `init` at the cost of one look at the environment. One
//! with it never returns from there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::berth::Way;
use super::forward::resident::{self, Announce, Resident};
use super::handover::{self, State};
use super::registry::{self, ActorType};
use super::remote::door::{Behind, Door};
use super::remote::grave;
use super::remote::listen::Places;
use super::road::Road;
use super::{census, ending, family, family_key, limits, ward};
use crate::actor::Actor;
use crate::actor::inbox::{Inbox, Post};
use crate::actor::legacy::Legacy;
use crate::actor::mailbox::Mailbox;
use crate::actor::panic::{caught_now, install_hook};
use crate::actor::port::Port;
use crate::actor::replies::{Back, Replies};
use crate::actor::server::{self, End};
use crate::actor::signals::Signals;
use crate::proxy::ambient::Named;
use crate::sys::machine;
use crate::sys::process;
use crate::sys::sealed::Sealed;
use crate::sys::socket::{self, Lifeline};
use crate::sys::terminate::{Heard, TERMINATED_CODE, Wait};
use crate::transport::auth_key::AuthKey;
use crate::transport::farewell;
use crate::transport::idle::Idle;
use crate::transport::relay::Relay;
use crate::wire::chain::ActorKey;
use crate::wire::codec::Message;
use crate::wire::hello::{self, GreetRefusal, Greeted, Greeting, Hello, PACKET_LEN_MAX, Tables};
use crate::wire::passport::BYE;

/// The variable that makes a process an actor. Its value says only where the lifeline is.
pub(crate) const MARK: &str = "CALLBOARD_ACTOR";

/// How long a child waits for its parent's first packet, which lies there before it starts.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long a parent may not listen to its child before what that has to say is an error.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// The user who may do anything, also without our help.
const ROOT: u32 = 0;

/// The exit code of a child that could not become an actor.
const UNFIT_CODE: i32 = 102;

/// Whether this process has become an actor in the way that it should.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Whether this process was started to be an actor and its `main` went on without asking.
pub(crate) fn was_missed() -> bool {
    std::env::var_os(MARK).is_some() && !ENTERED.load(Ordering::Relaxed)
}

/// Turns a process that was started as an actor into that actor. Every other process goes on.
///
/// [`main`](macro@crate::main) calls it. A program with a `main` of its own calls it first of all,
/// before it starts threads or reads its arguments; an actor's process never returns from it.
///
/// # Examples
/// ```standalone_crate
/// callboard::init();
/// println!("this is no actor's process");
/// ```
pub fn init() {
    if process::take_mark(MARK).is_none() {
        return;
    }
    ENTERED.store(true, Ordering::Relaxed);
    crate::sys::failpoint::at("child.entered");
    process::ignore_sigpipe();
    // The mark without a lifeline is somebody's leftover, not a parent's wish.
    let Ok(lifeline) = socket::from_stdin() else {
        return;
    };
    if Handle::try_current().is_ok() {
        // Called within somebody's runtime, where no other one may run.
        let actor = std::thread::spawn(move || become_actor(lifeline));
        let code = actor.join().unwrap_or(ending::PANIC_CODE);
        leave(code);
    }
    leave(become_actor(lifeline));
}

/// The hook of test programs, whose `main` is not the user's: runs before it.
#[doc(hidden)]
pub extern "C" fn hook() {
    if caught_now(init).is_err() {
        process::exit_now(ending::PANIC_CODE);
    }
}

fn leave(code: i32) -> ! {
    // What the user's code has printed is flushed; there is nothing else that `exit` would do for
    // us.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where an actor's process ends"
    )]
    std::process::exit(code)
}

/// What a child needs to serve.
pub(crate) struct Seat {
    road: Road,
    /// Where it listens for callers of other programs.
    places: Option<Places>,
    /// If others may follow it: how it tells of its own way in, and the ways of those before it.
    returning: Option<(Announce, Vec<Way>)>,
    message_len_max: u64,
    idle: Idle,
    mailbox: Mailbox,
    signals: Signals,
    named: Named,
    /// Somebody else than its parent has asked it to end, before that did.
    terminated: Arc<AtomicBool>,
    /// Where it runs, once it does.
    runtime: Arc<OnceLock<Handle>>,
}

/// How serving ended, as an exit code.
pub(crate) struct Served(i32);

/// Greets and serves; gives the exit code.
fn become_actor(lifeline: Lifeline) -> i32 {
    let lifeline = Arc::new(lifeline);
    match greet(&lifeline) {
        Ok((actor, seat)) => {
            crate::sys::failpoint::at("child.greeted");
            actor.run(seat).0
        }
        Err(Unfit::Silent) => UNFIT_CODE,
        Err(Unfit::Told(refusal)) => {
            // If it cannot be told, the exit code tells.
            let _ = send(&lifeline, &Greeting::Err(refusal));
            UNFIT_CODE
        }
    }
}

/// Why a child cannot be the actor that it was to be.
enum Unfit {
    /// Nobody is there to be told.
    Silent,
    /// The parent is told why.
    Told(GreetRefusal),
}

fn greet(lifeline: &Arc<Lifeline>) -> Result<(&'static ActorType, Seat), Unfit> {
    let silent = |_| Unfit::Silent;
    let ours = nix::unistd::getuid().as_raw();
    // Root may start an actor that is somebody else; nobody else can.
    if ![ours, ROOT].contains(&lifeline.peer_uid().map_err(silent)?) {
        return Err(Unfit::Silent);
    }
    crate::sys::failpoint::at("child.hello.before");
    lifeline
        .set_receive_timeout(Some(HELLO_WITHIN))
        .map_err(silent)?;
    let len = lifeline.next_len().map_err(silent)?;
    // There are keys in it.
    let mut packet = Zeroizing::new(vec![0; len.min(PACKET_LEN_MAX)]);
    let received = lifeline.recv(&mut packet).map_err(silent)?;
    lifeline.set_receive_timeout(None).map_err(silent)?;
    let hello: Hello = hello::decode(&packet[..received.len]).map_err(|error| {
        tracing::error!(%error, "cannot become an actor");
        Unfit::Told(GreetRefusal::System(error.to_string()))
    })?;
    let is_parent = lifeline.peer_pid().map_err(silent)? == hello.parent;
    if !is_parent || !process::die_with_parent(hello.parent).map_err(silent)? {
        return Err(Unfit::Silent);
    }
    process::set_title(&hello.title);
    // Before there are other threads, which would not be bounded by all of it.
    limits::keep(&hello.bounds).map_err(Unfit::Told)?;
    let actor = registry::find(&hello.actor).ok_or(Unfit::Told(GreetRefusal::UnknownActor))?;
    let seat = take_seat(&hello, received.fds, lifeline).map_err(Unfit::Told)?;
    let grace = Duration::from_millis(hello.grace_ms);
    start_watching(lifeline, &seat, grace).map_err(Unfit::Told)?;
    crate::sys::failpoint::at("child.greeting.before");
    let addresses = seat.places.as_ref().map(Places::addresses);
    let addresses = addresses.unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let asking = Arc::clone(lifeline);
    seat.signals.on_ask(move || {
        // Without a parent there is nobody to be told, and soon nobody to tell it.
        let _ = asking.send(ward::ASKED, &[]);
    });
    let ports = seat.places.as_ref().map(Places::ports);
    let greeted = Greeted {
        tables: Tables::of(actor.interface()),
        addresses,
        ports: ports.unwrap_or_default(),
    };
    send(lifeline, &Greeting::Ok(greeted))?;
    grave::set_parent(lifeline);
    if let Some(places) = &seat.places {
        grave::entrust_doors(&places.copies());
    }
    Ok((actor, seat))
}

fn take_seat(
    hello: &Hello,
    mut fds: Vec<OwnedFd>,
    lifeline: &Arc<Lifeline>,
) -> Result<Seat, GreetRefusal> {
    let Some(place) = fds.pop() else {
        return Err(GreetRefusal::System("a place was expected".into()));
    };
    family::join(place).map_err(|error| GreetRefusal::System(error.to_string()))?;
    let ways = take_ways(hello, &mut fds)?;
    let signals = Signals::default();
    if hello.is_kept {
        let left = hello.left.and_then(|len| Some((fds.pop()?, len)));
        let legacy = legacy(left, lifeline);
        signals.inherit(legacy.map_err(|error| GreetRefusal::System(error.to_string()))?);
    }
    family_key::inherit(AuthKey::from(hello.family_key.0));
    let road = Road::take(hello, fds)?;
    crate::sys::failpoint::at("child.mapped");
    let places = hello.network.as_ref().map(Places::take).transpose()?;
    let leave = road.last_words();
    install_hook(move |report| leave(&ending::last_words(report)));
    Ok(Seat {
        road,
        places,
        returning: hello.returns.then(|| (announce(lifeline), ways)),
        message_len_max: hello.message_len_max,
        idle: Idle::from_number(hello.idle),
        mailbox: Mailbox::from_numbers(hello.mailbox),
        signals,
        named: Named::new(ActorKey::from_bits(machine::id(), hello.key), &hello.title),
        terminated: Arc::default(),
        runtime: Arc::default(),
    })
}

/// The ways in that the lives before had.
fn take_ways(hello: &Hello, fds: &mut Vec<OwnedFd>) -> Result<Vec<Way>, GreetRefusal> {
    let refused = |why: String| GreetRefusal::System(why);
    let first = fds.len().checked_sub(hello.ways.into());
    let first = first.ok_or_else(|| refused("more ways in were expected".into()))?;
    let ways = fds.drain(first..).map(Way::of);
    ways.collect::<io::Result<_>>()
        .map_err(|error| refused(error.to_string()))
}

/// How the way in that this one opens is told to whoever keeps it for the next one.
fn announce(lifeline: &Arc<Lifeline>) -> Announce {
    let lifeline = Arc::clone(lifeline);
    Box::new(move |way| lifeline.send(ward::ENTRANCE, &[way]))
}

/// What the life before has left, and the way on which this one leaves its own.
fn legacy(left: Option<State>, lifeline: &Arc<Lifeline>) -> io::Result<Legacy> {
    let left = left.map(handover::read).transpose()?;
    lifeline.set_send_timeout(LEAVE_WITHIN)?;
    let lifeline = Arc::clone(lifeline);
    let keep = move |state: &Sealed| {
        let (fd, len) = handover::passed(state);
        lifeline.send(&handover::packet(len), &[fd])
    };
    Ok(Legacy::new(left, Box::new(keep)))
}

fn send<M: Message>(lifeline: &Lifeline, message: &M) -> Result<(), Unfit> {
    let packet = hello::encode(message).map_err(|_| Unfit::Silent)?;
    lifeline.send(&packet, &[]).map_err(|_| Unfit::Silent)
}

fn start_watching(
    lifeline: &Arc<Lifeline>,
    seat: &Seat,
    grace: Duration,
) -> Result<(), GreetRefusal> {
    let wait = Wait::begin().map_err(|error| GreetRefusal::System(error.to_string()))?;
    let watch = Watch {
        lifeline: Arc::clone(lifeline),
        wait,
        actor: seat.named.actor(),
        signals: seat.signals.clone(),
        relay: seat.road.relay(),
        terminated: Arc::clone(&seat.terminated),
        runtime: Arc::clone(&seat.runtime),
        grace,
    };
    let started = std::thread::Builder::new()
        .name("callboard-lifeline".into())
        .spawn(move || watch.run());
    // The system's errors have numbers; this one is what it says when threads have run out.
    let number = |error: io::Error| error.raw_os_error().unwrap_or(libc::EAGAIN);
    started.map_or_else(|error| Err(GreetRefusal::Thread(number(error))), |_| Ok(()))
}

/// Hears who may end this process, whatever its other threads do.
struct Watch {
    lifeline: Arc<Lifeline>,
    wait: Wait,
    /// Who lives here.
    actor: ActorKey,
    signals: Signals,
    relay: Option<Arc<dyn Relay>>,
    terminated: Arc<AtomicBool>,
    runtime: Arc<OnceLock<Handle>>,
    grace: Duration,
}

impl Watch {
    /// Ends this process when its parent is gone, or when it is asked to end and does not.
    fn run(mut self) {
        let mut packet = [0; 64];
        let (mut is_asked, mut until) = (false, None);
        loop {
            match self.wait.next(&self.lifeline, until) {
                Heard::Parent => {}
                // The parent has asked, and waits.
                Heard::Wish if is_asked => continue,
                Heard::Wish => {
                    self.terminated.store(true, Ordering::Relaxed);
                    until = Instant::now().checked_add(self.grace);
                    self.signals.stop();
                    continue;
                }
                Heard::Late => process::exit_now(TERMINATED_CODE),
            }
            match self.lifeline.recv(&mut packet) {
                Ok(received) if received.len == 0 => break,
                Ok(received) if &packet[..received.len] == ward::STOP => {
                    is_asked = true;
                    self.stop();
                }
                Ok(received) if &packet[..received.len] == ward::BEAT => self.beat(),
                Ok(received) if &packet[..received.len] == ward::ENTRANCE => {
                    if let Ok([socket]) = <[_; 1]>::try_from(received.fds) {
                        resident::open(self.actor, socket);
                    }
                }
                // Nothing else is said here; a parent that says more is newer than we are.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        process::exit_now(ending::PANIC_CODE);
    }

    /// The parent asks whether the actor works: its runtime answers, if it does.
    fn beat(&self) {
        if let Some(runtime) = self.runtime.get() {
            let lifeline = Arc::clone(&self.lifeline);
            runtime.spawn(async move {
                // If the parent is gone, so is this process, soon.
                let _ = lifeline.send(ward::BEAT, &[]);
            });
        }
    }

    /// The parent asks for the end.
    fn stop(&self) {
        crate::sys::failpoint::at("child.stop");
        let signals = self.signals.clone();
        match &self.relay {
            None => signals.stop(),
            // Calls that were sent before may still be on their way.
            Some(relay) => relay.settle(Box::new(move || signals.stop())),
        }
    }
}

/// Runs an actor of type `A` to its end, in a runtime of its own on this thread.
pub(crate) fn run<A: Actor>(seat: Seat) -> Served {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Served(UNFIT_CODE);
    };
    let Seat {
        road,
        places,
        returning,
        message_len_max,
        idle,
        mailbox,
        signals,
        named,
        terminated,
        runtime: told,
    } = seat;
    let _ = told.set(runtime.handle().clone());
    let limit = usize::try_from(message_len_max).unwrap_or(usize::MAX);
    let end = runtime.block_on(async {
        let (link, rest) = road.connect(message_len_max).ok()?;
        if let Some(porter) = &link.porter {
            let signals = signals.clone();
            porter.set_wake(move || signals.tell());
        }
        let actor = named.actor();
        let door = places.map(|places| {
            places.door(Behind {
                tables: Tables::of(const { &A::INTERFACE }),
                key: named.actor().bits(),
                home: Box::new(move || resident::home_of(actor)),
                signals: signals.clone(),
            })
        });
        let door = door.transpose().ok()?;
        let plate = Door::plate(door.as_ref()).ok()?;
        let who = (named.actor(), limit);
        let resident = Resident::of::<A>(who, &signals, plate, returning);
        let board = link.board.clone();
        let port = Port::new((link.receiver, link.glance), link.board, link.ear, idle);
        let back = Arc::new(Back::new(link.sender, idle));
        let post = Post {
            actor: named.actor(),
            main: Replies::new(back.sender(), limit),
            back: &back,
            interface: const { &A::INTERFACE },
            board: &board,
            signals: &signals,
        };
        let inbox = Inbox::new(port, post).with_mailbox(mailbox);
        // The actors that it has started are there for its hooks, and end in order before it.
        let end = server::serve::<A>(inbox, census::shutdown_all).await;
        resident.leave(matches!(end, End::Stopped).then_some(BYE));
        if let Some(door) = &door {
            door.close(matches!(end, End::Stopped)).await;
        }
        rest.flush().await;
        Some(end)
    });
    if matches!(end, Some(End::Stopped | End::Rejected)) {
        // The actors that it has started, and those that its tasks still hold, end in order too;
        // and what it has told others arrives.
        runtime.block_on(async {
            census::shutdown_all().await;
            farewell::all_are_gone().await;
        });
    }
    crate::sys::failpoint::at("child.end");
    // What the actor's tasks still do is dropped with them, without waiting for blocking ones.
    runtime.shutdown_background();
    served(end, terminated.load(Ordering::Relaxed))
}

/// How an actor's end is told by an exit code; none: its runtime could not serve it.
fn served(end: Option<End>, terminated: bool) -> Served {
    Served(match end {
        Some(End::Stopped) if terminated => TERMINATED_CODE,
        Some(End::Stopped) => 0,
        Some(End::Panicked(_)) => ending::PANIC_CODE,
        Some(End::Rejected) | None => UNFIT_CODE,
        Some(End::Corrupt(error)) => {
            tracing::error!(%error, "the parent broke the rules of the link");
            UNFIT_CODE
        }
    })
}
