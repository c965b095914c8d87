//! U15, U40, U43, U49: the life of a connection: who may ask for an actor's end and who ends it.

mod common;
#[path = "network/counter.rs"]
mod counter;

use std::future::IntoFuture as _;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use callboard::pool::Pool;
use callboard::prelude::*;
use callboard::supervision::{Strategy, Supervisor};
use callboard::{AuthKey, ConnectError, DownReason, Exit, LifeEvent, LinkKind, ShutdownError};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use common::{Holdings, LONG, SOON, Scratch, again, alone, is_role, may_open, signal, within};
use counter::{Counter, HERE, connected, key};

/// Has a say in its end.
pub struct Shop {
    open: bool,
    asked: u32,
}

#[actor]
impl Shop {
    pub fn new() -> Self {
        Self {
            open: true,
            asked: 0,
        }
    }

    pub fn close(&mut self) {
        self.open = false;
    }

    pub fn asked(&self) -> u32 {
        self.asked
    }

    pub fn fall(&self) {
        panic!("as the test wants it")
    }

    #[on_end_asked]
    async fn end_asked(&mut self) -> Result<(), String> {
        self.asked += 1;
        if self.open {
            Err("it is open".to_owned())
        } else {
            Ok(())
        }
    }
}

/// A connected proxy's `shutdown` runs the actor's hook for it, alone and in its order. The hook
/// may say no: then its caller gets the reason and the owner is told nothing. The actor lives in
/// either case, until its owner ends it.
#[callboard::test]
async fn the_actor_is_asked_before_its_owner() {
    let shop = Shop::spawn().listen(HERE).authkey(key()).await.unwrap();
    let remote = connected(Shop::connect(shop.address().unwrap(), key())).await;
    let error = remote.stop().await.unwrap_err();
    assert!(
        matches!(&error, ShutdownError::Refused { reason } if reason == "it is open"),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "the actor does not end for who asked: it is open"
    );
    assert_eq!(remote.asked().await.unwrap(), 1);
    assert!(!shop.end_asked_within(Duration::from_millis(20)).await);

    let closing = remote.close().start();
    remote.stop().await.unwrap();
    within(SOON, closing).await.unwrap();
    assert!(shop.end_asked_within(LONG).await);
    assert_eq!(remote.asked().await.unwrap(), 2, "and it lives");
    shop.shutdown().await.unwrap();
    assert_eq!(within(SOON, remote.exited()).await, Exit::Code(0));
    assert!(shop.end_asked_within(LONG).await, "it has ended");
    // Who owns it is not asked by the hook.
    let shop = Shop::spawn().await.unwrap();
    shop.shutdown().await.unwrap();
}

/// A server serves until a client asks for its end, or a signal does; its actor then ends in order,
/// and what follows in the program runs.
#[callboard::test]
async fn servers_serve_until_they_are_asked() {
    const TEST: &str = "servers_serve_until_they_are_asked";
    const ROLE: &str = "server";
    if is_role(ROLE) {
        let shop = Shop::spawn().listen(HERE).authkey(key()).await.unwrap();
        println!("address {}", shop.address().unwrap());
        let pid = shop.process_id();
        shop.serve().await.unwrap();
        assert!(common::is_gone(pid));
        println!("served");
        return;
    }
    for by in [None, Some(Signal::SIGTERM)] {
        let mut server = again(TEST, ROLE).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| Some(line.unwrap().split_once("address ")?.1.to_owned()))
            .unwrap();
        let remote = connected(Shop::connect(address, key())).await;
        remote.close().await.unwrap();
        match by {
            None => remote.shutdown().await.unwrap(),
            // It serves, or is about to: it hears the signal only then.
            Some(by) => {
                common::eventually(LONG, "it hears signals", || catches(server.id(), by)).await;
                signal(server.id(), by);
            }
        }
        assert_eq!(within(LONG, remote.exited()).await, Exit::Code(0), "{by:?}");
        let gone = within(LONG, remote.asked().into_future()).await;
        assert!(matches!(gone, Err(CallError::Stopped { .. })), "{gone:?}");
        assert!(lines.any(|line| line.unwrap() == "served"), "{by:?}");
        assert!(server.wait().unwrap().success());
    }
}

