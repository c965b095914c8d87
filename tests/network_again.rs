//! Connections that are made again: what was under way at the loss, what waits, what is given up.

mod common;
#[path = "network/counter.rs"]
mod counter;

use std::future::IntoFuture as _;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{AuthKey, DownReason, Exit, LifeEvent, Monitor, Reconnect, Unreached};
use nix::sys::signal::Signal;

use common::{Holdings, LONG, SOON, Scratch, alone, eventually, gone, may_open, signal, within};
use counter::{Counter, CounterProxy, connected, key};

/// Who is soon back, and patient.
fn quick() -> Reconnect {
    Reconnect::on_loss()
        .max(100_000)
        .pauses(Duration::from_millis(1)..=Duration::from_millis(20))
}

async fn counter_at(address: &str) -> CounterProxy {
    let counter = Counter::spawn().listen(address).authkey(key());
    within(LONG, counter.into_future())
        .await
        .expect("it starts")
}

async fn returning(address: &str, reconnect: Reconnect) -> CounterProxy {
    connected(Counter::connect(address, key()).reconnect(reconnect)).await
}

/// Kills an actor's process, and waits until it is gone.
async fn killed(counter: CounterProxy) {
    let pid = counter.process_id();
    signal(pid, Signal::SIGKILL);
    gone(pid).await;
    counter.exited().await;
}

async fn lost(monitor: &mut Monitor) {
    let down = within(LONG, monitor.down()).await;
    assert!(matches!(down, Some(DownReason::Died(_))), "{down:?}");
}

/// When an actor dies and another one is there at its address, its callers go on: what was under
/// way ends and may have run, what was called after that waits, in its order, and runs once.
#[callboard::test]
async fn proxies_go_on() {
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let counter = counter_at(&address).await;
    let remote = returning(&address, quick()).await;
    assert_eq!(remote.address().unwrap().to_string(), address);
    assert!(remote.to_string().ends_with(&address), "{remote}");
    let mut monitor = remote.monitor();
    let up = monitor.next().await;
    assert!(
        matches!(up, Some(LifeEvent::Up { process_id, restarts: 0, .. })
        if process_id == counter.process_id())
    );
    assert_eq!(remote.add(5).await.unwrap(), 5);
    let waiting = remote.wait().start();
    // It was read by now: it was sent before.
    assert!(remote.seen().await.unwrap().is_empty());
    killed(counter).await;
    let error = within(SOON, waiting).await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    assert_eq!(error.outcome(), Outcome::MayHaveRun);
    lost(&mut monitor).await;
    assert!(!remote.is_alive());

    for value in 0..500 {
        remote.see(value).tell().await.unwrap();
    }
    let calls: Vec<_> = (0..100).map(|_| remote.add(1).start()).collect();
    let late = remote.add(1000).timeout(Duration::from_millis(30)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    drop(remote.add(1000).start());

    let counter = counter_at(&address).await;
    for (number, call) in (1..).zip(calls) {
        assert_eq!(within(LONG, call).await.unwrap(), number);
    }
    assert_eq!(remote.seen().await.unwrap(), Vec::from_iter(0..500));
    let up = within(LONG, monitor.next()).await;
    assert!(
        matches!(up, Some(LifeEvent::Up { process_id, restarts: 1, .. })
            if process_id == counter.process_id()),
        "{up:?}"
    );
    assert!(remote.is_alive());
    assert_eq!(remote.process_id(), counter.process_id());
    assert_eq!(
        counter.add(0).await.unwrap(),
        100,
        "what nobody wants any more is not run"
    );
    // It asks, like any that owns nothing.
    remote.shutdown().await.unwrap();
    assert!(counter.end_asked_within(LONG).await);
    assert!(counter.is_alive());
}

/// A connection that cannot be made again is given up after the tries it has; who waits for it is
/// told that nothing has run, and so is who calls later.
#[callboard::test]
async fn it_is_given_up() {
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let counter = counter_at(&address).await;
    let tries = Duration::from_millis(200)..=Duration::from_millis(400);
    let remote = returning(&address, Reconnect::on_loss().max(2).pauses(tries)).await;
    let mut monitor = remote.monitor();
    killed(counter).await;
    lost(&mut monitor).await;
    let waiting: Vec<_> = (0..10).map(|_| remote.add(1).start()).collect();
    for call in waiting {
        let error = within(LONG, call).await.unwrap_err();
        assert!(
            matches!(
                error,
                CallError::Unreachable {
                    why: Unreached::GivenUp,
                    outcome: Outcome::NotRun
                }
            ),
            "{error:?}"
        );
    }
    assert_eq!(within(LONG, remote.exited()).await, Exit::Disconnected);
    let _counter = counter_at(&address).await;
    let error = remote.add(1).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotRun);
    assert_eq!(
        within(LONG, monitor.next()).await,
        None,
        "nothing more happens"
    );
}

