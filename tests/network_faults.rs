//! What goes wrong on a network: every call ends, with the reason.

mod common;
#[path = "network/between.rs"]
mod between;
#[path = "network/counter.rs"]
mod counter;

use std::fs;
use std::future::IntoFuture as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Address, ConnectError, Exit, Unreached};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::sockopt::set_socket_linger;
use tokio::time::sleep;

use between::between;
use common::{LONG, SOON, again, eventually, gone, is_role, is_stopped, place_of, signal, within};
use counter::{Counter, connected, key, listening, refused, rest_of, socket_to};

/// What a program says before the process and the address of its actor.
const PROGRAM: &str = "program: ";

/// A process that is killed is an error of every call that waits for it, at once and with the
/// reason; one that stands still is given up when it was silent.
#[callboard::test]
async fn the_dead_and_the_silent_are_noticed() {
    let (counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    let waiting = remote.wait().start();
    // It was read by now: it was sent before.
    assert!(remote.seen().await.unwrap().is_empty());
    signal(counter.process_id(), Signal::SIGKILL);
    let error = within(SOON, waiting).await.unwrap_err();
    let CallError::Died { death, outcome } = error else {
        panic!("{error:?}");
    };
    let killed = matches!(
        death.exit(),
        Exit::Signal {
            number: libc::SIGKILL,
            ..
        }
    );
    assert!(killed, "its owner says so: {death}");
    assert_eq!(outcome, Outcome::MayHaveRun);
    let later = remote.add(1).await.unwrap_err();
    assert_eq!(later.outcome(), Outcome::NotRun);

    let (counter, address) = listening().await;
    let remote = connected(Counter::connect(&address, key())).await;
    let waiting = remote.wait().start();
    // It was read by now: it was sent before.
    assert!(remote.seen().await.unwrap().is_empty());
    signal(counter.process_id(), Signal::SIGSTOP);
    let error = within(LONG, waiting).await.unwrap_err();
    signal(counter.process_id(), Signal::SIGCONT);
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::Silent,
                ..
            }
        ),
        "{error:?}"
    );
}

