//! U17, U18, U43: proxies in messages, between processes of one program.

#[path = "forwarding/actors.rs"]
mod actors;
mod common;

use std::collections::HashSet;

use callboard::prelude::*;
use callboard::supervision::{Strategy, Supervisor};
use callboard::{AnyProxy, LinkKind};
use nix::sys::signal::Signal;

use actors::{Counter, CounterProxy, Crew, Holder, HolderProxy, Nest, SpeakerProxy};
use common::{Holdings, LONG, alone, eventually, is_stopped, signal, within};

async fn counter_and_holder() -> (CounterProxy, HolderProxy) {
    let counter = Counter::spawn().await.expect("it starts");
    let holder = Holder::spawn().await.expect("it starts");
    holder.keep(counter.clone()).await.expect("it takes it");
    (counter, holder)
}

/// A proxy is an argument and a result; who gets one calls the actor over a link of its own, and it
/// is equal to the one that was given, also when it comes home.
#[callboard::test]
async fn proxies_are_arguments_and_results() {
    let (counter, holder) = counter_and_holder().await;
    assert_eq!(holder.add(5).await.unwrap(), 5);
    assert_eq!(counter.add(1).await.unwrap(), 6);
    assert_eq!(holder.add(1).await.unwrap(), 7);
    assert_eq!(
        holder.way().await.unwrap(),
        ("shared memory".into(), None, true)
    );
    let back = holder.kept().await.unwrap().unwrap();
    assert_eq!(back, counter);
    assert_eq!(back.id(), counter.id());
    assert_eq!(back.process_id(), counter.process_id());
    assert_eq!(back.to_string(), counter.to_string());
    assert_eq!(HashSet::from([back.clone(), counter.clone()]).len(), 1);
    assert_eq!(back.add(1).await.unwrap(), 8, "it came home");
    assert!(back.is_alive());
    let error = back.panic("oh".into()).await.unwrap_err();
    assert!(matches!(&error, CallError::Panicked(report) if report.message() == "oh"));
}

/// In types of one's own, in collections, by trait and by none; also as a constructor's argument.
#[callboard::test]
async fn proxies_are_in_messages_of_all_kinds() {
    let (first, second) = (
        Counter::spawn().await.unwrap(),
        Counter::spawn().await.unwrap(),
    );
    let holder = Holder::spawn_of(second.clone()).await.unwrap();
    assert_eq!(holder.add(10).await.unwrap(), 10);
    let crew = Crew {
        leader: first.clone(),
        others: vec![
            ("one".into(), first.clone()),
            ("two".into(), second.clone()),
        ],
        speaker: Some(SpeakerProxy::from(&second)),
        by_name: [("first".to_owned(), AnyProxy::from(&first))].into(),
    };
    let said = holder.call_crew(crew).await.unwrap();
    assert_eq!(
        said,
        ["counter 0", "one: 1", "two: 11", "counter 11", "first: 1"]
    );
}

/// Everything that goes over a link goes over one that was made by who holds a proxy: large
/// messages, blobs, streams, many calls at once.
#[callboard::test]
async fn links_of_holders_carry_everything() {
    let (counter, holder) = counter_and_holder().await;
    assert_eq!(
        holder.everything().await.unwrap(),
        (100_000, 3_000_000, 4950)
    );
    assert_eq!(holder.many(3000).await.unwrap(), 3000);
    assert_eq!(counter.get().await.unwrap(), 3000);
}

/// Whoever handed a proxy on may be gone: nobody stands between its holder and the actor. That
/// holds for one who started neither, too.
#[callboard::test]
async fn forwarders_may_die() {
    let (counter, forwarder) = counter_and_holder().await;
    let holder = Holder::spawn().await.unwrap();
    forwarder.hand_on(holder.clone()).await.unwrap();
    forwarder.kill().await;
    assert_eq!(holder.add(5).await.unwrap(), 5);
    let last = Holder::spawn().await.unwrap();
    holder.hand_on(last.clone()).await.unwrap();
    assert_eq!(last.add(5).await.unwrap(), 10);
    holder.kill().await;
    assert_eq!(last.add(5).await.unwrap(), 15);
    assert_eq!(counter.get().await.unwrap(), 15);
}