/// What listens at one place, by its type.
pub struct Kiosk(u64);

fn key_of_kiosks() -> AuthKey {
    AuthKey::from([3; 32])
}

#[actor(listen = [HERE, "tcp://127.0.0.1:0"], authkey = key_of_kiosks(), connections = 1 + 1)]
impl Kiosk {
    pub fn new() -> Self {
        Self(0)
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.0 += by;
        self.0
    }
}

/// Where an actor listens, by which key and for how many, is said by its type as well as by its
/// start, in a process of its own or in a task; the start has the last word about the key.
#[callboard::test]
async fn types_say_where_they_listen() {
    for (kiosk, opens) in [
        (Kiosk::spawn().await.unwrap(), key_of_kiosks()),
        (Kiosk::local().await.unwrap(), key_of_kiosks()),
        (Kiosk::local().authkey(key()).await.unwrap(), key()),
    ] {
        let mut remotes = Vec::new();
        for (number, address) in (1..).zip(kiosk.addresses()) {
            let remote = connected(Kiosk::connect(address, &opens)).await;
            assert_eq!(remote.add(1).await.unwrap(), number);
            remotes.push(remote);
        }
        assert_eq!(remotes.len(), 2);
        let third = Kiosk::connect(kiosk.address().unwrap(), &opens);
        let third = counter::refused(third).await;
        assert!(matches!(third, ConnectError::Busy { .. }), "{third}");
        kiosk.shutdown().await.unwrap();
        for remote in remotes {
            assert_eq!(within(SOON, remote.exited()).await, Exit::Code(0));
        }
    }
}

/// A task listens like a process: it is called by address, asked for its end, and leaves nothing.
/// What it was sent before an end in order is answered first; one that is dropped is gone for its
/// callers, too.
#[callboard::test]
async fn tasks_listen() {
    let scratch = Scratch::new();
    let path = scratch.path("shop");
    let address = format!("unix:{path}");
    let shop = Shop::local().listen(&*address).authkey(key());
    let shop = shop.await.unwrap();
    assert_eq!(shop.address().unwrap().to_string(), address);
    let remote = connected(Shop::connect(&*address, key())).await;
    assert_eq!(remote.link(), LinkKind::Network);
    assert_eq!(remote, shop, "it is the same actor");
    let error = remote.stop().await.unwrap_err();
    assert!(matches!(error, ShutdownError::Refused { .. }), "{error:?}");
    assert!(!shop.end_asked_within(Duration::from_millis(20)).await);
    remote.close().await.unwrap();
    remote.stop().await.unwrap();
    assert!(shop.end_asked_within(LONG).await);
    let calls: Vec<_> = (0..100).map(|_| remote.asked().start()).collect();
    // Behind those that came before it.
    assert_eq!(remote.asked().await.unwrap(), 2);
    shop.shutdown().await.unwrap();
    for call in calls {
        assert_eq!(within(LONG, call).await.unwrap(), 2);
    }
    assert_eq!(within(SOON, remote.exited()).await, Exit::Code(0));
    assert!(!std::fs::exists(&path).unwrap(), "nothing is left");

    let shop = Shop::local().listen(&*address).authkey(key());
    let shop = shop.await.unwrap();
    let remote = connected(Shop::connect(&*address, key())).await;
    assert_eq!(shop.kill().await, Exit::Dropped);
    assert_eq!(within(SOON, remote.exited()).await, Exit::Dropped);
    let error = remote.asked().await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    let is_gone = || !std::fs::exists(&path).unwrap();
    common::eventually(LONG, "nothing is left", is_gone).await;

    let taken = Shop::local().listen("tcp://192.0.2.1:1").authkey(key());
    let taken = taken.await.unwrap_err();
    assert!(matches!(taken, SpawnError::Listen { .. }), "{taken:?}");
}

