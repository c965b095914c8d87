//! F53, U60, U64: streams, blobs and long messages between programs: what is large does not stop
//! what is small, and nothing is left of it.

mod common;
#[path = "network/store.rs"]
mod store;

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Array, Blob, EncodeError, LinkKind, Pending};
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use common::{
    HERE, Holdings, LONG, Scratch, alone, blobs_of, eventually, file_of, no_blobs, within,
};
use store::{Scene, Store, StoreProxy, blob, connected, key, large, pattern, storing, sum};

/// How many small calls must be answered while a large one is on its way: were they behind it, it
/// would be none.
const PINGS: u64 = 16;

/// Runs `test` over TCP and over a named socket.
async fn by_each<F: Future<Output = ()>>(test: impl Fn(StoreProxy, StoreProxy) -> F) {
    let scratch = Scratch::new();
    for at in [HERE.to_owned(), format!("unix:{}", scratch.path("store"))] {
        let (store, address) = storing(&at).await;
        let remote: StoreProxy = connected(Store::connect(&address, key())).await;
        assert_eq!(remote.link(), LinkKind::Network);
        test(store.clone(), remote).await;
        store.shutdown().await.expect("it ends");
    }
}

/// Streams in both directions: items come whole, once and in order, with credit; an end in the
/// midst is told.
#[callboard::test]
async fn streams_go_over_networks() {
    by_each(async |store: StoreProxy, remote: StoreProxy| {
        for window in [1, 100, 100_000] {
            let numbers = remote.count(3000).window(window).await.unwrap();
            let numbers: Vec<_> = numbers.map(Result::unwrap).collect().await;
            assert_eq!(numbers, Vec::from_iter(0..3000));
        }
        let rows = remote.rows(20, 300_000).await.unwrap();
        let mut rows = rows.map(Result::unwrap).zip(stream::iter(0..));
        while let Some((row, seed)) = within(LONG, rows.next()).await {
            assert!(row == pattern(300_000, seed), "{seed}");
        }
        let total = remote.total(stream::iter(0..5000)).await.unwrap();
        assert_eq!(total, (0..5000).sum::<u64>());
        // Nobody is ahead of who reads by more than the window.
        let before = remote.produced().await.unwrap();
        let mut slow = remote.count(u64::MAX).window(8).await.unwrap();
        assert_eq!(slow.next().await.unwrap().unwrap(), 0);
        assert!(remote.produced().await.unwrap() <= before + 9);
        drop(slow);
        let mut ended = remote.count(u64::MAX).window(8).await.unwrap();
        assert_eq!(ended.next().await.unwrap().unwrap(), 0);
        remote.kill().await;
        let rest: Vec<_> = within(LONG, ended.collect()).await;
        assert!(rest.last().unwrap().is_err(), "{rest:?}");
        assert!(store.ping().await.is_ok());
    })
    .await;
}

/// Blobs are arguments, results, parts of messages and items, of any length; what the other side
/// has does not travel again, in either direction.
#[callboard::test]
async fn blobs_go_over_networks() {
    by_each(async |store: StoreProxy, remote: StoreProxy| {
        for len in [0, 1, 32 * 1024, 32 * 1024 + 1, 3_000_000] {
            let sent = blob(len, 7);
            assert_eq!(remote.len(sent.clone()).await.unwrap(), len);
            let back = remote.echo(sent.clone()).await.unwrap();
            assert!(back.shares_memory(&sent), "{len}");
            let made = remote.make(len, 9).await.unwrap();
            assert!(made[..] == pattern(len, 9), "{len}");
        }
        let sent = blob(100_000, 3);
        assert_eq!(remote.keep(sent.clone()).await.unwrap(), 1);
        let (_, first) = remote.look(sent.clone()).await.unwrap();
        let (part, second) = remote.look(sent.slice(500..600)).await.unwrap();
        assert_eq!(first, second, "it went once");
        assert_eq!(part, sum(&sent[500..600]));
        let back = remote.kept(0).await.unwrap().unwrap();
        assert!(back.shares_memory(&sent), "it did not come back");
        assert!(remote.kept(7).await.unwrap().is_none());
        assert_eq!(store.keep(blob(100_000, 5)).await.unwrap(), 2);
        let made = remote.kept(1).await.unwrap().unwrap();
        let again = remote.echo(made.slice(1..)).await.unwrap();
        assert_eq!(file_of(&again), file_of(&made), "nor did it go back");

        let depth = Blob::copy_from(&[0.5_f32, 1.5]).unwrap();
        let scene = Scene {
            name: "one".to_owned(),
            frames: (0..20).map(|seed| blob(10_000, seed)).collect(),
            depth: Some(depth),
        };
        let scene = remote.scene(scene).await.unwrap();
        assert_eq!(scene.name, "one");
        for (seed, frame) in (0..20).rev().zip(&scene.frames) {
            assert!(frame[..] == pattern(10_000, seed));
        }
        assert_eq!(scene.depth.unwrap()[..], [0.5, 1.5]);

        let frames = remote.frames(30, 200_000).await.unwrap();
        let mut frames = frames.map(Result::unwrap).zip(stream::iter(0..));
        while let Some((frame, seed)) = within(LONG, frames.next()).await {
            assert!(frame[..] == pattern(200_000, seed), "{seed}");
        }
        let frames = stream::iter(0..30).map(|seed| blob(50_000, seed));
        let sums = remote.store(frames).await.unwrap();
        let expected = (0..30).map(|seed| sum(&pattern(50_000, seed)));
        assert!(sums.into_iter().eq(expected));
    })
    .await;
}