/// An actor starts actors in its constructor, of its own type too, and gives their proxies to who
/// started it: those call them directly.
#[callboard::test]
async fn nested_actors_are_called_from_outside() {
    let nest = Nest::spawn(1).await.unwrap();
    let inner = nest.inner().await.unwrap().unwrap();
    let mut all = nest.counters().await.unwrap();
    all.extend(inner.counters().await.unwrap());
    assert_eq!(HashSet::<_>::from_iter(&all).len(), 4);
    for (by, counter) in (1..).zip(&all) {
        assert_eq!(counter.link(), LinkKind::SharedMemory);
        assert_ne!(counter.process_id(), nest.process_id());
        counter.add(by).await.unwrap();
    }
    assert_eq!(nest.sum().await.unwrap(), 3);
    assert_eq!(inner.sum().await.unwrap(), 7);
    nest.kill().await;
    for counter in &all {
        let error = within(LONG, counter.get()).await.unwrap_err();
        assert!(matches!(error, CallError::Died { .. }), "{error:?}");
    }
}

/// Calls of an actor that has ended end with an error, whether there was a link by then or not,
/// and whoever waits is told at once.
#[callboard::test]
async fn ended_actors_are_told() {
    for linked in [true, false] {
        let (counter, holder) = counter_and_holder().await;
        if linked {
            assert_eq!(holder.add(1).await.unwrap(), 1);
        }
        let exited = linked.then(|| holder.exited().start());
        counter.shutdown().await.unwrap();
        let error = within(LONG, holder.try_add(1)).await.unwrap_err();
        let CallError::Actor(text) = error else {
            panic!("{error}")
        };
        let expected = if linked {
            "Stopped { outcome: NotRun }"
        } else {
            "Died"
        };
        assert!(text.starts_with(expected), "{text}");
        if let Some(exited) = exited {
            assert_eq!(within(LONG, exited).await.unwrap(), "Code(0)");
        }
    }
    let (counter, holder) = counter_and_holder().await;
    assert_eq!(holder.add(1).await.unwrap(), 1);
    let (waiting, exited) = (holder.wait().start(), holder.exited().start());
    assert!(!waiting.is_ready());
    counter.kill().await;
    let said = within(LONG, waiting).await.unwrap();
    assert!(said.starts_with("Err(Died"), "{said}");
    let exited = within(LONG, exited).await.unwrap();
    assert!(exited.starts_with("Signal { number: 9"), "{exited}");
    // What came of an actor that this process has started is known here.
    let back = holder.kept().await.unwrap().unwrap();
    let error = within(LONG, back.get()).await.unwrap_err();
    assert!(matches!(error, CallError::Died { .. }), "{error:?}");
}

/// A proxy that came in a message owns nothing: it does not keep the actor, nor end it. Its
/// `shutdown` asks the owner, its `kill` ends the link.
#[callboard::test]
async fn holders_own_nothing() {
    let (counter, holder) = counter_and_holder().await;
    assert_eq!(holder.add(1).await.unwrap(), 1);
    holder.forget().await.unwrap();
    assert_eq!(counter.add(1).await.unwrap(), 2);
    holder.keep(counter.clone()).await.unwrap();
    assert_eq!(holder.add(1).await.unwrap(), 3);
    let killed = within(LONG, holder.kill_kept()).await.unwrap();
    assert!(!killed.is_empty());
    assert_eq!(holder.add(1).await.unwrap(), 4, "by another link");
    holder.stop_kept().await.unwrap();
    within(LONG, counter.end_asked()).await;
    assert_eq!(
        counter.add(1).await.unwrap(),
        5,
        "it is the owner's to end it"
    );
    drop(counter);
    assert_eq!(within(LONG, holder.exited()).await.unwrap(), "Code(0)");
    let error = within(LONG, holder.try_add(1)).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Actor(text) if text.starts_with("Stopped")),
        "{error}"
    );
}

/// An actor that was given a proxy of itself calls itself: what can run beside the method runs, and
/// what cannot is a circle, which is told. So is one of two actors.
#[callboard::test]
async fn circles_are_told() {
    let (counter, holder) = counter_and_holder().await;
    counter.add(3).await.unwrap();
    for own in [counter.clone(), counter.own().await.unwrap()] {
        assert_eq!(own, counter);
        counter.keep_own(own).await.unwrap();
        assert_eq!(counter.ask_own().await.unwrap(), 3);
        let error = counter.add_by_own().await.unwrap_err();
        assert!(
            matches!(&error, CallError::Actor(text) if text.starts_with("Cycle")),
            "{error:?}"
        );
    }
    let error = within(LONG, holder.round()).await.unwrap_err();
    let CallError::Actor(text) = error else {
        panic!("{error}")
    };
    assert!(
        text.starts_with("Cycle") || text.contains("Cycle {"),
        "{text}"
    );
    assert_eq!(holder.add(1).await.unwrap(), 4, "both go on");
}

