//! U07, U15, U16, U40-U43, U49: actors that other programs call, by address and key.

mod common;
#[path = "network/counter.rs"]
mod counter;

use std::fs;
use std::future::IntoFuture as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{
    AnyProxy, AuthKey, ConnectError, DowncastError, EncodeError, Exit, HelloError, LinkKind,
    ShutdownError, Unreached,
};
use tokio::time::{Instant, sleep};

use common::{Holdings, LONG, SOON, Scratch, alone, gone, within};
use counter::{
    Counter, CounterProxy, HERE, Other, TalkerProxy, connected, key, listening, refused, rest_of,
};

/// A connected proxy calls like the one that started the actor: results, errors, panics, order,
/// large messages, both ways at once.
#[callboard::test]
async fn connected_proxies_call() {
    let (counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    assert_eq!(remote.link(), LinkKind::Network);
    assert_eq!(remote.address(), Some(&address));
    assert_eq!(remote.process_id(), counter.process_id());
    assert_eq!(remote, counter, "it is the same actor");
    assert_eq!(remote.add(5).await.unwrap(), 5);
    assert_eq!(counter.add(1).await.unwrap(), 6);
    for value in 0..2000 {
        remote.see(value).tell().await.unwrap();
    }
    assert_eq!(remote.seen().await.unwrap(), Vec::from_iter(0..2000));
    let large: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
    let (one, two) = (remote.echo(large.clone()).start(), remote.add(1).start());
    assert_eq!(one.await.unwrap(), large);
    assert_eq!(two.await.unwrap(), 7);
    let error = remote.fail("no".to_owned()).await.unwrap_err();
    assert!(matches!(error, CallError::Actor(text) if text == "no"));
    let late = remote.wait().timeout(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    let error = remote.panic("oh".to_owned()).await.unwrap_err();
    assert!(matches!(&error, CallError::Panicked(report) if report.message() == "oh"));
    let exit = within(SOON, remote.exited()).await;
    assert_eq!(exit, Exit::Code(101), "its owner says so");
}

/// The traits of an actor and its live table are there by address, too; another type is told.
#[callboard::test]
async fn types_are_compared() {
    let (counter, address) = listening().await;
    let talker: TalkerProxy = connected(callboard::connect(&address, key())).await;
    assert_eq!(talker.word().await.unwrap(), "hello");
    let any: AnyProxy = connected(callboard::connect(&address, key())).await;
    assert!(any.type_name().ends_with("::Counter"));
    let again: CounterProxy = any.downcast().unwrap();
    assert_eq!(again.add(2).await.unwrap(), 2);
    let other = refused(Other::connect(&address, key())).await;
    let ConnectError::Type(DowncastError::OtherActor { expected, found }) = other else {
        panic!("{other}");
    };
    assert!(expected.ends_with("::Other") && found.ends_with("::Counter"));
    assert_eq!(counter.add(0).await.unwrap(), 2);
}

/// An actor listens at several places at once, each with the port that it was given; what it tells
/// others may differ. A named socket is its user's alone, and gone with the actor.
#[callboard::test]
async fn addresses_of_all_kinds() {
    let scratch = Scratch::new();
    let path = scratch.path("counter");
    let mut spawn = Counter::spawn()
        .authkey(key())
        .listen(HERE)
        .listen(format!("unix:{path}"));
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    if has_v6 {
        spawn = spawn.listen("tcp://[::1]:0");
    }
    let counter = spawn.await.unwrap();
    assert_eq!(counter.addresses().len(), 2 + usize::from(has_v6));
    for (number, address) in (1..).zip(counter.addresses()) {
        assert_ne!(address.port(), Some(0), "{address}");
        let remote = connected(Counter::connect(address, key())).await;
        assert_eq!(remote.add(1).await.unwrap(), number);
        let wrong = refused(Counter::connect(address, AuthKey::from([2; 32]))).await;
        assert!(matches!(wrong, ConnectError::Auth { .. }), "{wrong}");
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    counter.shutdown().await.unwrap();
    assert!(!fs::exists(&path).unwrap(), "nothing is left");

    let everywhere = Counter::spawn().authkey(key()).listen("tcp://0.0.0.0:0");
    let counter = everywhere.advertise("tcp://localhost:0").await.unwrap();
    let address = counter.address().unwrap();
    assert_eq!(address.host(), Some("localhost"));
    let remote = connected(Counter::connect(address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
}

/// What cannot be listened at is an error of the start, with the reason; nothing is left of it.
#[callboard::test]
async fn places_that_are_not_to_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken.local_addr().unwrap());
    for bad in [
        taken.as_str(),
        "tcp://192.0.2.1:1",
        "unix:/nonexistent/socket",
        "nonsense",
    ] {
        let error = Counter::spawn().listen(bad).authkey(key()).await;
        let error = error.unwrap_err();
        let SpawnError::Listen { reason } = &error else {
            panic!("{bad}: {error:?}");
        };
        assert!(reason.contains(bad), "{reason}");
    }
}

/// Without the key nobody gets in, whoever he is, and the client is told why; without a listener
/// the system says so; another protocol is one.
#[callboard::test]
async fn refusals_are_typed() {
    let (counter, address) = listening().await;
    let wrong = refused(Counter::connect(&address, AuthKey::from([2; 32]))).await;
    assert!(matches!(&wrong, ConnectError::Auth { address: told } if *told == address));
    // A passive listener or a fake server has nothing to tell it by; who has the key is let in.
    let remote = connected(Counter::connect(&address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    drop(remote);
    counter.shutdown().await.unwrap();
    let nobody = refused(Counter::connect(&address, key())).await;
    assert!(matches!(nobody, ConnectError::Io { .. }), "{nobody}");
    let no_name = refused(Counter::connect("unix:/nonexistent/socket", key())).await;
    assert!(matches!(no_name, ConnectError::Io { .. }), "{no_name}");
    let none = refused(Counter::connect("localhost:7000", key())).await;
    assert!(matches!(none, ConnectError::Address(_)), "{none}");

    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", other.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut socket, _) = other.accept().unwrap();
        socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        rest_of(&socket);
        // The second one is never answered.
        let (socket, _) = other.accept().unwrap();
        rest_of(&socket);
    });
    let foreign = refused(Counter::connect(at.as_str(), key())).await;
    assert!(
        matches!(
            &foreign,
            ConnectError::Hello {
                source: HelloError::Foreign,
                ..
            }
        ),
        "{foreign}"
    );
    let silent = Counter::connect(at.as_str(), key()).within(Duration::from_millis(100));
    let silent = silent.await.unwrap_err();
    assert!(matches!(silent, ConnectError::Timeout { .. }), "{silent}");
    serving.join().unwrap();
}

/// A proxy that was connected owns nothing: dropped, the actor lives; `shutdown` asks its owner;
/// `kill` ends the connection. What was told before a drop arrives.
#[callboard::test]
async fn connected_proxies_own_nothing() {
    let (counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    for value in 0..100 {
        remote.see(value).tell().await.unwrap();
    }
    drop(remote);
    let mut seen = Vec::new();
    while seen.len() < 100 {
        seen = within(LONG, counter.seen().into_future()).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(seen, Vec::from_iter(0..100));

    let remote = connected(Counter::connect(&address, key())).await;
    let waiting = remote.wait().start();
    assert_eq!(remote.seen().await.unwrap().len(), 100);
    assert_eq!(within(SOON, remote.kill()).await, Exit::Disconnected);
    let why = waiting.await.unwrap_err();
    assert!(
        matches!(
            why,
            CallError::Unreachable {
                why: Unreached::Cut,
                outcome: Outcome::MayHaveRun
            }
        ),
        "{why:?}"
    );
    assert!(!remote.is_alive() && counter.is_alive());
    let error = remote.stop().await.unwrap_err();
    assert!(matches!(error, ShutdownError::NotAsked(_)), "{error}");

    let remote = connected(Counter::connect(&address, key())).await;
    remote.shutdown().await.unwrap();
    within(SOON, counter.end_asked()).await;
    assert_eq!(
        remote.add(1).await.unwrap(),
        1,
        "it is for the owner to end it"
    );
    counter.shutdown().await.unwrap();
    assert_eq!(within(SOON, remote.exited()).await, Exit::Code(0));
    let error = remote.add(1).await.unwrap_err();
    assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotRun);
}

/// What an actor was sent before its end in order is answered over a network, too.
#[callboard::test]
async fn an_orderly_end_answers_first() {
    let (counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    let calls: Vec<_> = (0..200).map(|_| remote.add(1).start()).collect();
    // Behind those that came before it.
    assert_eq!(remote.add(0).await.unwrap(), 200);
    counter.shutdown().await.unwrap();
    for (number, call) in (1..).zip(calls) {
        assert_eq!(within(LONG, call).await.unwrap(), number);
    }
}

/// More callers than an actor is to have are told to come again, and may when others have gone.
#[callboard::test]
async fn the_number_of_callers_is_bounded() {
    let counter = Counter::spawn().listen(HERE).authkey(key()).connections(2);
    let counter = counter.await.unwrap();
    let address = counter.address().unwrap();
    let one = connected(Counter::connect(address, key())).await;
    let two = connected(Counter::connect(address, key())).await;
    let third = refused(Counter::connect(address, key())).await;
    assert!(matches!(third, ConnectError::Busy { .. }), "{third}");
    assert_eq!(one.add(1).await.unwrap(), 1);
    drop(two);
    let began = Instant::now();
    let mut third = Counter::connect(address, key()).within(LONG).await;
    while matches!(third, Err(ConnectError::Busy { .. })) {
        assert!(began.elapsed() < LONG, "there is room again");
        sleep(Duration::from_millis(5)).await;
        third = Counter::connect(address, key()).within(LONG).await;
    }
    assert_eq!(third.unwrap().add(1).await.unwrap(), 2);
}

/// What is too long for a network is an error before it is sent; the connection goes on.
#[callboard::test]
async fn what_cannot_travel_is_an_error() {
    let (_counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    let long = remote.echo(vec![0; 17 * 1024 * 1024]).await.unwrap_err();
    assert!(
        matches!(
            &long,
            CallError::Encode {
                source: EncodeError::TooLarge { .. },
                ..
            }
        ),
        "{long:?}"
    );
    assert_eq!(remote.add(1).await.unwrap(), 1);
}

/// Actors of one family know each other's key without being told, and nobody sees it: it is in no
/// argument and no variable of their processes.
#[callboard::test]
async fn families_have_a_key() {
    let counter = Counter::spawn().listen(HERE).await.unwrap();
    let address = counter.address().unwrap().clone();
    let family = AuthKey::of_family().unwrap();
    let remote = connected(Counter::connect(&address, &family)).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    let sibling = Sibling::spawn(address.to_string()).await.unwrap();
    assert_eq!(sibling.add(2).await.unwrap(), 3);
    let scratch = Scratch::new();
    let path = scratch.path("key");
    family.write_file(&path).unwrap();
    let digits = fs::read_to_string(&path).unwrap();
    for file in ["environ", "cmdline"] {
        let text = fs::read(format!("/proc/{}/{file}", counter.process_id())).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(digits.trim()), "{file}");
    }
}

/// An actor that calls another one of its family by address.
pub struct Sibling {
    address: String,
}

#[actor]
impl Sibling {
    pub fn new(address: String) -> Self {
        Self { address }
    }

    pub async fn add(&self, by: u64) -> Result<u64, String> {
        let key = AuthKey::of_family().map_err(|error| error.to_string())?;
        let counter = Counter::connect(self.address.as_str(), key);
        let counter = counter.await.map_err(|error| error.to_string())?;
        counter.add(by).await.map_err(|error| error.to_string())
    }
}

/// However it ends, a connection leaves nothing behind in the caller's process.
#[callboard::test]
async fn connections_leave_nothing() {
    if !alone("connections_leave_nothing") {
        return;
    }
    let (counter, address) = listening().await;
    let once = || async {
        let remote = connected(Counter::connect(&address, key())).await;
        remote.add(1).await.unwrap();
        remote.kill().await;
        drop(connected(Counter::connect(&address, key())).await);
        refused(Other::connect(&address, key())).await;
        refused(Counter::connect(&address, AuthKey::from([9; 32]))).await;
        let dropped = Counter::connect(&address, key()).into_future();
        let _ = tokio::time::timeout(Duration::from_millis(1), dropped).await;
    };
    once().await;
    let before = Holdings::settled().await;
    for _ in 0..3 {
        once().await;
    }
    assert_eq!(Holdings::settled().await, before);
    let pid = counter.process_id();
    counter.shutdown().await.unwrap();
    gone(pid).await;
}

/// An actor's own caller at another machine cannot be told from one here: two that call each other
/// over a network get the circle, too.
#[callboard::test]
async fn circles_are_told_over_a_network() {
    let (_ours, _) = listening().await;
    let circle = Circle::spawn().listen(HERE).authkey(key()).await.unwrap();
    let address = circle.address().unwrap().to_string();
    let error = within(SOON, circle.round(address).into_future()).await;
    let error = error.unwrap();
    assert!(error.contains("wait for each other"), "{error}");
}

/// Calls itself by address, and waits for it.
pub struct Circle;

#[actor]
impl Circle {
    pub fn new() -> Self {
        Self
    }

    pub async fn round(&mut self, address: String) -> String {
        let own = Self::connect(address, key()).within(LONG).await;
        match own {
            Ok(own) => match own.round(String::new()).await {
                Ok(text) => text,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        }
    }
}
