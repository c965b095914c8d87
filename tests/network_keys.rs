//! U07, U43: keys of single addresses, and all of an actor's keys at every way to it.

#[path = "network/counter.rs"]
mod counter;
mod common;

use std::future::IntoFuture as _;

use callboard::prelude::*;
use callboard::{Address, AuthError, AuthKey, ConnectError, LinkKind, credentials};

use common::{LONG, Scratch, within};
use counter::{Counter, CounterProxy, HERE, connected, refused};

/// The key of this number.
fn key_of(number: u8) -> AuthKey {
    AuthKey::from([number; 32])
}

/// Of a counter that listens with key 1, and elsewhere with 2, or with 3 and 4: each address is
/// opened by its own keys and by no other.
async fn check(counter: &CounterProxy) {
    let opened: [&[u8]; 3] = [&[1], &[2], &[3, 4]];
    assert_eq!(counter.addresses().len(), opened.len());
    let mut sum = 0;
    for (address, keys) in counter.addresses().iter().zip(opened) {
        for number in 1..=5 {
            let connecting = Counter::connect(address, key_of(number));
            if keys.contains(&number) {
                sum += 1;
                let remote = connected(connecting).await;
                let added = remote.add(1).await.expect("it adds");
                assert_eq!(added, sum, "{address} by {number}");
            } else {
                let error = refused(connecting).await;
                let is_auth = matches!(error, ConnectError::Auth { .. });
                assert!(is_auth, "{address} by {number}: {error}");
            }
        }
    }
}

/// An actor that listens at several addresses has a key for each that says so, of a process or a
/// task, over TCP and named sockets; the others are opened by the key of the whole actor.
#[callboard::test]
async fn addresses_have_keys_of_their_own() {
    let scratch = Scratch::new();
    let path = |name: &str| format!("unix:{}", scratch.path(name));
    let spawned = Counter::spawn()
        .listen(HERE)
        .listen_with(HERE, [key_of(2)])
        .listen_with(path("spawned"), [key_of(3), key_of(4)])
        .authkey(key_of(1))
        .await
        .unwrap();
    check(&spawned).await;
    let local = Counter::local()
        .authkey(key_of(1))
        .listen(path("local"))
        .listen_with(HERE, [key_of(2)])
        .listen_with(HERE, [key_of(3), key_of(4)])
        .await
        .unwrap();
    check(&local).await;
}

/// Says by its type where it listens, and with which keys there.
pub struct Desk;

#[actor(
    listen = HERE,
    authkey = key_of(1),
    listen_with = [(HERE, [key_of(2)]), ("tcp://127.0.0.1:0", [key_of(3), key_of(4)])],
    blob_limit = 1 << 20
)]
impl Desk {
    pub fn new() -> Self {
        Self
    }
}

/// The same said by the type.
#[callboard::test]
async fn types_have_keys_of_addresses() {
    for desk in [Desk::spawn().await.unwrap(), Desk::local().await.unwrap()] {
        let keys = [vec![1], vec![2], vec![3, 4]];
        assert_eq!(desk.addresses().len(), keys.len());
        for (address, keys) in desk.addresses().iter().zip(keys) {
            for number in &keys {
                let remote = connected(Desk::connect(address, key_of(*number))).await;
                assert_eq!(remote, desk);
            }
            let other = refused(Desk::connect(address, key_of(5))).await;
            assert!(matches!(other, ConnectError::Auth { .. }), "{other}");
        }
    }
}

/// An address without a key, one with too many, and too many in all are errors of the start.
#[callboard::test]
async fn keys_are_bounded() {
    let reason = |error: SpawnError| match error {
        SpawnError::Listen { reason } => reason,
        other => panic!("{other:?}"),
    };
    let none = Counter::spawn().listen_with(HERE, [] as [AuthKey; 0]);
    let none = reason(none.await.unwrap_err());
    assert_eq!(none, "there is no key for tcp://127.0.0.1:0");
    let many = Counter::spawn().listen_with(HERE, (0..5).map(key_of));
    let many = reason(many.await.unwrap_err());
    assert!(many.contains("5 keys, where there are 4 at most"), "{many}");
    let mut all = Counter::local().authkey(key_of(99));
    for number in 0..4 {
        all = all.listen_with(HERE, (0..4).map(|key| key_of(4 * number + key)));
    }
    let all = reason(all.await.unwrap_err());
    assert!(all.contains("17 keys in all, where there are 16"), "{all}");
}

/// An actor of the same program that is given proxies.
pub struct Sibling;

#[actor]
impl Sibling {
    pub fn new() -> Self {
        Self
    }

    /// Calls with no key, and then with this one.
    pub async fn add_with(&self, counter: CounterProxy, key: u8) -> (String, Option<bool>) {
        let without = format!("{:?}", counter.add(1).await);
        let address: Address = counter.address().expect("it listens").clone();
        credentials()
            .add(&address, key_of(key))
            .expect("it is an address");
        let with = match counter.add(1).await {
            Ok(_) => Some(counter.link() == LinkKind::SharedMemory),
            Err(CallError::Auth {
                why: AuthError::Rejected { .. },
                ..
            }) => None,
            Err(other) => panic!("{other:?}"),
        };
        (without, with)
    }
}

/// A process of the same program that gets a proxy of the actor enters it with any of its keys, be
/// it that of the actor, a further one, or that of one address, and with no other; also where the
/// actor is a task.
#[callboard::test]
async fn all_keys_open_the_entrance() {
    let spawned = Counter::spawn()
        .listen(HERE)
        .authkey(key_of(1))
        .or_authkey(key_of(2))
        .listen_with(HERE, [key_of(3)]);
    let local = Counter::local()
        .listen(HERE)
        .authkey(key_of(1))
        .or_authkey(key_of(2))
        .listen_with(HERE, [key_of(3)]);
    for counter in [spawned.await.unwrap(), local.await.unwrap()] {
        for (number, opens) in [(1, Some(true)), (2, Some(true)), (3, Some(true)), (4, None)] {
            let sibling = Sibling::spawn().await.unwrap();
            let call = sibling.add_with(counter.clone(), number);
            let (without, with) = within(LONG, call.into_future()).await.unwrap();
            assert!(without.contains("NoKey"), "{without}");
            assert_eq!(with, opens, "by key {number}");
        }
    }
}

/// Keys of single addresses take nothing from the family of an actor that has no key of its own.
#[callboard::test]
async fn families_enter_where_no_key_is_said() {
    let counter = Counter::spawn()
        .listen_with(HERE, [key_of(3)])
        .await
        .unwrap();
    let sibling = Sibling::spawn().await.unwrap();
    let call = sibling.add_with(counter.clone(), 3);
    let (without, with) = within(LONG, call.into_future()).await.unwrap();
    assert_eq!((without.as_str(), with), ("Ok(1)", Some(true)));
}