/// An actor in a supervisor's care is asked for its end like any other, in whichever life: its hook
/// may say no, its owner hears of a yes, also if that life has ended by then; and is kept until
/// somebody asks.
#[callboard::test]
async fn who_is_supervised_can_be_asked() {
    let scratch = Scratch::new();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    for is_task in [false, true] {
        let address = format!(
            "unix:{}",
            scratch.path(if is_task { "task" } else { "process" })
        );
        let at = address.clone();
        let shop: ShopProxy = if is_task {
            let make = move || Shop::local().listen(&*at).authkey(key());
            supervisor.spawn(make).await.unwrap()
        } else {
            let make = move || Shop::spawn().listen(&*at).authkey(key());
            supervisor.spawn(make).await.unwrap()
        };
        assert_eq!(shop.address().unwrap().to_string(), address);
        let mut monitor = shop.monitor();
        let mut lives = 0;
        let mut next_life = async || {
            lives += 1;
            while !matches!(
                within(LONG, monitor.next()).await,
                Some(LifeEvent::Up { restarts, .. }) if restarts == lives
            ) {}
        };
        let asked_before = shop.end_asked();
        crash(&shop, is_task).await;
        next_life().await;
        let remote = connected(Shop::connect(&*address, key())).await;
        let error = remote.stop().await.unwrap_err();
        assert!(matches!(error, ShutdownError::Refused { .. }), "{error:?}");
        assert!(!shop.end_asked_within(Duration::from_millis(20)).await);
        remote.close().await.unwrap();
        remote.stop().await.unwrap();
        within(LONG, asked_before).await;
        assert!(shop.end_asked_within(LONG).await);
        crash(&shop, is_task).await;
        next_life().await;
        assert!(shop.end_asked_within(LONG).await, "it was asked");
        within(LONG, shop.serve()).await.unwrap();
        assert_eq!(within(LONG, shop.exited()).await, Exit::Code(0));
        assert_eq!(monitor.down().await, Some(DownReason::Stopped));
        assert!(!std::fs::exists(scratch.path("process")).unwrap());
    }
    supervisor.stop().await.unwrap();
}

/// Who asks a member of a pool for its end asks the pool's owner: in whichever life of it, also if
/// that life has ended by then. The member may say no, lives in either case, and ends with all.
#[callboard::test]
async fn members_of_pools_can_be_asked() {
    let scratch = Scratch::new();
    for is_task in [false, true] {
        let path = scratch.path(if is_task { "task" } else { "process" });
        let address = move |number: usize| format!("unix:{path}-{number}");
        let at = address.clone();
        let pool: Pool<ShopProxy> = if is_task {
            let make = move |number| Shop::local().listen(&*at(number)).authkey(key());
            Pool::spawn(2, make).await.unwrap()
        } else {
            let make = move |number| Shop::spawn().listen(&*at(number)).authkey(key());
            Pool::spawn(2, make).await.unwrap()
        };
        let asked_before = pool.end_asked();
        let fall = async |life: u64| {
            crash(&pool.on(&1), is_task).await;
            let is_back = || {
                let members = pool.members();
                let lives: u64 = members.iter().map(|member| member.restarts).sum();
                lives == life && members.iter().all(|member| member.is_alive)
            };
            common::eventually(LONG, "another one is there", is_back).await;
        };
        fall(1).await;
        let members = pool.members();
        let again = members.iter().position(|member| member.restarts == 1);
        let again = again.expect("it has fallen");
        let remote = connected(Shop::connect(&*address(again), key())).await;
        let error = remote.stop().await.unwrap_err();
        assert!(matches!(error, ShutdownError::Refused { .. }), "{error:?}");
        assert!(!pool.end_asked_within(Duration::from_millis(20)).await);
        remote.close().await.unwrap();
        remote.stop().await.unwrap();
        within(LONG, asked_before).await;
        assert!(pool.end_asked_within(LONG).await);
        assert_eq!(remote.asked().await.unwrap(), 2, "and it lives");
        fall(2).await;
        assert!(pool.end_asked_within(LONG).await, "it was asked");
        within(LONG, pool.serve()).await.unwrap();
        assert_eq!(within(LONG, pool.exited()).await, Exit::Code(0));
        for number in 0..2 {
            let address = address(number);
            let path = address.strip_prefix("unix:").unwrap();
            assert!(!std::fs::exists(path).unwrap(), "{path} is left");
        }
    }
    // Where nobody asks, what ends is a pool that has ended.
    let pool = Pool::spawn(2, |_| Shop::spawn()).await.unwrap();
    assert!(!pool.end_asked_within(Duration::from_millis(20)).await);
    pool.kill().await;
    assert!(pool.end_asked_within(LONG).await);
}

