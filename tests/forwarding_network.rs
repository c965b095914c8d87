//! U16, U45, U46, U47, U48: proxies in messages between programs, by address and key.

#[path = "forwarding/actors.rs"]
mod actors;
mod common;

use std::future::IntoFuture as _;
use std::process::Command;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{
    Address, AuthError, AuthKey, Blob, Callback, LinkKind, Outcome, Reconnect, Unreached,
    credentials,
};

use actors::{Counter, CounterProxy, Holder};
use common::{
    HERE, LONG, Scratch, again, again_by, alone, apart, is_role, may_unshare, must_pass, skipped,
    within,
};

/// What callers of the shelf must have, and what those of its counters.
fn keys() -> [AuthKey; 2] {
    [1, 2].map(|byte| AuthKey::from([byte; 32]))
}

/// Has counters that listen, each with its own key, and gives their proxies away.
pub struct Shelf {
    open: CounterProxy,
    closed: CounterProxy,
    /// The first by a connection of its own, which is made again when it is lost.
    returning: CounterProxy,
}

#[actor]
impl Shelf {
    pub async fn new(listen: String) -> Self {
        let [_, key] = keys();
        let open = Counter::spawn().listen(listen).authkey(&key);
        let open = open.await.expect("it listens");
        let pauses = Duration::from_millis(1)..=Duration::from_millis(20);
        let again = Reconnect::on_loss().max(100_000).pauses(pauses);
        let connecting = Counter::connect(open.address().expect("it listens"), key);
        Self {
            returning: connecting.reconnect(again).await.expect("it listens"),
            open,
            closed: Counter::spawn().await.expect("it starts"),
        }
    }

    /// One that listens.
    pub fn open(&self) -> CounterProxy {
        self.open.clone()
    }

    /// The same, by a connection to where it listens.
    pub async fn reached(&self) -> CounterProxy {
        let [_, key] = keys();
        let address = self.open.address().expect("it listens");
        let connecting = Counter::connect(address, key).into_future();
        within(LONG, connecting).await.expect("it listens")
    }

    /// One that does not.
    pub fn closed(&self) -> CounterProxy {
        self.closed.clone()
    }

    pub fn ring(&self) -> Callback<u64, u64> {
        self.open.callback().add()
    }

    /// Whoever listens there now, by a connection that has found him.
    pub async fn returning(&self) -> CounterProxy {
        let here = self.counted().await;
        let found = async {
            // A call that meets the end of the one before is told so.
            while self.returning.get().await.ok() != Some(here) {}
        };
        within(LONG, found).await;
        self.returning.clone()
    }

    /// Calls what another program has given it; whether it went over the network, too.
    pub async fn ring_back(&self, ring: Callback<u64, u64>) -> Result<(u64, bool), String> {
        call_by_key(&ring).await
    }

    /// Where it listens, which is no proxy of it.
    pub fn place(&self) -> String {
        self.open.address().expect("it listens").to_string()
    }

    /// A proxy that its caller has connected to.
    pub async fn add_by(&self, counter: CounterProxy) -> String {
        let before = format!("{:?}", counter.add(1).await);
        let [_, key] = keys();
        for address in counter.addresses() {
            credentials().add(address, &key).expect("it is an address");
        }
        format!("{before}, then {:?}", counter.add(1).await)
    }

    pub async fn end(&self) {
        self.open.shutdown().await.expect("it ends");
    }

    pub async fn kill(&self) {
        self.open.kill().await;
    }

    /// Kills it, and has another one listen in its place, by the same key.
    pub async fn replace(&mut self) {
        let address = self.open.address().expect("it listens").clone();
        self.open.kill().await;
        let [_, key] = keys();
        let next = Counter::spawn().listen(&address).authkey(key);
        self.open = next.await.expect("nobody listens there any more");
    }

    pub async fn counted(&self) -> u64 {
        self.open.get().await.expect("it is there")
    }
}

/// Calls a callback, with the key for its actor; whether it went over the network, too.
async fn call_by_key(ring: &Callback<u64, u64>) -> Result<(u64, bool), String> {
    let actor = ring.actor();
    let [_, key] = keys();
    for address in actor.addresses() {
        credentials().add(address, &key).expect("it is an address");
    }
    let answer = ring.call(1).await.map_err(|error| format!("{error:?}"))?;
    Ok((answer, actor.link() == LinkKind::Network))
}

