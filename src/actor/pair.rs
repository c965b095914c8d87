//! For tests: a caller and a server of one process, joined by a loopback link, and an actor to
//! call.
//!
//! All of it runs on one thread, so a test decides what happens before what. The actor is written
//! by hand as `#[actor]` would write it. What its methods do is told to the thread, where tests
//! look for it.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

use super::Actor;
use super::context::Context;
use super::hooks::{self, Hook, Hooks, Moment};
use super::inbox::{Inbox, Post};
use super::incoming::{Incoming, Rejected, decode_args};
use super::mailbox::Mailbox;
use super::port::Port;
use super::replies::{Answer, Back, Replies};
use super::server::{End, serve};
use super::signals::{Arrival, Line, Signals};
use crate::proxy::Caller;
use crate::proxy::call::Call;
use crate::proxy::driver::drive;
use crate::proxy::exchange::Exchange;
use crate::transport::Link;
use crate::transport::board::Geometry;
use crate::transport::idle::Idle;
use crate::transport::loopback;
use crate::wire::chain::ActorKey;
use crate::wire::codec;
use crate::wire::frame::Kind;
use crate::wire::interface::{Interface, Method, Priority};

/// The longest message of these links.
pub(super) const MESSAGE_LEN_MAX: usize = 2 << 20;

pub(super) const ADD: u16 = 0;
pub(super) const GET: u16 = 1;
pub(super) const WAIT: u16 = 2;
pub(super) const HOLD: u16 = 3;
pub(super) const PANIC: u16 = 4;
pub(super) const PANIC_SHARED: u16 = 5;
pub(super) const FILL: u16 = 6;
pub(super) const FAIL: u16 = 7;
pub(super) const TEXT: u16 = 8;

/// A number, which methods change, read, or take as the name of their call.
pub(super) struct Tester {
    number: u64,
}

pub(super) const URGENT: u16 = 8;
pub(super) const LAZY: u16 = 9;

pub(super) const INTERFACE: Interface = Interface {
    name: "Tester",
    instance: None,
    constructors: &[
        Method::new("new", 0),
        Method::new("failing", 0),
        Method::new("panicking", 0),
    ],
    methods: &[
        Method::new("add", 0).exclusive(),
        Method::new("get", 0),
        Method::new("wait", 0).waits(),
        Method::new("hold", 0).exclusive().waits(),
        Method::new("panic", 0).exclusive(),
        Method::new("panic_shared", 0).waits(),
        Method::new("fill", 0),
        Method::new("fail", 0),
        Method::new("text", 0),
    ],
    parts: &[],
};

impl Actor for Tester {
    type Proxy = ();

    const INTERFACE: Interface = INTERFACE;

    const HOOKS: Hooks = Hooks::NONE
        .with(Moment::Unhandled)
        .exclusive(Moment::Unhandled);

    async fn hook(&mut self, hook: Hook<'_>) -> Result<(), String> {
        if let Hook::Unhandled(call) = hook {
            note(u64::from(call.number()));
        }
        Ok(())
    }

    async fn construct(index: u16, body: &[u8], _: Context) -> Result<Self, Rejected> {
        match index {
            0 => decode_args::<(u64,)>(body).map(|(number,)| Self { number }),
            1 => Err(Rejected::error(&String::from("not today"))),
            2 => panic!("no actor"),
            _ => Err(Rejected::unknown(index)),
        }
    }

    fn run_shared(&self, call: Incoming<'_>) -> Answer {
        match call.method() {
            GET => call.reply(&self.number),
            FILL => match call.open::<(u64,)>() {
                Ok((len,)) => call.reply(&vec![7_u8; usize::try_from(len).unwrap()]),
                Err(refused) => refused,
            },
            TEXT => {
                let read = call.read::<(String, u64), _>(|arguments| {
                    Ok((arguments.0.as_str(), codec::own::<u64>(&arguments.1)?))
                });
                match read {
                    Ok((text, by)) => call.reply(&(text.len() as u64 + by)),
                    Err(refused) => refused,
                }
            }
            FAIL => match call.open::<(u64,)>() {
                Ok((number,)) => {
                    let result = if number > 9 {
                        Err(format!("{number}"))
                    } else {
                        Ok(number)
                    };
                    call.reply_result(&result, String::clone)
                }
                Err(refused) => refused,
            },
            _ => call.unknown_noted(),
        }
    }

