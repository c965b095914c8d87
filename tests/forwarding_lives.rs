//! U18: proxies of supervised actors in other processes and programs: who follows a dead one
//! is called by the same proxy.

#[path = "forwarding/actors.rs"]
mod actors;
mod common;

use std::future::IntoFuture as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use callboard::prelude::*;
use callboard::supervision::{Restart, Strategy, Supervisor};
use callboard::{Address, AuthKey, Callback, Exit, LifeEvent, LinkKind, Monitor, credentials};
use nix::sys::signal::Signal;
use tokio::sync::Notify;

use actors::{Counter, CounterProxy, Holder, HolderProxy};
use common::{
    HERE, Holdings, LONG, Scratch, again, again_by, alone, apart, is_role, must_pass, signal,
    skipped, within,
};

fn key() -> AuthKey {
    AuthKey::from([6; 32])
}

fn supervisor() -> Supervisor {
    let restart = Restart::on_failure().max(100);
    let builder = Supervisor::builder(Strategy::OneForOne);
    builder.restart(restart).start()
}

/// Waits for the next life.
async fn up(monitor: &mut Monitor) {
    loop {
        match within(LONG, monitor.next()).await {
            Some(LifeEvent::Up { .. }) => return,
            Some(_) => {}
            None => panic!("nobody follows"),
        }
    }
}

/// Kills the actor's process, and waits for the next one.
async fn killed(counter: &CounterProxy) {
    let mut monitor = counter.monitor();
    up(&mut monitor).await;
    signal(counter.process_id(), Signal::SIGKILL);
    up(&mut monitor).await;
}