/// A small part of a large blob goes alone, wherever it lies, and once.
#[callboard::test]
async fn parts_go_alone() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let all = blob(20 << 20, 1);
    let places = [
        0..1000,
        (5 << 20)..(5 << 20) + 70_001,
        all.len() - 9..all.len(),
    ];
    for place in places.clone() {
        let part = all.slice(place.clone());
        let (found, file) = remote.look(part.clone()).await.unwrap();
        assert_eq!(found, sum(&all[place.clone()]));
        let inner = part.slice(1..part.len() - 1);
        let (found, again) = remote.look(inner.clone()).await.unwrap();
        assert_eq!(found, sum(&inner));
        assert_eq!(file, again, "it went once");
        let back = remote.echo(part).await.unwrap();
        assert!(back[..] == all[place]);
    }
    let parts = places.map(|place| all.slice(place));
    let kept = remote.scene(Scene {
        name: String::new(),
        frames: vec![parts[0].clone(), parts[2].clone()],
        depth: None,
    });
    let kept = kept.await.unwrap();
    assert!(kept.frames[0][..] == parts[2][..] && kept.frames[1][..] == parts[0][..]);
    remote.keep(parts[1].clone()).await.unwrap();
    assert!(remote.kept(0).await.unwrap().unwrap()[..] == parts[1][..]);
    drop((all, parts, kept));
    remote.forget().await.unwrap();
    no_blobs(&[store.process_id()]).await;
}