/// Keeps a callback that it was given, calls it and hands it on.
pub struct Ringer(Callback<u64, u64>);

#[actor]
impl Ringer {
    pub fn new(ring: Callback<u64, u64>) -> Self {
        Self(ring)
    }

    pub fn kept(&self) -> Callback<u64, u64> {
        self.0.clone()
    }

    pub async fn ring(&self) -> Result<(u64, bool), String> {
        call_by_key(&self.0).await
    }
}

fn no_key(error: &CallError) -> &Address {
    assert_eq!(error.outcome(), Outcome::NotRun);
    match error {
        CallError::Auth {
            why: AuthError::NoKey { address },
            ..
        } => address,
        other => panic!("{other:?}"),
    }
}

/// Also within one program: an actor that was started with a key of its own lets nobody in who has
/// not got it. Who has it gets shared memory.
#[callboard::test]
async fn siblings_need_keys_of_their_own() {
    if !alone("siblings_need_keys_of_their_own") {
        return;
    }
    let shelf = Shelf::spawn(HERE.into()).await.unwrap();
    let counter = shelf.open().await.unwrap();
    let error = counter.add(1).await.unwrap_err();
    let address = no_key(&error).clone();
    assert_eq!(Some(&address), counter.address());
    let text = callboard::Error::from(error).to_string();
    assert!(
        text.ends_with(&format!("no key is known for {address}")),
        "{text}"
    );

    let [other, key] = keys();
    credentials().add(&address, &other).unwrap();
    let error = counter.add(1).await.unwrap_err();
    let rejected = AuthError::Rejected {
        address: address.clone(),
    };
    assert!(
        matches!(&error, CallError::Auth { why, .. } if *why == rejected),
        "{error:?}"
    );
    credentials().add(&address, &key).unwrap();
    assert_eq!(counter.add(1).await.unwrap(), 1);
    assert_eq!(counter.link(), LinkKind::SharedMemory);
    // Who has started it needs no key.
    let closed = shelf.closed().await.unwrap();
    assert_eq!(closed.add(1).await.unwrap(), 1);
}

const SHELF: &str = "CALLBOARD_TEST_SHELF";

/// What another program has that knows the shelf's address and key.
async fn shelf() -> ShelfProxy {
    let address = std::env::var(SHELF).expect("the test tells it");
    let [key, _] = keys();
    let connecting = Shelf::connect(address, key).into_future();
    within(LONG, connecting).await.expect("it listens")
}

/// Runs `test` in another program, as a client of a shelf whose counter listens at `listen`.
async fn as_client(test: &str, listen: &str) {
    run_client(again(test, "client"), HERE, listen).await;
}

/// The same in a program whose processes are numbered as on another machine.
async fn as_far_client(test: &str, listen: &str) {
    match apart() {
        Some(apart) => run_client(again_by(apart, test, "far"), HERE, listen).await,
        None => skipped("numbers of one's own need the right to them"),
    }
}

/// Whether this process is a client, and then what links are of that it has with the counter.
fn kind_here() -> Option<LinkKind> {
    match () {
        () if is_role("client") => Some(LinkKind::SharedMemory),
        () if is_role("far") => Some(LinkKind::Network),
        () => None,
    }
}

/// The same by this command, of a shelf that listens there itself.
async fn run_client(mut client: Command, shelf: &str, listen: &str) {
    let [key, _] = keys();
    let starting = Shelf::spawn(listen.into()).authkey(key).listen(shelf);
    let shelf = starting.await.expect("it listens");
    let address = shelf.address().expect("it listens").to_string();
    client.env(SHELF, address);
    let passed = tokio::task::spawn_blocking(move || must_pass(&mut client));
    passed.await.expect("the client passes");
}