    fn run_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        match call.method() {
            ADD => match call.open::<(u64,)>() {
                Ok((by,)) => {
                    note(by);
                    self.number += by;
                    call.reply(&self.number)
                }
                Err(refused) => refused,
            },
            _ => panic!("exclusive"),
        }
    }

    async fn await_shared(&self, call: Incoming<'_>) -> Answer {
        match call.method() {
            WAIT => pass(call).await,
            _ => panic!("shared"),
        }
    }

    async fn await_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        match call.method() {
            HOLD => pass(call).await,
            _ => hooks::run_exclusive(self, call).await,
        }
    }
}

/// A [`Tester`] that sorts its calls: it has a method before all others and one after them.
struct Sorter(Tester);

impl Actor for Sorter {
    type Proxy = ();

    const INTERFACE: Interface = Interface {
        methods: &[
            Method::new("add", 0).exclusive(),
            Method::new("get", 0),
            Method::new("wait", 0).waits(),
            Method::new("hold", 0).exclusive().waits(),
            Method::new("panic", 0).exclusive(),
            Method::new("panic_shared", 0).waits(),
            Method::new("fill", 0),
            Method::new("fail", 0),
            Method::new("urgent", 0).priority(Priority::High),
            Method::new("lazy", 0).exclusive().priority(Priority::Low),
        ],
        ..INTERFACE
    };

    async fn construct(index: u16, body: &[u8], context: Context) -> Result<Self, Rejected> {
        Tester::construct(index, body, context).await.map(Self)
    }

    fn run_shared(&self, call: Incoming<'_>) -> Answer {
        match call.method() {
            URGENT => name(call),
            _ => self.0.run_shared(call),
        }
    }

    fn run_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        match call.method() {
            LAZY => name(call),
            _ => self.0.run_exclusive(call),
        }
    }

    async fn await_shared(&self, call: Incoming<'_>) -> Answer {
        self.0.await_shared(call).await
    }

    async fn await_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        self.0.await_exclusive(call).await
    }
}

/// Notes the call's name, and answers with it.
fn name(call: Incoming<'_>) -> Answer {
    match call.open::<(u64,)>() {
        Ok((name,)) => {
            note(name);
            call.reply(&name)
        }
        Err(refused) => refused,
    }
}

/// Notes the call's name, and answers with it when the gate lets it through.
async fn pass(call: Incoming<'_>) -> Answer {
    match call.open::<(u64,)>() {
        Ok((name,)) => {
            note(name);
            pass_gate().await;
            call.reply(&name)
        }
        Err(refused) => refused,
    }
}

thread_local! {
    static NOTES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    static GATE: RefCell<Rc<Semaphore>> = RefCell::new(Rc::new(Semaphore::new(0)));
}

pub(super) fn note(name: u64) {
    NOTES.with_borrow_mut(|notes| notes.push(name));
}

/// The calls that ran since the last look, by what they were given.
pub(super) fn ran() -> Vec<u64> {
    NOTES.take()
}

async fn pass_gate() {
    let gate = GATE.with_borrow(Rc::clone);
    gate.acquire()
        .await
        .expect("the gate is never closed")
        .forget();
}

/// Lets so many of the calls end that wait at the gate, in their order.
pub(super) fn open_gate(count: usize) {
    GATE.with_borrow(|gate| gate.add_permits(count));
}