/// Arrays are memory that is written on both sides, and there is none of that: they are refused
/// where they are, with the reason, and the connection goes on.
#[callboard::test]
async fn arrays_are_refused() {
    let (_store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let numbers = Array::new(10).unwrap();
    let sent = remote.fill(numbers.clone()).await.unwrap_err();
    assert!(
        matches!(
            &sent,
            CallError::Encode {
                source: EncodeError::Arrays,
                ..
            }
        ),
        "{sent:?}"
    );
    assert_eq!(sent.outcome(), Outcome::NotRun);
    let made = remote.array().await.unwrap_err();
    assert!(matches!(&made, CallError::Result { .. }), "{made:?}");
    assert!(made.to_string().contains("arrays") || format!("{made:?}").contains("arrays"));
    assert_eq!(remote.ping().await.unwrap(), 1);
    let copy = Blob::copy_from(&numbers.to_vec()).unwrap();
    assert_eq!(remote.len(copy.untyped()).await.unwrap(), 80);
}

/// Calls until `is_done`; gives how many were answered before that.
async fn pings_until(proxy: &StoreProxy, is_done: impl Fn() -> bool) -> u64 {
    let mut count = 0;
    while !is_done() {
        let ping = within(LONG, proxy.ping().into_future()).await;
        ping.expect("it is answered");
        count += 1;
    }
    count
}

/// While a large blob goes or comes, small calls of the same proxy are answered, and those of
/// others.
#[callboard::test]
async fn small_calls_overtake_blobs() {
    const LEN: usize = 256 << 20;
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let other: StoreProxy = connected(Store::connect(&address, key())).await;
    let going: Pending<usize> = remote.len(large(LEN)).start();
    let (own, others) = tokio::join!(
        pings_until(&remote, || going.is_ready()),
        pings_until(&other, || going.is_ready())
    );
    assert_eq!(going.await.unwrap(), LEN);
    assert!(
        own >= PINGS && others >= PINGS,
        "{own} and {others} on its way there"
    );
    assert_eq!(store.keep(large(LEN)).await.unwrap(), 1);
    let coming: Pending<Option<Blob>> = remote.kept(0).no_timeout().start();
    let (own, others) = tokio::join!(
        pings_until(&remote, || coming.is_ready()),
        pings_until(&other, || coming.is_ready())
    );
    assert_eq!(coming.await.unwrap().unwrap().len(), LEN);
    assert!(
        own >= PINGS && others >= PINGS,
        "{own} and {others} on its way back"
    );
}

/// The same beside long messages, which go in pieces; and a short blob overtakes a long one.
#[callboard::test]
async fn small_calls_overtake_long_messages() {
    let (_store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let long = pattern(15 << 20, 1);
    let calls: Vec<_> = (0..4)
        .map(|_| remote.bytes(long.clone()).no_timeout().start())
        .collect();
    let pings = pings_until(&remote, || calls.iter().all(Pending::is_ready)).await;
    for call in calls {
        assert!(call.await.unwrap() == long);
    }
    assert!(pings >= PINGS, "{pings}");
    let going: Pending<usize> = remote.len(large(256 << 20)).start();
    let mut count = 0;
    while !going.is_ready() {
        let short = blob(1000, 1);
        assert_eq!(
            within(LONG, remote.len(short).into_future()).await.unwrap(),
            1000
        );
        count += 1;
    }
    assert_eq!(going.await.unwrap(), 256 << 20);
    assert!(count >= PINGS, "{count} short ones");
}

/// What was awaited comes before what is called after it, however long the one and the other.
#[callboard::test]
async fn what_was_awaited_keeps_its_place() {
    let (_store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    for (number, len) in (0..60).zip([10, 100_000, 2_000_000].into_iter().cycle()) {
        if number % 2 == 0 {
            let bytes = vec![0; len];
            remote.see(number, bytes).tell().await.unwrap();
        } else {
            let blob = large(len);
            remote.see_blob(number, blob).tell().await.unwrap();
        }
    }
    assert_eq!(remote.seen().await.unwrap(), Vec::from_iter(0..60));
}

/// A call that is given up while its blob goes is not run, and the rest of the blob does not go; a
/// blob that was half there goes again, whole.
#[callboard::test]
async fn given_up_calls_stop_their_blobs() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let sent = large(200 << 20);
    for _ in 0..5 {
        let call = remote.see_blob(1, sent.clone());
        let late = call.timeout(Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(late, CallError::Timeout { .. }), "{late:?}");
        assert_eq!(late.outcome(), Outcome::NotRun);
    }
    let pid = store.process_id();
    eventually(LONG, "what was half there is let go", || {
        blobs_of(pid) == (0, 0)
    })
    .await;
    assert!(remote.seen().await.unwrap().is_empty());
    remote.see_blob(2, sent.clone()).await.unwrap();
    assert_eq!(remote.seen().await.unwrap(), [2]);
    drop(sent);
    no_blobs(&[pid]).await;
}

/// A process that can keep no more says so to its caller; other calls go on, and later ones find
/// room.
#[callboard::test]
async fn want_of_room_is_an_error() {
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    store.limit(true).await.unwrap();
    let sent = large(5 << 20);
    let refused = within(LONG, remote.len(sent.clone()).into_future()).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, CallError::Arguments { .. }),
        "{refused:?}"
    );
    assert!(format!("{refused:?}").contains("no room"), "{refused:?}");
    assert!(remote.ping().await.is_ok());
    store.limit(false).await.unwrap();
    let mut found = remote.len(sent.clone()).await;
    while matches!(&found, Err(CallError::Arguments { .. })) {
        // What was refused is forgotten on both sides before it is tried again.
        sleep(Duration::from_millis(1)).await;
        found = remote.len(sent.clone()).await;
    }
    assert_eq!(found.unwrap(), 5 << 20);
}