/// A local actor's proxy is called from other processes, and an actor's own one by others.
#[callboard::test]
async fn local_actors_are_called_from_elsewhere() {
    let (local, holder) = (
        Counter::local().await.unwrap(),
        Holder::spawn().await.unwrap(),
    );
    holder.keep(local.clone()).await.unwrap();
    assert_eq!(holder.add(5).await.unwrap(), 5);
    assert_eq!(local.add(1).await.unwrap(), 6);
    let back = holder.kept().await.unwrap().unwrap();
    assert_eq!((&back, back.link()), (&local, LinkKind::SharedMemory));
    assert_eq!(back.get().await.unwrap(), 6);
    assert_eq!(back.link(), LinkKind::Local);
    let nearby = Holder::local().await.unwrap();
    nearby.keep(local.clone()).await.unwrap();
    assert_eq!(nearby.add(1).await.unwrap(), 7);
    local.shutdown().await.unwrap();
    let error = within(LONG, holder.try_add(1)).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Actor(text) if text.starts_with("Stopped")),
        "{error}"
    );

    let counter = Counter::spawn().await.unwrap();
    holder.keep(counter.own().await.unwrap()).await.unwrap();
    assert_eq!(holder.add(2).await.unwrap(), 2);
}

/// A supervised actor's proxy is handed on, a pool's is not.
#[callboard::test]
async fn several_that_are_called_as_one() {
    let holder = Holder::spawn().await.unwrap();
    let supervisor = Supervisor::builder(Strategy::OneForOne).start();
    let counter = supervisor.spawn(Counter::spawn).await.unwrap();
    holder.keep(counter.clone()).await.unwrap();
    assert_eq!(holder.add(2).await.unwrap(), 2);
    assert_eq!(counter.get().await.unwrap(), 2);
    let pool = callboard::pool::Pool::spawn(2, |_| Counter::spawn())
        .await
        .unwrap();
    let error = holder.keep(pool.proxy()).await.unwrap_err();
    assert!(matches!(error, CallError::Encode { .. }), "{error:?}");
    supervisor.stop().await.unwrap();
}

/// A holder links to an actor that stands still or blocks: its calls wait, and are done or told
/// when that goes on or dies.
#[callboard::test]
async fn links_are_made_to_actors_that_do_not_react() {
    let (counter, holder) = counter_and_holder().await;
    let blocked = counter.block(300).start();
    assert_eq!(within(LONG, holder.add(1)).await.unwrap(), 1);
    blocked.await.unwrap();

    let (counter, holder) = counter_and_holder().await;
    signal(counter.process_id(), Signal::SIGSTOP);
    eventually(LONG, "it stands still", || is_stopped(counter.process_id())).await;
    let waiting = holder.try_add(1).start();
    let late = holder.wait().start();
    assert!(!waiting.is_ready());
    counter.kill().await;
    let error = within(LONG, waiting).await.unwrap_err();
    let CallError::Actor(text) = error else {
        panic!("{error}")
    };
    assert!(text.starts_with("Died"), "{text}");
    assert!(within(LONG, late).await.unwrap().starts_with("Err(Died"));
}

/// A thousand proxies that were handed on, used or not, leave nothing open at anybody's.
#[callboard::test]
async fn handing_on_leaves_nothing() {
    if !alone("handing_on_leaves_nothing") {
        return;
    }
    let (counter, holder) = counter_and_holder().await;
    assert_eq!(holder.add(1).await.unwrap(), 1);
    holder.forget().await.unwrap();
    let (before, at_holder) = (
        Holdings::settled().await,
        holder.descriptors().await.unwrap(),
    );
    for round in 0..1000_u64 {
        holder.keep(counter.clone()).await.unwrap();
        if round % 4 == 0 {
            holder.add(1).await.unwrap();
        }
        drop(holder.kept().await.unwrap().unwrap());
        holder.forget().await.unwrap();
    }
    let all = vec![counter.clone(); 1000];
    assert_eq!(
        holder.call_all(all).await.unwrap(),
        (252..=1251).sum::<u64>()
    );
    before.back().await;
    let mut now = holder.descriptors().await.unwrap();
    for _ in 0..100 {
        if now <= at_holder {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        now = holder.descriptors().await.unwrap();
    }
    assert!(now <= at_holder, "{now} descriptors of {at_holder}");
}

/// Where no descriptors are free a link is an error of its call, with its reason, and the next call
/// makes another one.
#[callboard::test]
async fn links_without_room_are_errors() {
    let limits = callboard::Limits::new().open_files(64);
    let holder = Holder::spawn().limits(limits).await.unwrap();
    let counter = Counter::spawn().await.unwrap();
    let (failed, later) = within(LONG, holder.exhausted(counter.clone()))
        .await
        .unwrap();
    assert_eq!(failed, "Err(Unreachable { why: NoRoom, outcome: NotRun })");
    assert_eq!(later, 1);
}