/// Where a whole program is killed, the actor and who has started it, nobody is left to say how:
/// the calls of others end as unreachable, and whoever connects is told that nobody is there.
#[callboard::test]
async fn whole_programs_are_killed() {
    const TEST: &str = "whole_programs_are_killed";
    const ROLE: &str = "program";
    if is_role(ROLE) {
        let (counter, address) = listening().await;
        // The harness has written before it on the same line.
        println!("\n{PROGRAM}{} {address}", counter.process_id());
        return std::future::pending().await;
    }
    let mut program = again(TEST, ROLE).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let told = lines.find_map(|line| Some(line.unwrap().strip_prefix(PROGRAM)?.to_owned()));
    let told = told.expect("it says where it is");
    let (pid, address) = told.split_once(' ').expect("it says both");
    let pid = pid.parse().unwrap();
    let remote = connected(Counter::connect(address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    let waiting = remote.wait().start();
    // It was read by now: it was sent before.
    assert!(remote.seen().await.unwrap().is_empty());
    // It is not to end in order when its owner is gone.
    signal(pid, Signal::SIGSTOP);
    eventually(SOON, "it stands still", || is_stopped(pid)).await;
    program.kill().unwrap();
    program.wait().unwrap();
    // It may have ended with its owner.
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    gone(pid).await;
    let error = within(SOON, waiting).await.unwrap_err();
    let CallError::Unreachable { why, outcome } = error else {
        panic!("{error:?}");
    };
    assert_eq!(outcome, Outcome::MayHaveRun);
    assert!(
        matches!(why, Unreached::Reset | Unreached::Closed),
        "{why:?}"
    );
    let later = within(SOON, remote.add(1).into_future()).await.unwrap_err();
    assert!(matches!(later, CallError::Unreachable { .. }), "{later:?}");
    assert_eq!(later.outcome(), Outcome::NotRun);
    let nobody = refused(Counter::connect(address, key())).await;
    assert!(matches!(nobody, ConnectError::Io { .. }), "{nobody}");
}

/// A caller that is killed or goes without a word leaves nothing with the actor, and its running
/// method hears of it no more than of any caller that is gone; others are served on.
#[callboard::test]
async fn callers_come_and_go() {
    const TEST: &str = "callers_come_and_go";
    const ROLE: &str = "caller";
    const ADDRESS: &str = "CALLBOARD_TEST_ADDRESS";
    if is_role(ROLE) {
        let address = std::env::var(ADDRESS).unwrap();
        let remote = connected(Counter::connect(address, key())).await;
        remote.add(1).await.unwrap();
        println!("joined");
        return std::future::pending().await;
    }
    let (counter, address) = listening().await;
    let sockets = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", counter.process_id())).unwrap();
        fds.count()
    };
    assert_eq!(counter.add(0).await.unwrap(), 0);
    // With the first caller comes a way in for its neighbours, which stays.
    let before = sockets() + 1;
    let mut callers: Vec<Child> = (0..3)
        .map(|_| {
            let mut caller = again(TEST, ROLE);
            caller.env(ADDRESS, address.to_string());
            caller.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let mut joined = 0;
    while joined < 3 {
        joined = within(LONG, counter.add(0).into_future()).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sockets(), before + 3);
    for caller in &mut callers {
        caller.kill().unwrap();
        caller.wait().unwrap();
    }
    eventually(SOON, "the actor has let go of them", || sockets() == before).await;
    for _ in 0..20 {
        let remote = connected(Counter::connect(&address, key())).await;
        remote.add(1).await.unwrap();
    }
    eventually(SOON, "and of these", || sockets() == before).await;
    assert_eq!(counter.add(0).await.unwrap(), 23);
}

/// A connection that is reset is noticed at once; a new proxy works.
#[callboard::test]
async fn resets_are_noticed() {
    let (_counter, address) = listening().await;
    let proxy = Proxying::to(&address);
    let remote = connected(Counter::connect(proxy.address.as_str(), key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    let waiting = remote.wait().start();
    // It was read by now: it was sent before.
    assert!(remote.seen().await.unwrap().is_empty());
    proxy.reset();
    let error = within(SOON, waiting).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::Reset,
                outcome: Outcome::MayHaveRun
            }
        ),
        "{error:?}"
    );
    let again = connected(Counter::connect(&address, key())).await;
    assert_eq!(within(SOON, again.add(1).into_future()).await.unwrap(), 2);
}

/// Somebody on the way, who may pass on, change and end what goes through him.
struct Proxying {
    address: String,
    sockets: thread::JoinHandle<(TcpStream, TcpStream)>,
}

impl Proxying {
    fn to(address: &Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are sockets");
        let own = format!(
            "tcp://{}",
            listener.local_addr().expect("there are sockets")
        );
        let place = place_of(address);
        let sockets = thread::spawn(move || {
            let (near, _) = listener.accept().expect("there are sockets");
            let far = TcpStream::connect(place).expect("there are sockets");
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (
                    from.try_clone().expect("there are sockets"),
                    to.try_clone().expect("there are sockets"),
                );
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
            (near, far)
        });
        Self {
            address: own,
            sockets,
        }
    }

    fn reset(self) {
        let (near, far) = self.sockets.join().expect("it has not panicked");
        for socket in [near, far] {
            // The last of those who copy closes it, with a reset.
            set_socket_linger(&socket, Some(Duration::ZERO)).expect("there are sockets");
            socket.shutdown(Shutdown::Read).expect("there are sockets");
        }
    }
}

/// What is not the peer's, in either direction, is not used: the link ends, whoever has noticed
/// says why, and others are served on.
#[callboard::test]
async fn changed_bytes_are_noticed() {
    let (counter, address) = listening().await;
    for (from_client, expected) in [(true, 1), (false, 2)] {
        let remote = connected(Counter::connect(changing(&address, from_client), key())).await;
        assert_eq!(remote.add(1).await.unwrap(), expected);
        let error = within(SOON, remote.echo(vec![7; 500_000]).into_future()).await;
        let error = error.unwrap_err();
        let CallError::Unreachable { why, .. } = error else {
            panic!("{from_client}: {error:?}");
        };
        // The actor is the one who notices what came from the client, and ends the connection.
        assert_eq!(why == Unreached::Tampered, !from_client, "{why:?}");
        let later = within(SOON, remote.add(1).into_future()).await.unwrap_err();
        assert_eq!(later.outcome(), Outcome::NotRun);
        assert_eq!(counter.add(0).await.unwrap(), expected);
    }
    let another = connected(Counter::connect(&address, key())).await;
    assert_eq!(another.add(1).await.unwrap(), 3);
}

/// Somebody on the way to an actor, who changes one bit of what the client says, or else of what
/// the actor does.
fn changing(address: &Address, of_client: bool) -> String {
    // Behind the handshake and the welcome: somewhere in the long message.
    const PLACE: usize = 100_000;
    let passed = AtomicUsize::new(0);
    between(address, move |from_client, bytes| {
        if from_client == of_client {
            let before = passed.fetch_add(bytes.len(), Ordering::Relaxed);
            let place = PLACE.checked_sub(before);
            if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                *byte ^= 1;
            }
        }
        bytes.len()
    })
}

/// Wherever a connection is cut that is being made, by the client's bytes or the actor's, whoever
/// connects is told, and nobody hangs; the actor serves on, and counts nobody as an intruder.
#[callboard::test]
async fn connections_are_cut_anywhere() {
    let (counter, address) = listening().await;
    let friend = connected(Counter::connect(&address, key())).await;
    for from_client in [true, false] {
        // Preambles and handshake are 124 bytes of the client's and 106 of the actor's.
        for most in (0_usize..240).step_by(11) {
            let passed = AtomicUsize::new(0);
            let way = between(&address, move |of_client, bytes| {
                if of_client != from_client {
                    return bytes.len();
                }
                let before = passed.fetch_add(bytes.len(), Ordering::Relaxed);
                most.saturating_sub(before).min(bytes.len())
            });
            let connecting = Counter::connect(way, key()).within(LONG).into_future();
            match within(SOON, connecting).await {
                Err(ConnectError::Io { .. } | ConnectError::Auth { .. }) => {}
                Err(other) => panic!("{from_client} {most}: {other}"),
                // It was in, for a moment.
                Ok(remote) => {
                    let error = within(SOON, remote.wait().into_future()).await.unwrap_err();
                    assert!(
                        matches!(error, CallError::Unreachable { .. }),
                        "{from_client} {most}: {error:?}"
                    );
                }
            }
        }
    }
    assert_eq!(friend.add(1).await.unwrap(), 1);
    let another = connected(Counter::connect(&address, key())).await;
    assert_eq!(another.add(1).await.unwrap(), 2);
    assert_eq!(counter.add(0).await.unwrap(), 2);
}

/// What was recorded on the way, sent again to the actor, does nothing: not even who sent it gets
/// in. What a client says, sent back to it, is no answer.
#[callboard::test]
async fn recordings_and_mirrors_do_nothing() {
    let (counter, address) = listening().await;
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let tape = Arc::clone(&recorded);
    let way = between(&address, move |from_client, bytes| {
        if from_client {
            tape.lock().unwrap().extend_from_slice(bytes);
        }
        bytes.len()
    });
    let remote = connected(Counter::connect(way, key())).await;
    assert_eq!(remote.add(5).await.unwrap(), 5);
    let bytes = recorded.lock().unwrap().clone();
    assert!(bytes.len() > 124 + 64, "there is a call in it");
    for _ in 0..5 {
        let mut socket = socket_to(&address);
        // It may be closed before all of it is taken.
        let _ = socket.write_all(&bytes);
        let told = rest_of(&socket);
        assert!(told.len() <= 106 + 16, "no more than a handshake");
    }
    assert_eq!(counter.add(0).await.unwrap(), 5);

    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", mirror.local_addr().unwrap());
    thread::spawn(move || {
        let (mut from, _) = mirror.accept().unwrap();
        let mut to = from.try_clone().unwrap();
        let _ = std::io::copy(&mut from, &mut to);
    });
    let error = Counter::connect(at, key()).within(SOON).await.unwrap_err();
    assert!(matches!(error, ConnectError::Auth { .. }), "{error}");
}