/// In another program, a proxy that came in a message has no key at first. The error says for which
/// address; whoever connects there, at the same address or one that stands for it, may use the
/// proxy, also when that connection is gone.
#[callboard::test]
async fn connections_bring_keys() {
    if !is_role("client") {
        return as_client("connections_bring_keys", "tcp://0.0.0.0:0").await;
    }
    let shelf = shelf().await;
    let counter = shelf.open().await.unwrap();
    assert_eq!(counter.link(), LinkKind::Network);
    let everywhere = no_key(&counter.add(1).await.unwrap_err()).clone();
    assert_eq!(everywhere.host(), Some("0.0.0.0"));
    let started = counter.add(1).start();
    no_key(&within(LONG, started).await.unwrap_err());
    no_key(&counter.add(1).tell().await.unwrap_err());

    // The fallback: connect, then go on with the same proxy.
    let [_, key] = keys();
    let reachable = Address::tcp("localhost", everywhere.port().unwrap()).unwrap();
    let connecting = Counter::connect(&reachable, &key).capture([&everywhere]);
    let connected = within(LONG, connecting.into_future()).await.unwrap();
    assert_eq!(connected, counter);
    assert_eq!(connected.add(1).await.unwrap(), 1);
    drop(connected);
    assert_eq!(within(LONG, counter.add(1)).await.unwrap(), 2);
    assert_eq!(counter.link(), LinkKind::SharedMemory, "it is near");
    let again = shelf.open().await.unwrap();
    assert_eq!((&again, again.address()), (&counter, Some(&reachable)));
    let ring = shelf.ring().await.unwrap();
    assert_eq!(within(LONG, ring.call(1)).await.unwrap(), 3);
}

/// Who connects to an actor before it is given a proxy of it may use that at its first call: the
/// connection has brought the key, also for addresses that stand for the one it went to.
#[callboard::test]
async fn keys_may_be_there_first() {
    if !is_role("client") {
        let scratch = Scratch::new();
        for listen in [
            "tcp://0.0.0.0:0",
            &format!("unix:{}", scratch.path("counter")),
        ] {
            as_client("keys_may_be_there_first", listen).await;
        }
        return;
    }
    let shelf = shelf().await;
    let everywhere: Address = shelf.place().await.unwrap().parse().unwrap();
    let [_, key] = keys();
    let reachable = match everywhere.port() {
        Some(port) => Address::tcp("localhost", port).unwrap(),
        None => everywhere.clone(),
    };
    let connecting = Counter::connect(&reachable, &key).capture([&everywhere]);
    let connected = within(LONG, connecting.into_future()).await.unwrap();
    let counter = shelf.open().await.unwrap();
    assert_eq!(
        (&counter, counter.address()),
        (&connected, Some(&reachable))
    );
    assert_eq!(within(LONG, counter.add(1)).await.unwrap(), 1);
    drop(connected);
    // Also one whose connection was handed on.
    let reached = shelf.reached().await.unwrap();
    assert_eq!(within(LONG, reached.add(1)).await.unwrap(), 2);
    let ring = shelf.ring().await.unwrap();
    assert_eq!(within(LONG, ring.call(1)).await.unwrap(), 3);
}

/// A callback goes to another program and is called from there over the network, in both
/// directions, and also when the actor is gone that has handed it on.
#[callboard::test]
async fn callbacks_are_called_over_networks() {
    if !is_role("far") {
        return as_far_client("callbacks_are_called_over_networks", HERE).await;
    }
    let (shelf, [_, key]) = (shelf().await, keys());
    let ring = shelf.ring().await.unwrap();
    no_key(&ring.call(1).await.unwrap_err());
    assert_eq!(call_by_key(&ring).await.unwrap(), (1, true));
    let first = Ringer::spawn(ring).await.unwrap();
    assert_eq!(within(LONG, first.ring()).await.unwrap(), (2, true));
    let last = Ringer::spawn(first.kept().await.unwrap()).await.unwrap();
    first.kill().await;
    assert_eq!(within(LONG, last.ring()).await.unwrap(), (3, true));
    assert_eq!(shelf.counted().await.unwrap(), 3);

    // And there, one of an actor that is here.
    let own = Counter::spawn().listen(HERE).authkey(&key);
    let own = within(LONG, own.into_future()).await.unwrap();
    let ring = own.callback().add();
    let called = within(LONG, shelf.ring_back(ring)).await.unwrap();
    assert_eq!(called, (1, true));
    assert_eq!(own.get().await.unwrap(), 1);
}