/// Each side says how much it takes of the other's blobs. What goes beyond that is an error of the
/// call that names the size and the limit, be it an argument or a result; what is within it goes,
/// and room is found again when blobs are dropped.
#[callboard::test]
async fn blobs_have_a_limit_of_their_own() {
    const LIMIT: usize = 1 << 20;
    let numbers = |error: &CallError| {
        let text = format!("{error:?}");
        let says = |number: usize| text.contains(&number.to_string());
        assert!(says(LIMIT + 4096) && says(LIMIT), "{text}");
    };
    let store = Store::spawn().listen(HERE).authkey(key());
    let store = store.blob_limit(LIMIT as u64).await.unwrap();
    let address = store.address().unwrap().clone();
    let connecting = Store::connect(&address, key()).blob_limit(LIMIT as u64);
    let remote: StoreProxy = connected(connecting).await;

    let refused = within(LONG, remote.len(large(LIMIT + 4096)).into_future()).await;
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, CallError::Arguments { .. }),
        "{refused:?}"
    );
    numbers(&refused);
    let refused = within(LONG, remote.make(LIMIT + 4096, 1).into_future()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, CallError::Decode { .. }), "{refused:?}");
    numbers(&refused);

    let made = remote.make(LIMIT, 1).await.unwrap();
    assert_eq!(made.len(), LIMIT);
    drop(made);
    let sent = large(LIMIT / 2);
    assert_eq!(remote.keep(sent.clone()).await.unwrap(), 1);
    let more = remote.len(large(LIMIT - 4096)).await.unwrap_err();
    assert!(
        format!("{more:?}").contains(&(LIMIT / 2).to_string()),
        "{more:?}"
    );
    remote.forget().await.unwrap();
    drop(sent);
    let mut found = remote.len(large(LIMIT)).await;
    while matches!(&found, Err(CallError::Arguments { .. })) {
        // It lets go of the other one when it hears that nobody has it any more.
        sleep(Duration::from_millis(1)).await;
        found = remote.len(large(LIMIT)).await;
    }
    assert_eq!(found.unwrap(), LIMIT);
}

/// A thousand blobs in each direction, many of them at once, leave nothing in either process.
#[callboard::test]
async fn blobs_leave_nothing() {
    if !alone("blobs_leave_nothing") {
        return;
    }
    let (store, address) = storing(HERE).await;
    let remote: StoreProxy = connected(Store::connect(&address, key())).await;
    let before = Holdings::settled().await;
    for round in 0..20_u8 {
        let calls = (0..50).map(|at| {
            let sent = blob(usize::from(round) * 1000 + at, round);
            let call = remote.echo(sent.clone()).start();
            (sent, call)
        });
        for (sent, call) in calls.collect::<Vec<_>>() {
            assert!(call.await.unwrap().shares_memory(&sent));
        }
        let calls = (0..50).map(|seed| remote.make(20_000, seed).start());
        for (seed, call) in (0..).zip(calls.collect::<Vec<_>>()) {
            assert!(call.await.unwrap()[..] == pattern(20_000, seed));
        }
    }
    // More than may be known at once, all of them kept.
    let kept: Vec<Blob> = (0..300_usize).map(|len| blob(len, 1)).collect();
    for (count, blob) in (1..).zip(&kept) {
        let call = remote.keep(blob.clone());
        assert_eq!(within(LONG, call.into_future()).await.unwrap(), count);
    }
    for (at, blob) in kept.iter().enumerate() {
        assert!(remote.kept(at).await.unwrap().unwrap()[..] == blob[..]);
    }
    remote.forget().await.unwrap();
    drop(kept);
    no_blobs(&[std::process::id(), store.process_id()]).await;
    before.back().await;
    drop(remote);
    store.shutdown().await.unwrap();
}

/// Many callers' large and small things at once, with calls given up at any time: what comes is
/// right, and in the end nothing is left.
#[callboard::test]
async fn many_at_once() {
    let (store, address) = storing(HERE).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for caller in 0..4_u8 {
        let remote: StoreProxy = connected(Store::connect(&address, key())).await;
        let is_over = Arc::clone(&is_over);
        callers.push(tokio::spawn(async move {
            for round in 0..40_u8 {
                let seed = caller * 40 + round;
                let len = [10, 5_000, 70_000, 900_000][usize::from(round) % 4];
                let sent = blob(len, seed);
                let dropped = remote
                    .keep(large(3_000_000))
                    .timeout(Duration::from_millis(1));
                let (echoed, bytes, made, _) = tokio::join!(
                    remote.echo(sent.clone()),
                    remote.bytes(pattern(len, seed)),
                    remote.make(len, seed),
                    dropped
                );
                assert!(echoed.unwrap()[..] == sent[..]);
                assert!(bytes.unwrap() == pattern(len, seed));
                assert!(made.unwrap()[..] == pattern(len, seed));
            }
            is_over.store(true, Ordering::Relaxed);
        }));
    }
    for caller in callers {
        within(4 * LONG, caller).await.unwrap();
    }
    assert!(is_over.load(Ordering::Relaxed));
    store.forget().await.unwrap();
    no_blobs(&[store.process_id()]).await;
}