/// Ends the present life of a supervised actor, which is then started again.
async fn crash(shop: &ShopProxy, is_task: bool) {
    if is_task {
        let error = shop.fall().await.expect_err("it has fallen");
        assert!(matches!(error, CallError::Panicked(_)), "{error:?}");
    } else {
        signal(shop.process_id(), Signal::SIGKILL);
    }
}

/// What a client was told is accepted arrives, although it hangs up and its program ends while the
/// actor takes nothing: more than both sides and the sockets between them hold at once.
#[callboard::test]
async fn what_was_accepted_arrives_after_the_end() {
    const TEST: &str = "what_was_accepted_arrives_after_the_end";
    const ROLE: &str = "client";
    const ADDRESS: &str = "CALLBOARD_TEST_ADDRESS";
    if is_role(ROLE) {
        let address = std::env::var(ADDRESS).unwrap();
        let remote = connected(Counter::connect(&*address, key())).await;
        let mut accepted = 0;
        while let Ok(told) = timeout(Duration::from_millis(500), remote.see(accepted).tell()).await
        {
            told.unwrap();
            accepted += 1;
        }
        println!("accepted {accepted}");
        return;
    }
    let counter = Counter::spawn().listen(HERE).authkey(key());
    let counter = counter.await.unwrap();
    let busy = counter.hold().no_timeout().start();
    let mut client = again(TEST, ROLE);
    client.env(ADDRESS, counter.address().unwrap().to_string());
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let accepted = lines.find_map(|line| Some(line.unwrap().split_once("accepted ")?.1.to_owned()));
    let accepted: u64 = accepted.unwrap().parse().unwrap();
    assert!(accepted > 5_000, "{accepted} fit anywhere");
    // Long enough for a client that does not wait to be gone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(busy);
    let seen = within(LONG, async {
        loop {
            let seen = counter.seen().await.unwrap();
            if seen.len() as u64 == accepted {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(
        seen.await.into_iter().eq(0..accepted),
        "each once, in order"
    );
    assert!(client.wait().unwrap().success());
}

/// While the keys of a service are changed both let in, and no other one; more than four are an
/// error of the start.
#[callboard::test]
async fn keys_are_changed_without_a_pause() {
    let (new, old) = (AuthKey::from([8; 32]), AuthKey::from([9; 32]));
    let shop = Shop::spawn().listen(HERE).authkey(&new).or_authkey(&old);
    let shop = shop.await.unwrap();
    let address = shop.address().unwrap();
    for key in [&new, &old] {
        let remote = connected(Shop::connect(address, key)).await;
        assert_eq!(remote.asked().await.unwrap(), 0);
    }
    let wrong = counter::refused(Shop::connect(address, key())).await;
    assert!(matches!(wrong, ConnectError::Auth { .. }), "{wrong}");
    let mut many = Shop::spawn().listen(HERE).authkey(&new);
    for byte in 0..4 {
        many = many.or_authkey([byte; 32]);
    }
    let many = many.await.unwrap_err();
    assert!(
        matches!(&many, SpawnError::Listen { reason } if reason.contains("5 keys")),
        "{many:?}"
    );
}

/// A type as it was in an earlier build of the program.
mod earlier {
    use callboard::prelude::*;

    pub struct Clock;

    #[actor(name = "network_life.Clock")]
    impl Clock {
        pub fn new() -> Self {
            Self
        }

        pub fn gone(&self) -> u32 {
            0
        }

        pub fn hour(&self) -> u32 {
            0
        }

        pub fn set(&mut self, hour: u32) {
            let _ = hour;
        }

        #[version(1)]
        pub fn pace(&self) -> u32 {
            0
        }
    }
}

/// The same type in a later build: with other methods, in another order.
mod later {
    use callboard::prelude::*;

    pub struct Clock(u64);

    #[actor(name = "network_life.Clock")]
    impl Clock {
        pub fn new() -> Self {
            Self(7)
        }

        pub fn minute(&self) -> u64 {
            59
        }

        pub fn set(&mut self, hour: u64) {
            self.0 = hour;
        }

        #[version(2)]
        pub fn pace(&self) -> u32 {
            2
        }

        pub fn hour(&self) -> u32 {
            12
        }
    }
}

/// Two builds of a program talk to each other as far as they agree: methods that did not change
/// work, whatever their place; one that did, and one that is gone, are errors that name it, and
/// nothing runs.
#[callboard::test]
async fn builds_that_differ_agree_on_the_rest() {
    let clock = later::Clock::local().listen(HERE).authkey(key());
    let clock = clock.await.unwrap();
    let remote = connected(earlier::Clock::connect(clock.address().unwrap(), key())).await;
    assert_eq!(remote.hour().await.unwrap(), 12);
    let changed = remote.set(5).await.unwrap_err();
    assert!(
        matches!(changed, CallError::Schema { method: "set" }),
        "{changed:?}"
    );
    assert_eq!(changed.outcome(), Outcome::NotRun);
    assert!(changed.to_string().contains("`set`"), "{changed}");
    let means_more = remote.pace().await.unwrap_err();
    assert!(
        matches!(means_more, CallError::Schema { method: "pace" }),
        "{means_more:?}"
    );
    let gone = remote.gone().await.unwrap_err();
    assert!(
        matches!(gone, CallError::UnknownMethod { method: "gone" }),
        "{gone:?}"
    );
    assert_eq!(remote.hour().await.unwrap(), 12, "the connection goes on");
    assert_eq!(clock.minute().await.unwrap(), 59);
}

/// A thousand callers of one actor cost it and them a bounded piece of memory each, are all served,
/// and leave nothing when they go.
#[callboard::test]
async fn a_thousand_callers_fit() {
    const CALLERS: u16 = 1000;
    /// Bytes of each that are really there; rings that were not used yet are not.
    const EACH_MAX: usize = 96 * 1024;
    if !alone("a_thousand_callers_fit") {
        return;
    }
    if !may_open(2 * u64::from(CALLERS)) {
        return;
    }
    let counter = Counter::spawn().listen(HERE).authkey(key());
    let counter = counter.connections(CALLERS.into()).await.unwrap();
    let address = counter.address().unwrap();
    let pids = [counter.process_id(), std::process::id()];
    let mut callers = vec![connected(Counter::connect(address, key())).await];
    assert_eq!(callers[0].add(1).await.unwrap(), 1);
    let before = (pids.map(resident), Holdings::now());
    while callers.len() < usize::from(CALLERS) {
        let caller = connected(Counter::connect(address, key())).await;
        assert_eq!(caller.add(1).await.unwrap(), callers.len() as u64 + 1);
        callers.push(caller);
    }
    for (pid, before) in pids.into_iter().zip(before.0) {
        let each = resident(pid).saturating_sub(before) / usize::from(CALLERS);
        assert!(each <= EACH_MAX, "{each} bytes each in {pid}");
    }
    let calls: Vec<_> = callers.iter().map(|caller| caller.add(1).start()).collect();
    for call in calls {
        within(LONG, call).await.unwrap();
    }
    assert_eq!(counter.add(0).await.unwrap(), 2 * u64::from(CALLERS));
    callers.truncate(1);
    common::eventually(LONG, "they are gone", || Holdings::now() == before.1).await;
    assert_eq!(callers[0].add(1).await.unwrap(), 2 * u64::from(CALLERS) + 1);
}

/// Bytes of a process's memory that are really there.
fn resident(pid: u32) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it is there");
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok());
    4096 * pages.unwrap_or(0_usize)
}

/// Whether a process has a handler for a signal.
fn catches(pid: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap_or_default().trim(), 16).unwrap_or_default();
    caught & (1 << (signal as i32 - 1)) != 0
}