/// An end in order is no loss, except for who says so; and who has another key by then is not
/// tried again.
#[callboard::test]
async fn what_ends_it() {
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let counter = counter_at(&address).await;
    let once = returning(&address, quick()).await;
    let each = Reconnect::always().max(100_000);
    let each = returning(
        &address,
        each.pauses(Duration::ZERO..=Duration::from_millis(20)),
    )
    .await;
    let mut monitor = each.monitor();
    // They are its callers by now: what they ask is answered.
    assert_eq!(once.add(0).await.unwrap(), 0);
    assert_eq!(each.add(0).await.unwrap(), 0);
    counter.shutdown().await.unwrap();
    assert_eq!(within(LONG, once.exited()).await, Exit::Code(0));
    let error = once.add(1).await.unwrap_err();
    assert!(matches!(error, CallError::Stopped { .. }), "{error:?}");
    let down = within(LONG, monitor.down()).await;
    assert_eq!(down, Some(DownReason::Stopped));
    let waiting = each.add(3).start();
    let counter = counter_at(&address).await;
    assert_eq!(within(LONG, waiting).await.unwrap(), 3);

    let down = each.monitor();
    killed(counter).await;
    let waiting = {
        let mut down = down;
        lost(&mut down).await;
        each.add(4).start()
    };
    let other = Counter::spawn().listen(&*address).authkey([77; 32]);
    let _other = other.await.unwrap();
    let error = within(LONG, waiting).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::GivenUp,
                outcome: Outcome::NotRun
            }
        ),
        "{error:?}"
    );
    assert_eq!(within(LONG, each.exited()).await, Exit::Disconnected);
}

/// Calls that no ring has room for wait, too, and go on in their order when there is a connection.
#[callboard::test]
async fn more_waits_than_there_is_room_for() {
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let counter = counter_at(&address).await;
    let remote = returning(&address, quick()).await;
    let mut monitor = remote.monitor();
    killed(counter).await;
    lost(&mut monitor).await;
    // Together a megabyte, and a ring has a quarter of one.
    let calls: Vec<_> = (0..64_u8)
        .map(|byte| remote.echo(vec![byte; 16 * 1024]).start())
        .collect();
    let sums: Vec<_> = (0..2000).map(|_| remote.add(1).start()).collect();
    let _counter = counter_at(&address).await;
    for (byte, call) in (0..).zip(calls) {
        assert_eq!(within(LONG, call).await.unwrap(), vec![byte; 16 * 1024]);
    }
    for (sum, call) in (1..).zip(sums) {
        assert_eq!(within(LONG, call).await.unwrap(), sum);
    }
}

/// A hundred clients of a server that dies are all back when there is another one, and each call is
/// made once.
#[callboard::test]
async fn a_hundred_come_back() {
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let mut counter = counter_at(&address).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(returning(&address, quick()).await);
    }
    for _ in 0..2 {
        let mut monitors: Vec<_> = clients.iter().map(Proxy::monitor).collect();
        killed(counter).await;
        for monitor in &mut monitors {
            lost(monitor).await;
        }
        let calls: Vec<_> = clients.iter().map(|client| client.add(1).start()).collect();
        counter = counter_at(&address).await;
        for call in calls {
            within(LONG, call).await.unwrap();
        }
        assert_eq!(counter.add(0).await.unwrap(), 100);
    }
}

/// Many more clients than may stand at a door at once, all of one machine, lose their server over
/// TCP and come at once, with the pauses that they usually have: all are back, none is given up,
/// and each call is made once.
#[callboard::test]
async fn a_storm_is_weathered() {
    const CLIENTS: u64 = 1000;
    // Each has a connection, and asks by another one how its server died.
    if !alone("a_storm_is_weathered") || !may_open(3 * CLIENTS) {
        return;
    }
    let mut counter = counter_at("tcp://127.0.0.1:0").await;
    let address = counter.address().unwrap().to_string();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(returning(&address, Reconnect::on_loss()).await);
    }
    for _ in 0..2 {
        let mut monitors: Vec<_> = clients.iter().map(Proxy::monitor).collect();
        killed(counter).await;
        for monitor in &mut monitors {
            lost(monitor).await;
        }
        let calls: Vec<_> = clients
            .iter()
            .map(|client| client.add(1).no_timeout().start())
            .collect();
        counter = counter_at(&address).await;
        for call in calls {
            within(LONG, call).await.unwrap();
        }
        assert_eq!(counter.add(0).await.unwrap(), CLIENTS);
    }
}

/// However they end, connections that are made again leave nothing: dropped while there is one,
/// while one is looked for, and when it was given up.
#[callboard::test]
async fn they_leave_nothing() {
    if !alone("they_leave_nothing") {
        return;
    }
    let scratch = Scratch::new();
    let address = format!("unix:{}", scratch.path("counter"));
    let once = || async {
        let counter = counter_at(&address).await;
        drop(returning(&address, quick()).await);
        let looking = returning(&address, quick()).await;
        let waiting = looking.add(1).start();
        assert_eq!(waiting.await.unwrap(), 1);
        let given_up = returning(&address, Reconnect::on_loss().max(0)).await;
        let (mut one, mut other) = (looking.monitor(), given_up.monitor());
        killed(counter).await;
        lost(&mut one).await;
        lost(&mut other).await;
        assert_eq!(within(LONG, given_up.exited()).await, Exit::Disconnected);
        let waiting = looking.add(1).start();
        let cut = within(SOON, looking.kill()).await;
        assert_eq!(cut, Exit::Disconnected);
        let error = within(SOON, waiting).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotRun, "{error:?}");
        let again = AuthKey::from([9; 32]);
        let refused = Counter::connect(&*address, again).reconnect(quick()).await;
        assert!(refused.is_err(), "the first connection is tried once");
    };
    once().await;
    let before = Holdings::settled().await;
    for _ in 0..3 {
        once().await;
    }
    // How the last ones ended is told for some seconds.
    before.back().await;
    eventually(SOON, "nobody is left", || {
        common::children_of(std::process::id()).is_empty()
    })
    .await;
}
