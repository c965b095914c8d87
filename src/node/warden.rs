//! The warden: one thread that starts this process's children, sees them end, and reaps them.
//!
//! ```text
//! start(order) --> hello queued, process started --> Started { ward, greeting }
//!                                    first packet --> greeting
//!                     ward.watch_pulse(period) --> "beat" sent, killed if it stays unanswered
//!                               ward.stop(grace) --> "stop" sent, killed when the grace is over
//!                            output is readable --> into its tail
//!                               pidfd is readable --> reaped, ward.exited(), on_exit(exit)
//! ```
//!
//! It is one thread for the life of the process, because the system binds a child's wish to die
//! with its parent to the *thread* that started it. It sleeps in epoll until a command, a packet,
//! a death or a deadline comes; nothing is polled.
//!
//! Promises: each process that was started is reaped, also one that nobody wants any more; its
//! `on_exit` runs once, after which no descriptor of it is open here; an order that fails leaves
//! nothing. The warden does not know what hello and greeting say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::node::berth::Way;
use crate::node::handover::{self, Handover};
use crate::node::heartbeat::{Beat, Heartbeat, Pulse};
use crate::node::limits::Limited;
use crate::node::output::{Tail, Tails};
use crate::node::token::Token;
use crate::node::ward::{ASKED, BEAT, Body, DOORS, ENTRANCE, GATEWAY, lock};
pub(crate) use crate::node::ward::{GreetError, Greeting, Ward};
use crate::sys::doorbell::Doorbell;
use crate::sys::limits::NO_MEMORY_CODE;
use crate::sys::oom::OomKills;
use crate::sys::process::{self, Exit, Launch};
use crate::sys::socket::Lifeline;
use crate::wire::obituary::Obituary;

/// Longer than any packet that a socket queues by default.
const GREETING_LEN_MAX: usize = 256 * 1024;

/// So that a burst of starts, about a millisecond each, does not hide the deaths meanwhile.
const COMMANDS_PER_TURN: usize = 8;

/// What is told at the end of a process. It gives what others are told who had a link to it.
pub(crate) type OnExit = Box<dyn FnOnce(Exit) -> Option<Obituary> + Send>;

