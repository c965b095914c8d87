//! Who tries to get in at an actor's door without its key: they cost those who have it nothing.

mod common;
#[path = "network/counter.rs"]
mod counter;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Address, AuthKey, ConnectError};
use futures_util::future::join_all;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use common::{LONG, within};
use counter::{Counter, connected, key, listening, rest_of, socket_to};

/// Random bytes, cut handshakes, lengths beyond any, and mere connections cost the others nothing:
/// those who have the key are served meanwhile, and let in.
#[callboard::test]
async fn strangers_get_nowhere() {
    let (counter, address) = listening().await;
    let friend = connected(Counter::connect(&address, key())).await;
    // Sixty-four may stand at the door; these stay there.
    let silent: Vec<_> = (0..100).map(|_| socket_to(&address)).collect();
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..60_usize {
        let mut socket = socket_to(&address);
        let mut bytes: Vec<u8> = (0..round * 7)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()[3]
            })
            .collect();
        if round % 3 == 0 {
            // It knows how to begin, and announces more than there is.
            bytes.splice(..0, *b"cbd\n\x01\x00\x01\x00\xFF\xFF");
        }
        // It may have been closed before that.
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(Shutdown::Write);
        let told = rest_of(&socket);
        assert!(told.len() <= 16, "nobody is told much: {told:?}");
        assert_eq!(friend.add(1).await.unwrap(), round as u64 + 1);
    }
    drop(silent);
    // From here too many have failed; the actor's other ways are open, and time opens this one.
    let began = Instant::now();
    let mut connecting = Counter::connect(&address, key()).within(LONG).await;
    let busy = |error: &ConnectError| matches!(error, ConnectError::Busy { .. });
    while connecting.as_ref().err().is_some_and(busy) {
        assert!(began.elapsed() < LONG, "the door opens again");
        sleep(Duration::from_millis(200)).await;
        connecting = Counter::connect(&address, key()).within(LONG).await;
    }
    assert_eq!(connecting.unwrap().add(0).await.unwrap(), 60);
    assert_eq!(counter.add(0).await.unwrap(), 60);
}

/// Those who show nothing do not take the places of callers: where two may be connected, both who
/// have the key get in beside more who stand at the door and say nothing.
#[callboard::test]
async fn strangers_take_no_places() {
    let counter = Counter::spawn().listen(counter::HERE).authkey(key());
    let counter = counter.connections(2).await.unwrap();
    let address = counter.address().unwrap();
    // Fewer than may fail at once, for these do.
    let silent: Vec<_> = (0..6).map(|_| socket_to(address)).collect();
    let one = connected(Counter::connect(address, key())).await;
    assert_eq!(one.add(1).await.unwrap(), 1);
    let other = connected(Counter::connect(address, key())).await;
    assert_eq!(other.add(1).await.unwrap(), 2);
    let third = counter::refused(Counter::connect(address, key())).await;
    assert!(matches!(third, ConnectError::Busy { .. }), "{third}");
    drop(silent);
}

/// A machine of which ten have had another key is turned away unheard, also with the right one,
/// until time opens the door again; who was in before is served on.
#[callboard::test]
async fn those_who_fail_often_are_turned_away() {
    const AT_ONCE: usize = 10;
    let (counter, address) = listening().await;
    let friend = connected(Counter::connect(&address, key())).await;
    let by = |key: AuthKey| {
        let connecting = Counter::connect(&address, key).within(LONG);
        within(LONG, connecting.into_future())
    };
    let wrong = || AuthKey::from([2; 32]);
    let is_busy = |error: &ConnectError| matches!(error, ConnectError::Busy { .. });
    let is_auth = |error: &ConnectError| matches!(error, ConnectError::Auth { .. });
    let failing = || join_all((0..AT_ONCE).map(|_| by(wrong())));
    // So many may fail before it is closed.
    for failed in failing().await {
        let error = failed.expect_err("it is another key");
        assert!(is_auth(&error), "{error}");
    }
    let began = Instant::now();
    // One failure is forgotten each second: on a slow machine there must be more of them.
    while !by(key()).await.as_ref().err().is_some_and(is_busy) {
        assert!(
            began.elapsed() < LONG,
            "the door is closed to who fails often"
        );
        for failed in failing().await {
            let error = failed.expect_err("it is another key");
            assert!(is_auth(&error) || is_busy(&error), "{error}");
        }
    }
    assert_eq!(friend.add(1).await.unwrap(), 1);
    let began = Instant::now();
    let remote = loop {
        match by(key()).await {
            Ok(remote) => break remote,
            Err(error) => assert!(is_busy(&error), "{error}"),
        }
        assert!(began.elapsed() < LONG, "the door opens again");
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(remote.add(1).await.unwrap(), 2);
    assert_eq!(counter.add(0).await.unwrap(), 2);
}

/// A socket to a door that says nothing, from another of this machine's own addresses: each is a
/// source of its own, so that none is turned away for what others did.
async fn silent_from(number: u8, address: &Address) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
    socket.bind((source, 0).into()).expect("it is our own");
    let port = address.port().expect("it is TCP");
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let connecting = within(LONG, socket.connect(place));
    connecting.await.expect("somebody listens")
}

/// More than sixty-four do not stand at a door: the eldest are sent away without a word, long
/// before those who may stay are told that they are too late; who has the key gets in past them.
#[callboard::test]
async fn too_many_silent_ones_are_sent_away() {
    const MAY_STAND: usize = 64;
    const COME: u8 = 100;
    let (counter, address) = listening().await;
    let mut sent_away = 0;
    let mut let_in = 0;
    let began = Instant::now();
    // Where the machine is slow, they are too late before others come: then once more.
    while sent_away < usize::from(COME) - MAY_STAND {
        assert!(began.elapsed() < LONG, "only {sent_away} were sent away");
        let silent = join_all((1..=COME).map(|number| silent_from(number, &address))).await;
        let remote = connected(Counter::connect(&address, key())).await;
        let_in += 1;
        assert_eq!(remote.add(1).await.unwrap(), let_in);
        for mut socket in silent {
            let mut told = Vec::new();
            let reading = within(LONG, socket.read_to_end(&mut told));
            reading.await.expect("it is closed in order");
            sent_away += usize::from(told.is_empty());
        }
    }
    assert_eq!(counter.add(0).await.unwrap(), let_in);
}