/// Runs a test on this thread, for at most so long that nobody waits for it in vain.
pub(super) fn run(test: impl Future<Output = ()>) {
    NOTES.take();
    GATE.set(Rc::new(Semaphore::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime
        .block_on(LocalSet::new().run_until(bounded))
        .expect("the test ends in time");
}

/// Lets everybody run until nothing moves.
pub(super) async fn settle() {
    for _ in 0..30 {
        yield_now().await;
    }
}

/// Callers and a server, or somebody else in the server's place.
pub(super) struct Pair {
    pub(super) caller: Caller,
    pub(super) exchange: Arc<Exchange>,
    pub(super) driver: JoinHandle<()>,
    pub(super) signals: Signals,
}

/// Gives a server a further link.
pub(super) fn arrive(signals: &Signals, link: Link, idle: Idle) -> Arc<Line> {
    let line = Arc::new(Line::new(
        (link.sender, idle),
        link.board.clone(),
        MESSAGE_LEN_MAX,
    ));
    let port = Port::new((link.receiver, link.glance), link.board, link.ear, idle);
    signals.arrive(Arrival {
        port,
        line: Arc::clone(&line),
    });
    line
}

/// The sizes of small links with so many slots.
pub(super) fn small(slots: u64) -> Geometry {
    Geometry::new(4096, slots).unwrap()
}

impl Pair {
    /// Callers whose server's end is given back.
    pub(super) fn alone(geometry: Geometry, idle: Idle) -> (Self, Link) {
        let (near, far) = loopback::pair(geometry, MESSAGE_LEN_MAX as u64);
        let (exchange, ear) = Exchange::new(near, geometry.slots(), idle);
        let driver = tokio::spawn(drive(Arc::clone(&exchange), ear));
        let caller = Caller::new(
            Arc::clone(&exchange),
            (&INTERFACE, ActorKey::NONE),
            MESSAGE_LEN_MAX,
            Arc::new(()),
        );
        (
            Self {
                caller,
                exchange,
                driver,
                signals: Signals::default(),
            },
            far,
        )
    }

    /// Callers and the server of a [`Tester`] that is not constructed yet.
    pub(super) fn unmade(geometry: Geometry, idle: Idle) -> (Self, JoinHandle<End>) {
        let (pair, link) = Self::alone(geometry, idle);
        let signals = pair.signals.clone();
        let server = spawn_local(server(link, idle, signals));
        (pair, server)
    }

    /// Further callers of the same actor, over a link of their own; with what closes it.
    pub(super) fn join(&self, geometry: Geometry, idle: Idle) -> (Self, Arc<Line>) {
        let (mut pair, link) = Self::alone(geometry, idle);
        pair.signals = self.signals.clone();
        let line = arrive(&self.signals, link, idle);
        (pair, line)
    }

    /// Callers of a [`Tester`] whose number is 10.
    pub(super) async fn new(geometry: Geometry, idle: Idle) -> (Self, JoinHandle<End>) {
        let (pair, server) = Self::unmade(geometry, idle);
        pair.construct(0).await.unwrap();
        (pair, server)
    }

    /// Callers of a [`Tester`] with this mailbox, whose calls are sorted if `sorts`.
    pub(super) async fn with_mailbox(
        geometry: Geometry,
        mailbox: Mailbox,
        sorts: bool,
    ) -> (Self, JoinHandle<End>) {
        let (pair, link) = Self::alone(geometry, Idle::Park);
        let signals = pair.signals.clone();
        let server = spawn_local(server_with(link, signals, (mailbox, sorts)));
        pair.construct(0).await.unwrap();
        (pair, server)
    }

    /// A call of the constructor with this number.
    pub(super) fn construct(&self, constructor: u16) -> Call<'_, (u64,), (), String> {
        self.caller
            .target()
            .call_as(Kind::Construct, constructor, (10,), codec::decode)
    }

    /// A call of a method that takes and gives a number.
    pub(super) fn call(&self, method: u16, number: u64) -> Call<'_, (u64,), u64> {
        self.caller.target().call(method, (number,))
    }

    pub(super) fn get(&self) -> Call<'_, (), u64> {
        self.caller.target().call(GET, ())
    }

    pub(super) fn fill(&self, len: u64) -> Call<'_, (u64,), Vec<u8>> {
        self.caller.target().call(FILL, (len,))
    }
}

/// Serves a [`Tester`] over `link`.
pub(super) async fn server(link: Link, idle: Idle, signals: Signals) -> End {
    server_of::<Tester>(link, idle, signals, Mailbox::default()).await
}

/// Serves a [`Tester`] with this mailbox over `link`, or a [`Sorter`].
pub(super) async fn server_with(
    link: Link,
    signals: Signals,
    (mailbox, sorts): (Mailbox, bool),
) -> End {
    if sorts {
        server_of::<Sorter>(link, Idle::Park, signals, mailbox).await
    } else {
        server_of::<Tester>(link, Idle::Park, signals, mailbox).await
    }
}

/// Serves an `A` with this mailbox over `link`.
pub(super) async fn server_of<A: Actor>(
    link: Link,
    idle: Idle,
    signals: Signals,
    mailbox: Mailbox,
) -> End {
    let board = link.board.clone();
    let port = Port::new((link.receiver, link.glance), link.board, link.ear, idle);
    let back = Arc::new(Back::new(link.sender, idle));
    let post = Post {
        actor: ActorKey::NONE,
        main: Replies::new(back.sender(), MESSAGE_LEN_MAX),
        back: &back,
        interface: const { &A::INTERFACE },
        board: &board,
        signals: &signals,
    };
    let inbox = Inbox::new(port, post).with_mailbox(mailbox);
    serve::<A>(inbox, async || ()).await
}