/// Everything goes over a link to an actor of another program, from its first use on; its loss is
/// told, and the next use makes another one. It is of `kind`.
async fn everything_goes(shelf: ShelfProxy, counter: CounterProxy, kind: LinkKind) {
    let [_, key] = keys();
    credentials()
        .add(counter.address().expect("it goes"), key)
        .expect("it goes");
    assert_eq!(counter.link(), kind, "it is known before");
    // Before there is a connection.
    let started: Vec<_> = (0..2000).map(|_| counter.add(1).start()).collect();
    counter.add(1).tell().await.expect("it goes");
    for (expected, call) in (1..).zip(started) {
        assert_eq!(within(LONG, call).await.expect("it goes"), expected);
    }
    assert_eq!(counter.get().await.expect("it goes"), 2001);
    let large = vec![9_u8; 3_000_000];
    assert_eq!(counter.echo(large.clone()).await.expect("it goes"), large);
    // Programs do not trust each other: what one can write, the other reads only as a copy.
    assert!(
        !counter
            .is_lent_in_place(&large[..100_000])
            .await
            .expect("it goes")
    );
    let view = counter
        .echo(large[..100_000].to_vec())
        .view()
        .await
        .expect("it goes");
    assert!(!actors::is_shared(&view));
    let blob = Blob::copy_from(&large).expect("it goes");
    assert_eq!(counter.len_of(blob).await.expect("it goes"), large.len());
    let mut items = counter.count(100).await.expect("it goes");
    let mut sum = 0;
    while let Some(item) = items.next().await {
        sum += item.expect("it goes");
    }
    assert_eq!(sum, 4950);
    assert_eq!(counter.link(), kind);
    counter.kill().await;
    assert_eq!(
        within(LONG, counter.get()).await.expect("it goes"),
        2001,
        "by another link"
    );

    // Handed on once more, to an actor of this program.
    let holder = Holder::spawn().await.expect("it goes");
    holder.keep(counter.clone()).await.expect("it goes");
    let CallError::Actor(text) = holder.try_add(1).await.expect_err("it cannot") else {
        panic!("it has no key")
    };
    assert!(text.starts_with("Auth { why: NoKey"), "{text}");
    let local = Shelf::spawn(HERE.into()).await.expect("it goes");
    let said = within(LONG, local.add_by(counter.clone()))
        .await
        .expect("it goes");
    assert!(said.ends_with("then Ok(2002)"), "{said}");

    shelf.end().await.expect("it goes");
    let error = within(LONG, counter.get()).await.expect_err("it cannot");
    assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
}

/// Two programs of one user on one machine share memory, whoever has brought them together, once
/// the one has shown the key that the other's actor wants.
#[callboard::test]
async fn programs_of_one_machine_share_memory() {
    if !is_role("client") {
        return as_client("programs_of_one_machine_share_memory", HERE).await;
    }
    let shelf = shelf().await;
    let counter = shelf.open().await.unwrap();
    assert_eq!(counter.link(), LinkKind::Network, "there is no key yet");
    everything_goes(shelf, counter, LinkKind::SharedMemory).await;
}

/// So do those that were brought together by one who has only connected to the actor: what he calls
/// over a network may be near to whom he hands it on.
#[callboard::test]
async fn connections_lead_to_neighbours() {
    if !is_role("client") {
        return as_client("connections_lead_to_neighbours", HERE).await;
    }
    let shelf = shelf().await;
    let counter = shelf.reached().await.unwrap();
    assert_eq!(counter.link(), LinkKind::Network, "there is no key yet");
    everything_goes(shelf, counter, LinkKind::SharedMemory).await;
}

/// Over a network it is the same.
#[callboard::test]
async fn links_over_networks_carry_everything() {
    if !is_role("far") {
        return as_far_client("links_over_networks_carry_everything", HERE).await;
    }
    let shelf = shelf().await;
    let counter = shelf.reached().await.unwrap();
    everything_goes(shelf, counter, LinkKind::Network).await;
}

/// A proxy whose connection was made again leads those to whom it is handed on to who answers there
/// now, by the shortest way.
#[callboard::test]
async fn connections_lead_to_who_is_there() {
    let Some(kind) = kind_here() else {
        let test = "connections_lead_to_who_is_there";
        as_client(test, HERE).await;
        return as_far_client(test, HERE).await;
    };
    let (shelf, [_, key]) = (shelf().await, keys());
    let first = shelf.returning().await.unwrap();
    credentials().add(first.address().unwrap(), &key).unwrap();
    assert_eq!(within(LONG, first.add(5)).await.unwrap(), 5);
    shelf.replace().await.unwrap();
    let next = shelf.returning().await.unwrap();
    assert_eq!(within(LONG, next.add(1)).await.unwrap(), 1, "another one");
    assert_eq!(next.link(), kind);
    assert_eq!(next, shelf.open().await.unwrap());
    assert_ne!(next, first);
}