/// A process to be started.
pub(crate) struct Order {
    /// The program, and its end of the lifeline.
    pub(crate) launch: Launch,
    /// Our end.
    pub(crate) lifeline: Lifeline,
    /// The first packet to it.
    pub(crate) hello: Zeroizing<Vec<u8>>,
    /// What travels with it.
    pub(crate) fds: Vec<OwnedFd>,
    /// What is kept of its output; their other ends are in the launch.
    pub(crate) tails: Tails,
    /// It may say more after its greeting.
    pub(crate) is_heard: bool,
    /// Where it leaves what it leaves to its next life, if somebody keeps that.
    pub(crate) handover: Option<Handover>,
    /// How long until its first packet; it is killed then.
    pub(crate) greet_within: Duration,
    /// What keeps it within its limits, if it has any; let go of when it has ended.
    pub(crate) limited: Option<Limited>,
    /// Runs on the warden's thread, once, if the process was started; must not wait.
    pub(crate) on_exit: OnExit,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Started {
    /// Stops it, and tells of its end.
    pub(crate) ward: Ward,
    /// Its first packet.
    pub(crate) greeting: Greeting,
}

/// A process could not be started; nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The warden itself could not be.
    #[error("cannot start the thread that watches processes")]
    Warden(#[source] io::Error),
    /// The packet was not accepted by the system.
    #[error("cannot send the hello")]
    Hello(#[source] io::Error),
    /// No such program, no right, no room, no descriptor.
    #[error("cannot start the process")]
    Launch(#[source] io::Error),
    /// It was started, and killed again.
    #[error("cannot watch the process")]
    Watch(#[source] io::Error),
}

/// Starts a process; the answer comes when it runs.
///
/// If the receiver is dropped, before or after the answer, the process is killed. No answer at all
/// means that the warden has panicked.
pub(crate) fn start(order: Order) -> oneshot::Receiver<Result<Started, StartError>> {
    let (answer, started) = oneshot::channel();
    match Office::open() {
        Ok(office) => office.post(Command::Start(Box::new(order), answer)),
        // Nobody can have dropped the receiver yet.
        Err(error) => drop(answer.send(Err(StartError::Warden(error)))),
    }
    started
}

/// Where the warden is told what to do.
pub(crate) struct Office {
    commands: mpsc::Sender<Command>,
    bell: Doorbell,
}

/// What the warden is told.
pub(crate) enum Command {
    /// Start a process, and answer.
    Start(Box<Order>, oneshot::Sender<Result<Started, StartError>>),
    /// Kill this process then, if it has not ended: the end of its grace.
    KillAt(Instant, u64),
    /// Ask this process from now on whether it still works, and kill it if it hangs.
    WatchPulse(Heartbeat, u64),
}

impl Office {
    /// The one of this process; the first who asks starts the warden.
    fn open() -> io::Result<Arc<Self>> {
        static OFFICE: Mutex<Option<Arc<Office>>> = Mutex::new(None);
        let mut office = lock(&OFFICE);
        if let Some(office) = &*office {
            return Ok(Arc::clone(office));
        }
        let (commands, inbox) = mpsc::channel();
        let opened = Arc::new(Self {
            commands,
            bell: Doorbell::new()?,
        });
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Edge-triggered: the bell is never read.
        let ringing = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(opened.bell.as_fd(), EpollEvent::new(ringing, Token::BELL))?;
        let warden = Warden {
            office: Arc::clone(&opened),
            inbox,
            epoll,
            watched: HashMap::new(),
            deadlines: BinaryHeap::new(),
            next_id: 0,
            is_behind: false,
            oom_kills: OomKills::nearest(),
            buffer: vec![0; GREETING_LEN_MAX],
        };
        thread::Builder::new()
            .name("callboard-warden".to_owned())
            .spawn(move || warden.run())?;
        *office = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Hands a command to the warden.
    pub(crate) fn post(&self, command: Command) {
        // The warden never ends; if it has panicked, the dropped command says so to who waits.
        if self.commands.send(command).is_ok() {
            self.bell.ring();
        }
    }
}

/// The thread's own state.
struct Warden {
    office: Arc<Office>,
    inbox: mpsc::Receiver<Command>,
    epoll: Epoll,
    /// Every process not reaped yet, by a number that never recurs.
    watched: HashMap<u64, Watched>,
    /// Soonest first. What has become pointless is dropped when it is next.
    deadlines: BinaryHeap<Reverse<(Instant, u64, Deadline)>>,
    next_id: u64,
    /// Whether commands may be waiting that have been rung for.
    is_behind: bool,
    /// Tells a kill for want of memory from any other.
    oom_kills: OomKills,
    /// For greetings.
    buffer: Vec<u8>,
}

/// A process as the warden sees it.
struct Watched {
    ward: Ward,
    /// Until it has greeted or been given up.
    greeting: Option<oneshot::Sender<Result<Vec<u8>, GreetError>>>,
    /// More packets are waited for than that.
    is_heard: bool,
    handover: Option<Handover>,
    /// If it is asked whether it still works.
    pulse: Option<Pulse>,
    tails: Tails,
    limited: Option<Limited>,
    on_exit: OnExit,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deadline {
    Greet,
    Grace,
    Beat,
}

impl Watched {
    /// It has said this after its greeting.
    fn heard(&mut self, packet: &[u8], fds: Vec<OwnedFd>) {
        if let (Some(len), Some(handover)) = (handover::read_packet(packet), &self.handover) {
            let state = fds.into_iter().next().map(|fd| (fd, len));
            return state.map_or((), |state| handover.put(state));
        }
        match packet {
            ASKED => self.ward.note_asked(),
            ENTRANCE => match fds.into_iter().next().map(Way::of) {
                Some(Ok(way)) => self.ward.note_way(way),
                // Its descriptor found no room here: who has it finds the next life by another.
                Some(Err(_)) | None => tracing::warn!("an actor's way in is lost with this life"),
            },
            GATEWAY => self.ward.keep_sockets(true, fds),
            DOORS => self.ward.keep_sockets(false, fds),
            BEAT => {
                if let Some(pulse) = &mut self.pulse {
                    pulse.answered();
                }
            }
            // A process that says more is newer than we are.
            _ => {}
        }
    }
}

impl Warden {
    fn run(mut self) -> ! {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let timeout = self.timeout();
            // An open epoll descriptor gives no error but EINTR.
            let count = self.epoll.wait(&mut events, timeout).unwrap_or(0);
            for event in &events[..count] {
                match Token::of(event.data()) {
                    Token::Bell => {}
                    Token::Ended(id) => self.see_end(id),
                    Token::Spoke(id) => drop(self.hear(id)),
                    Token::Wrote(id, tail) => self.read_on(id, tail),
                }
            }
            self.keep_deadlines();
            self.obey();
        }
    }

    /// Until the next deadline that still matters.
    fn timeout(&mut self) -> EpollTimeout {
        if self.is_behind {
            return EpollTimeout::ZERO;
        }
        while let Some(&Reverse((at, id, deadline))) = self.deadlines.peek() {
            let matters = self.watched.get(&id).is_some_and(|watched| match deadline {
                Deadline::Greet => watched.greeting.is_some(),
                Deadline::Grace => true,
                Deadline::Beat => watched.pulse.is_some(),
            });
            if matters {
                // Rounded up: too early a wake-up would be followed by many.
                let wait = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                return wait.try_into().unwrap_or(EpollTimeout::MAX);
            }
            self.deadlines.pop();
        }
        EpollTimeout::NONE
    }

    fn keep_deadlines(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, id, deadline))) = self.deadlines.peek()
            && at <= now
        {
            self.deadlines.pop();
            let Some(watched) = self.watched.get_mut(&id) else {
                continue;
            };
            match deadline {
                Deadline::Greet => {
                    if let Some(greeting) = watched.greeting.take() {
                        watched.ward.kill();
                        // Nobody may be waiting any more.
                        let _ = greeting.send(Err(GreetError::Silent));
                    }
                }
                // A grace is never made longer, so the end of any is the end.
                Deadline::Grace => watched.ward.kill_overdue(),
                Deadline::Beat => self.beat(id),
            }
        }
    }

    /// Asks a process whether it still works, unless it owes an answer; kills it if it hangs.
    fn beat(&mut self, id: u64) {
        // An answer that has come counts, also if this thread was late.
        self.hear(id);
        let Some(watched) = self.watched.get_mut(&id) else {
            return;
        };
        let Watched { ward, pulse, .. } = watched;
        if ward.is_asked_to_stop() {
            // From now on its grace counts.
            *pulse = None;
        }
        let Some(pulse) = pulse else { return };
        match pulse.beat() {
            Beat::Ask => ward.ask_beat(),
            Beat::Wait => tracing::warn!(pid = ward.pid(), "an actor misses its heartbeat"),
            Beat::Hung => {
                tracing::error!(pid = ward.pid(), "an actor hangs and is killed");
                return ward.kill_hung();
            }
        }
        self.await_beat(id);
    }

    /// Begins a process's next period.
    fn await_beat(&mut self, id: u64) {
        let pulse = self.watched.get(&id).and_then(|it| it.pulse.as_ref());
        if let Some(at) = pulse.and_then(|pulse| Instant::now().checked_add(pulse.period())) {
            self.deadlines.push(Reverse((at, id, Deadline::Beat)));
        }
    }

    fn obey(&mut self) {
        for _ in 0..COMMANDS_PER_TURN {
            match self.inbox.try_recv() {
                Ok(Command::Start(order, answer)) => {
                    // Nobody waits for it any more: not even begun.
                    if !answer.is_closed() {
                        let started = self.begin(*order);
                        // If it comes back, dropping it kills the process.
                        drop(answer.send(started));
                    }
                }
                Ok(Command::KillAt(at, id)) => {
                    self.deadlines.push(Reverse((at, id, Deadline::Grace)));
                }
                Ok(Command::WatchPulse(heartbeat, id)) => {
                    if let Some(watched) = self.watched.get_mut(&id) {
                        watched.pulse = Some(Pulse::new(heartbeat));
                        self.await_beat(id);
                    }
                }
                Err(_) => {
                    self.is_behind = false;
                    return;
                }
            }
        }
        self.is_behind = true;
    }

    /// Carries an order out, or leaves nothing.
    fn begin(&mut self, order: Order) -> Result<Started, StartError> {
        let Order {
            launch,
            lifeline,
            hello,
            fds,
            tails,
            is_heard,
            handover,
            greet_within,
            limited,
            on_exit,
        } = order;
        if self.watched.is_empty() {
            // What was killed before was none of ours.
            self.oom_kills.forget();
        }
        // Queued before the process runs, so that one that ends at once cannot make it fail.
        let with: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
        let hello_sent = lifeline
            .set_nonblocking(true)
            .and_then(|()| lifeline.send(&hello, &with));
        hello_sent.map_err(StartError::Hello)?;
        drop(fds);
        crate::sys::failpoint::at("warden.hello.after");
        let child = process::launch(launch).map_err(StartError::Launch)?;
        crate::sys::failpoint::at("warden.launched");
        let id = self.next_id;
        self.next_id += 1;
        if let Err(error) = self.watch(id, child.as_fd(), lifeline.as_fd(), &tails) {
            // What epoll watches ends with its descriptor.
            child.end();
            return Err(StartError::Watch(error));
        }
        let body = Body { child, lifeline };
        let ward = Ward::new(id, body, Arc::clone(&self.office));
        let (greeting, packet) = oneshot::channel();
        let watched = Watched {
            ward: ward.clone(),
            greeting: Some(greeting),
            is_heard,
            handover,
            pulse: None,
            tails,
            limited,
            on_exit,
        };
        self.watched.insert(id, watched);
        if let Some(at) = Instant::now().checked_add(greet_within) {
            self.deadlines.push(Reverse((at, id, Deadline::Greet)));
        }
        let greeting = Greeting::new(packet, ward.clone());
        Ok(Started { ward, greeting })
    }

    fn watch(
        &self,
        id: u64,
        pidfd: BorrowedFd<'_>,
        lifeline: BorrowedFd<'_>,
        tails: &Tails,
    ) -> io::Result<()> {
        let readable = |token: Token| EpollEvent::new(EpollFlags::EPOLLIN, token.number());
        self.epoll.add(pidfd, readable(Token::Ended(id)))?;
        self.epoll.add(lifeline, readable(Token::Spoke(id)))?;
        for (number, tail) in tails.iter() {
            let event = readable(Token::Wrote(id, number));
            tail.with_fd(|fd| self.epoll.add(fd, event)).transpose()?;
        }
        Ok(())
    }

    /// Takes in what a process has written, once: the others have their turn.
    fn read_on(&self, id: u64, number: u64) {
        let watched = self.watched.get(&id);
        if let Some(tail) = watched.and_then(|watched| watched.tails.get(number))
            && !tail.read_on()
        {
            self.finish(tail);
        }
    }

    fn finish(&self, tail: &Tail) {
        // Explicitly, as for the other descriptors of a process. Fails if it had ended before.
        tail.with_fd(|fd| self.epoll.delete(fd).ok());
        tail.finish();
    }

    /// Takes the greeting, and of some what follows it. After that, or the lifeline's end, the
    /// lifeline is not watched any more: what decides about life and death is the pidfd. True: more
    /// may be there.
    fn hear(&mut self, id: u64) -> bool {
        let Some(watched) = self.watched.get_mut(&id) else {
            return false;
        };
        let received = watched
            .ward
            .with_body(|body| body.lifeline.recv(&mut self.buffer));
        match received {
            None => return false,
            Some(Ok(packet)) if packet.len == 0 => {}
            Some(Ok(packet)) => {
                if let Some(greeting) = watched.greeting.take() {
                    // Nobody may be waiting any more.
                    let _ = greeting.send(Ok(self.buffer[..packet.len].to_vec()));
                } else {
                    watched.heard(&self.buffer[..packet.len], packet.fds);
                }
                if watched.is_heard {
                    return true;
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // It has said all that it must.
            Some(Err(_)) if watched.greeting.is_none() => {}
            Some(Err(error)) => {
                tracing::warn!(pid = watched.ward.pid(), %error, "bad greeting, process killed");
                watched.ward.kill();
            }
        }
        // Fails if it is not watched any more.
        watched
            .ward
            .with_body(|body| self.epoll.delete(body.lifeline.as_fd()).ok());
        false
    }

    /// Reaps, closes, tells.
    fn see_end(&mut self, id: u64) {
        // What it has said before its end counts.
        while self
            .watched
            .get(&id)
            .is_some_and(|watched| watched.greeting.is_some() || watched.is_heard)
            && self.hear(id)
        {}
        let Some((exit, body)) = self
            .watched
            .get(&id)
            .and_then(|watched| watched.ward.reap())
        else {
            return;
        };
        // Explicitly: a process that is just being started shares all descriptors for a moment, so
        // that closing them alone would not end the watch. The lifeline may not be watched.
        let _ = self.epoll.delete(body.child.as_fd());
        let _ = self.epoll.delete(body.lifeline.as_fd());
        drop(body);
        crate::sys::failpoint::at("warden.reaped");
        let Some(Watched {
            ward,
            greeting,
            tails,
            limited,
            on_exit,
            ..
        }) = self.watched.remove(&id)
        else {
            return;
        };
        for (_, tail) in tails.iter() {
            self.finish(tail);
        }
        let exit = self.cause(exit, &ward, limited.as_ref());
        // Before anybody hears of the end: then nothing is left of the process.
        drop(limited);
        tracing::debug!(pid = ward.pid(), %exit, "process ended");
        let waiting = ward.take_will(exit).open();
        ward.tell(exit);
        if let Some(greeting) = greeting {
            // Nobody may be waiting any more.
            let _ = greeting.send(Err(GreetError::Exited));
        }
        let telling = || {
            if let Some(obituary) = on_exit(exit) {
                waiting.tell(&obituary);
            }
        };
        if panic::catch_unwind(AssertUnwindSafe(telling)).is_err() {
            tracing::error!(
                pid = ward.pid(),
                "what was to run at the process's end has panicked"
            );
        }
    }

    /// Whether it has ended for want of memory, or because it hung.
    fn cause(&mut self, exit: Exit, ward: &Ward, limited: Option<&Limited>) -> Exit {
        let for_want_of_memory = match exit {
            Exit::Code(code) => code == NO_MEMORY_CODE && limited.is_some_and(Limited::has_heap),
            Exit::Signal {
                number: libc::SIGKILL,
                ..
            } if !ward.was_killed_by_us() => {
                // A group's kills may count for ours, too.
                let counted = self.oom_kills.take();
                let own = limited.and_then(|limited| limited.groups.was_killed());
                own.unwrap_or(counted)
            }
            _ if ward.is_hung() => return Exit::Hung,
            _ => false,
        };
        if for_want_of_memory {
            Exit::OutOfMemory
        } else {
            exit
        }
    }
}

#[cfg(test)]
#[path = "warden_tests.rs"]
mod tests;