/// What the holder's calls come to, once the actor is there again: those that meet the dead one
/// are told so, with an outcome.
async fn followed(holder: &HolderProxy) -> u64 {
    loop {
        match within(LONG, holder.try_add(1).into_future()).await {
            Ok(sum) => return sum,
            Err(CallError::Actor(text)) => assert!(text.starts_with("Died"), "{text}"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Holders in other processes follow the lives of a supervised actor: the one who was handed the
/// proxy, the one that has it from him, and the one that has it from the actor itself. What was
/// under way at a death is told, and nothing is run twice.
#[callboard::test]
async fn holders_follow_restarts() {
    let supervisor = supervisor();
    let counter = supervisor.spawn(Counter::spawn).await.unwrap();
    let mut holders = Vec::new();
    for _ in 0..3 {
        holders.push(Holder::spawn().await.unwrap());
    }
    let own = counter.own().await.unwrap();
    assert_eq!(own, counter);
    holders[0].keep(counter.clone()).await.unwrap();
    holders[0].hand_on(holders[1].clone()).await.unwrap();
    holders[2].keep(own.clone()).await.unwrap();
    for round in 1..=3 {
        for (sum, holder) in (1..).zip(&holders) {
            assert_eq!(followed(holder).await, sum, "in life {round}");
            let (way, _, _) = holder.way().await.unwrap();
            assert_eq!(way, "shared memory");
            assert_eq!(holder.kept().await.unwrap(), Some(counter.clone()));
        }
        assert_eq!(own.get().await.unwrap(), 3, "it came home");
        let waiting = holders[0].wait().start();
        // By the same link: when this is answered, that one has begun.
        assert_eq!(holders[0].look().await.unwrap(), 3);
        let pid = counter.process_id();
        killed(&counter).await;
        let told = within(LONG, waiting).await.unwrap();
        assert!(told.starts_with("Err(Died"), "{told}");
        // By whoever started it, as of one that nobody follows.
        for fact in [format!("pid: {pid}, "), "Signal { number: 9".into()] {
            assert!(told.contains(&fact), "{told} in life {round}");
        }
    }
    supervisor.stop().await.unwrap();
}

/// A proxy that only the actor itself has handed on leads to the lives that follow, too; one that
/// came home in the supervisor's process as well, and says so while nobody is there.
#[callboard::test]
async fn actors_hand_on_their_place() {
    let supervisor = supervisor();
    let counter = supervisor.spawn(Counter::spawn).await.unwrap();
    let own = counter.own().await.unwrap();
    assert_eq!(own.add(1).await.unwrap(), 1);
    let holder = Holder::spawn_of(own.clone()).await.unwrap();
    assert_eq!(followed(&holder).await, 2);
    killed(&counter).await;
    assert_eq!(followed(&holder).await, 1);
    assert_eq!(within(LONG, own.add(1).into_future()).await.unwrap(), 2);
    // A callback is one method of whoever lives there.
    let add: Callback<u64, u64> = counter.callback().add();
    killed(&counter).await;
    assert_eq!(within(LONG, add.call(7).into_future()).await.unwrap(), 7);
    supervisor.stop().await.unwrap();
}

/// Who ends with others is followed as one who has died. When nobody follows any more, holders are
/// told how the last one has ended, each time, and none of them waits.
#[callboard::test]
async fn holders_are_told_when_nobody_follows() {
    let all = Supervisor::builder(Strategy::OneForAll)
        .restart(Restart::on_failure().max(1))
        .start();
    let first = all.spawn(Counter::spawn).await.unwrap();
    let second = all.spawn(Counter::spawn).await.unwrap();
    let holder = Holder::spawn_of(first.clone()).await.unwrap();
    assert_eq!(followed(&holder).await, 1);
    // The first one ends in order, for the other one has died.
    let mut monitor = first.monitor();
    up(&mut monitor).await;
    signal(second.process_id(), Signal::SIGKILL);
    up(&mut monitor).await;
    let next = loop {
        match within(LONG, holder.try_add(1).into_future()).await {
            Ok(sum) => break sum,
            Err(CallError::Actor(text)) => assert!(text.starts_with("Stopped"), "{text}"),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(next, 1, "by the next life");
    // Once more is too often.
    signal(first.process_id(), Signal::SIGKILL);
    assert!(within(LONG, all.ended()).await.is_err(), "it gives up");
    for _ in 0..3 {
        let told = within(LONG, holder.try_add(1).into_future()).await;
        let Err(CallError::Actor(told)) = told else {
            panic!("{told:?}")
        };
        assert!(told.starts_with("Died"), "{told}");
        assert!(told.contains("Signal { number: 9"), "{told}");
    }

    let supervisor = supervisor();
    let counter = supervisor.spawn(Counter::spawn).await.unwrap();
    let holder = Holder::spawn_of(counter.clone()).await.unwrap();
    assert_eq!(followed(&holder).await, 1);
    supervisor.stop().await.unwrap();
    for _ in 0..3 {
        let told = within(LONG, holder.try_add(1).into_future()).await;
        let Err(CallError::Actor(told)) = told else {
            panic!("{told:?}")
        };
        assert!(told.starts_with("Stopped"), "{told}");
    }
}

/// A call that waits for the next life, when none comes after all, is told how the last one ended,
/// and has not run.
#[callboard::test]
async fn who_waits_for_nobody_is_told() {
    let supervisor = supervisor();
    let (starts, waits) = (AtomicUsize::new(0), Arc::new(Notify::new()));
    let waiting = Arc::clone(&waits);
    // The second life never comes.
    let make = move || {
        let is_first = starts.fetch_add(1, Ordering::Relaxed) == 0;
        let waiting = Arc::clone(&waiting);
        async move {
            if !is_first {
                waiting.notify_one();
                std::future::pending::<()>().await;
            }
            Counter::spawn().await
        }
    };
    let counter = supervisor.spawn(make).await.unwrap();
    let holder = Holder::spawn_of(counter.clone()).await.unwrap();
    let begun = holder.wait().start();
    // By the same link: when this is answered, that one has begun.
    assert_eq!(holder.look().await.unwrap(), 0);
    let pid = counter.process_id();
    signal(pid, Signal::SIGKILL);
    let told = within(LONG, begun).await.unwrap();
    assert!(told.contains("Signal { number: 9"), "{told}");
    within(LONG, waits.notified()).await;
    let mut late: Vec<_> = (0..3).map(|_| holder.try_add(1).start()).collect();
    // When this is answered, those have begun to wait.
    holder.way().await.unwrap();
    within(LONG, supervisor.stop()).await.unwrap();
    late.push(holder.try_add(1).start());
    for call in late {
        let told = within(LONG, call).await;
        let Err(CallError::Actor(told)) = told else {
            panic!("{told:?}")
        };
        for fact in [
            format!("pid: {pid}, "),
            "Signal { number: 9".into(),
            "NotRun".into(),
        ] {
            assert!(told.contains(&fact), "{told}");
        }
    }
}

/// How each life ends is told to those who were let in by it, whoever has handed the proxy on: a
/// panic with its words. The next one begins at once all the same, and so do calls of it.
#[callboard::test]
async fn each_end_is_told_as_it_was() {
    let supervisor = supervisor();
    let counter = supervisor.spawn(Counter::spawn).await.unwrap();
    let holder = Holder::spawn_of(counter.clone()).await.unwrap();
    let by_own = Holder::spawn_of(counter.own().await.unwrap());
    let by_own = by_own.await.unwrap();
    for round in 0..3 {
        assert_eq!(followed(&holder).await, 1);
        assert_eq!(followed(&by_own).await, 2);
        let waiting = [holder.wait().start(), by_own.wait().start()];
        assert_eq!(holder.look().await.unwrap(), 2);
        assert_eq!(by_own.look().await.unwrap(), 2);
        let mut monitor = counter.monitor();
        up(&mut monitor).await;
        let text = format!("no luck in life {round}");
        counter.panic(text.clone()).await.unwrap_err();
        up(&mut monitor).await;
        for waiting in waiting {
            let told = within(LONG, waiting).await.unwrap();
            assert!(told.contains(&text) && told.contains("Code(101)"), "{told}");
        }
    }
    supervisor.stop().await.unwrap();
}

/// An actor that is to listen at one port does so again at once when it was killed, though those
/// who had called the dead one are answered there for some seconds: no start of it fails.
#[callboard::test]
async fn fixed_ports_are_had_again_at_once() {
    const KILLS: usize = 4;

    let scratch = Scratch::new();
    let named: Address = format!("unix:{}", scratch.path("counter")).parse().unwrap();
    // As many starts as deaths: one that failed would be too many.
    let restart = Restart::on_failure().max(KILLS).within(60 * LONG);
    let builder = Supervisor::builder(Strategy::OneForOne);
    let supervisor = builder.restart(restart).start();
    // The first one is given its port, so that it is free; the others have to have the same.
    let port = Arc::new(OnceLock::<Address>::new());
    let said = Arc::clone(&port);
    let make = move || {
        let fixed = said
            .get()
            .map_or_else(|| HERE.to_owned(), ToString::to_string);
        Counter::spawn().listen(fixed).listen(&named).authkey(key())
    };
    let counter = supervisor.spawn(make).await.unwrap();
    let addresses = [
        counter.address().expect("it listens").clone(),
        format!("unix:{}", scratch.path("counter")).parse().unwrap(),
    ];
    port.set(addresses[0].clone()).unwrap();
    for life in 0..=KILLS {
        let mut waiting = Vec::new();
        for address in &addresses {
            let connecting = Counter::connect(address, key()).within(LONG);
            let remote = connecting.await.expect("it listens there");
            assert_eq!(remote, counter, "in life {life} at {address}");
            if life < KILLS {
                waiting.push((remote.clone(), remote.wait().start()));
            }
            // By the same link: when this is answered, that one has begun.
            assert_eq!(remote.get().await.unwrap(), 0);
        }
        if life == KILLS {
            break;
        }
        killed(&counter).await;
        for (_, begun) in waiting {
            // How it died, or that it is gone: the next one is there already.
            let told = within(LONG, begun).await.unwrap_err();
            assert_eq!(told.outcome(), Outcome::MayHaveRun, "{told:?}");
        }
    }
    supervisor.stop().await.unwrap();
}

/// Supervised actors that are tasks are followed by processes, too.
#[callboard::test]
async fn tasks_are_followed() {
    let supervisor = supervisor();
    let counter = supervisor.spawn(Counter::local).await.unwrap();
    let holder = Holder::spawn_of(counter.clone()).await.unwrap();
    let by_own = Holder::spawn_of(counter.own().await.unwrap())
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(followed(&holder).await, 1);
        assert_eq!(followed(&by_own).await, 2);
        let mut monitor = counter.monitor();
        up(&mut monitor).await;
        counter.panic("again".into()).await.unwrap_err();
        up(&mut monitor).await;
    }
    supervisor.stop().await.unwrap();
}

/// What followed ends leave behind: nothing, in the supervisor's process and in the holder's.
#[callboard::test]
async fn lives_leave_nothing() {
    if !alone("lives_leave_nothing") {
        return;
    }
    let holder = Holder::spawn().await.unwrap();
    let once = async || {
        let supervisor = supervisor();
        let counter = supervisor.spawn(Counter::spawn).await.unwrap();
        holder.keep(counter.clone()).await.unwrap();
        assert_eq!(followed(&holder).await, 1);
        killed(&counter).await;
        assert_eq!(followed(&holder).await, 1);
        supervisor.stop().await.unwrap();
        holder.forget().await.unwrap();
    };
    once().await;
    let before = Holdings::settled().await;
    let theirs = holder.descriptors().await.unwrap();
    for _ in 0..5 {
        once().await;
    }
    before.back().await;
    let back = async {
        while holder.descriptors().await.unwrap() > theirs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(LONG, back).await;
}

/// Hands out the proxy of a supervised actor that listens, and kills it.
pub struct Keeper {
    _supervisor: Supervisor,
    counter: CounterProxy,
}

#[actor]
impl Keeper {
    pub async fn new() -> Self {
        let supervisor = supervisor();
        let make = || Counter::spawn().listen(HERE).authkey(key());
        let counter = supervisor.spawn(make).await.expect("it starts");
        Self {
            _supervisor: supervisor,
            counter,
        }
    }

    pub fn counter(&self) -> CounterProxy {
        self.counter.clone()
    }

    pub async fn own(&self) -> CounterProxy {
        self.counter.own().await.expect("it is there")
    }

    pub async fn kill(&self) {
        killed(&self.counter).await;
    }
}

const KEEPER: &str = "CALLBOARD_TEST_KEEPER";

/// Runs the test's client by this command, beside a keeper of its own.
async fn follow_by(mut client: Command) {
    let keeper = Keeper::spawn().listen(HERE).authkey(key());
    let keeper = keeper.await.expect("it listens");
    client.env(KEEPER, keeper.address().expect("it listens").to_string());
    let passed = tokio::task::spawn_blocking(move || must_pass(&mut client));
    passed.await.expect("the client passes");
}

/// From another program, over shared memory, and over TCP where its processes are numbered as on
/// another machine: the next life listens where the one before did, at a port that the system has
/// chosen once, and is called by the same proxy; so it is by those who connect anew. A call in
/// between is told how the dead one ended, or that nobody was reached, and has not run.
#[callboard::test]
async fn programs_follow_restarts() {
    let test = "programs_follow_restarts";
    let kind = match () {
        () if is_role("near") => LinkKind::SharedMemory,
        () if is_role("far") => LinkKind::Network,
        () => {
            follow_by(again(test, "near")).await;
            let Some(apart) = apart() else {
                return skipped("numbers of one's own need the right to them");
            };
            return follow_by(again_by(apart, test, "far")).await;
        }
    };
    let address = std::env::var(KEEPER).expect("the test tells it");
    let keeper = Keeper::connect(address.as_str(), key()).within(LONG);
    let keeper = keeper.await.expect("it listens");
    let counter = keeper.counter().await.unwrap();
    let own = keeper.own().await.unwrap();
    assert_eq!(own, counter);
    let listens = counter.address().expect("it listens").clone();
    assert_ne!(listens.port(), Some(0));
    credentials().add(&listens, key()).unwrap();
    for round in 0..3 {
        let sum = loop {
            match within(LONG, counter.add(1).into_future()).await {
                Ok(sum) => break sum,
                // The end of the old connection is heard at its next use.
                Err(CallError::Unreachable { .. } | CallError::Died { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(sum, 1, "in life {round}");
        assert_eq!(counter.link(), kind);
        assert_eq!(within(LONG, own.add(1).into_future()).await.unwrap(), 2);
        let connecting = Counter::connect(&listens, key()).within(LONG);
        let anew = connecting.await.expect("it listens there again");
        assert_eq!(anew, counter);
        assert_eq!(anew.add(1).await.unwrap(), 3);
        let waiting = counter.wait().start();
        assert_eq!(counter.get().await.unwrap(), 3);
        keeper.kill().await.unwrap();
        let told = within(LONG, waiting).await.unwrap_err();
        // As it is told where the dead one listened, unless the next one does so first.
        match &told {
            CallError::Died { death, .. } => {
                assert!(matches!(death.exit(), Exit::Signal { number: 9, .. }));
            }
            other => assert!(matches!(other, CallError::Unreachable { .. }), "{other:?}"),
        }
        assert_eq!(told.outcome(), Outcome::MayHaveRun);
    }
}