/// A program in another network namespace of the machine cannot enter as its neighbours do: it
/// goes by the address.
#[callboard::test]
async fn names_may_mean_nothing() {
    let test = "names_may_mean_nothing";
    if !is_role("client") {
        if !may_unshare(&["-n", "true"]) {
            return skipped("another network needs the right to make one");
        }
        let scratch = Scratch::new();
        let path = |name: &str| format!("unix:{}", scratch.path(name));
        let client = again_by(&["unshare", "-n"], test, "client");
        return run_client(client, &path("shelf"), &path("counter")).await;
    }
    let (shelf, [_, key]) = (shelf().await, keys());
    let counter = shelf.open().await.unwrap();
    credentials().add(counter.address().unwrap(), key).unwrap();
    assert_eq!(within(LONG, counter.add(5)).await.unwrap(), 5);
    assert_eq!(counter.link(), LinkKind::Network);
    shelf.kill().await.unwrap();
    let error = within(LONG, counter.add(1)).await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
}

/// An actor that does not listen cannot be reached from another program, and one that was killed
/// cannot any more: both are errors in bounded time.
#[callboard::test]
async fn who_cannot_be_reached_is_told() {
    if !is_role("client") {
        return as_client("who_cannot_be_reached_is_told", HERE).await;
    }
    let (shelf, [other, key]) = (shelf().await, keys());
    let closed = shelf.closed().await.unwrap();
    let error = closed.add(1).await.unwrap_err();
    let why = Unreached::NoWay;
    let outcome = Outcome::NotRun;
    assert!(
        matches!(error, CallError::Unreachable { why: w, outcome: o } if (w, o) == (why, outcome)),
        "{error:?}"
    );
    let open = shelf.open().await.unwrap();
    let address = open.address().unwrap().clone();
    credentials().add(&address, other).unwrap();
    let error = within(LONG, open.add(1)).await.unwrap_err();
    let rejected = AuthError::Rejected {
        address: address.clone(),
    };
    assert!(
        matches!(&error, CallError::Auth { why, .. } if *why == rejected),
        "{error:?}"
    );
    credentials().add(&address, key).unwrap();
    assert_eq!(within(LONG, open.add(1)).await.unwrap(), 1);
    let waiting = open.wait().start();
    shelf.kill().await.unwrap();
    let error = within(LONG, waiting).await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    let error = within(LONG, open.add(1)).await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::NotRun);
}

/// Where another actor listens by now, in place of one that was killed, proxies of that one do not
/// call it: they are told that theirs is gone. So it is over both roads.
#[callboard::test]
async fn others_in_its_place_are_not_called() {
    let Some(kind) = kind_here() else {
        let test = "others_in_its_place_are_not_called";
        as_client(test, HERE).await;
        return as_far_client(test, HERE).await;
    };
    let (shelf, [_, key]) = (shelf().await, keys());
    let counter = shelf.reached().await.unwrap();
    credentials().add(counter.address().unwrap(), &key).unwrap();
    assert_eq!(within(LONG, counter.add(1)).await.unwrap(), 1);
    assert_eq!(counter.link(), kind);
    shelf.replace().await.unwrap();
    let error = loop {
        match within(LONG, counter.add(1)).await.unwrap_err() {
            // The end of the old link is heard at its next use.
            CallError::Unreachable { .. } => {}
            error => break error,
        }
    };
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    assert_eq!(shelf.counted().await.unwrap(), 0, "it is another one");
}

/// A named socket is an address like others.
#[callboard::test]
async fn named_sockets_are_ways() {
    let Some(kind) = kind_here() else {
        let test = "named_sockets_are_ways";
        let scratch = Scratch::new();
        let path = |name: &str| format!("unix:{}", scratch.path(name));
        as_client(test, &path("near")).await;
        return as_far_client(test, &path("far")).await;
    };
    let counter = shelf().await.reached().await.unwrap();
    let address = no_key(&counter.add(1).await.unwrap_err()).clone();
    assert!(address.path().is_some());
    let [_, key] = keys();
    drop(
        within(LONG, Counter::connect(&address, key).into_future())
            .await
            .unwrap(),
    );
    assert_eq!(within(LONG, counter.add(5)).await.unwrap(), 5);
    assert_eq!(counter.link(), kind);
}
