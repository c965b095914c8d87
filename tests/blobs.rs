//! U60, U64, U65: blobs travel between processes as what they are: the same pages; nothing is left.

mod common;

use std::collections::HashMap;
use std::fs;

use callboard::prelude::*;
use callboard::{Blob, BlobError, EncodeError, LinkKind};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use common::{
    Holdings, LONG, alone, blobs_of, eventually, file_of, gone, no_blobs, signal, within,
};

/// Keeps, passes on and makes blobs.
pub struct Keeper {
    kept: Vec<Blob>,
    next: Option<KeeperProxy>,
}

/// A message with blobs in it.
#[message]
#[derive(Debug)]
pub struct Scene {
    name: String,
    frames: Vec<Blob>,
    depth: Option<Blob<[f32]>>,
    names: Blob<Vec<String>>,
    parts: HashMap<String, Self>,
}

/// An error with a blob in it.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("not kept")]
pub struct NotKept(Blob);

#[actor]
impl Keeper {
    pub fn new() -> Self {
        let (kept, next) = (Vec::new(), None);
        Self { kept, next }
    }

    /// Has this one from the beginning.
    pub fn with(blob: Blob, more: &Archived<Vec<u32>>) -> Self {
        let mut keeper = Self::new();
        (0..more.len()).for_each(|_| keeper.kept.push(blob.clone()));
        keeper
    }

    /// The first of so many that stand in a row.
    pub async fn first_of(count: u32) -> Self {
        let mut keeper = Self::new();
        if count > 1 {
            let next = Self::spawn_first_of(count - 1).await;
            keeper.next = Some(next.expect("the row stands"));
        }
        keeper
    }

    /// Has it go to the end of the row and back.
    pub async fn pass(&self, blob: Blob) -> Blob {
        match &self.next {
            Some(next) => next.pass(blob).await.expect("the row stands"),
            None => blob,
        }
    }

    /// Those of the row behind this one.
    pub async fn pids(&self) -> Vec<u32> {
        let mut pids = vec![std::process::id()];
        if let Some(next) = &self.next {
            pids.extend(next.pids().await.expect("the row stands"));
        }
        pids
    }

    pub fn keep(&mut self, blob: Blob) -> usize {
        self.kept.push(blob);
        self.kept.len()
    }

    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub fn kept(&self, index: usize) -> Result<Blob, NotKept> {
        let kept = self.kept.get(index).cloned();
        kept.ok_or_else(|| NotKept(blob(b"another")))
    }

    pub fn make(&self, len: usize, byte: u8) -> Blob {
        let mut builder = Blob::alloc(len).expect("there is memory");
        builder.as_mut_slice().fill(byte);
        builder.seal().expect("it can be sealed")
    }

    pub fn sum(&self, blob: Blob) -> u64 {
        blob.iter().copied().map(u64::from).sum()
    }

    pub fn many(&self, blobs: Vec<Blob>) -> usize {
        blobs.len()
    }

    pub fn scene(&self, mut scene: Scene) -> Scene {
        scene.frames.reverse();
        scene
    }

    pub fn file(&self, blob: Blob) -> u64 {
        file_of(&blob)
    }

    /// How much more it may open: nothing, or what it could.
    pub fn limit(&self, is_full: bool) {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
        let limit = if is_full { 3 } else { most };
        setrlimit(Resource::RLIMIT_NOFILE, limit, most).expect("a limit may be lowered");
    }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::copy_from(bytes).expect("there is memory")
}

/// Blobs are arguments, results, errors, parts of messages and of collections, over every kind of
/// link, and come back as the memory that they were.
async fn blobs_travel_by(keeper: KeeperProxy) -> callboard::Result<()> {
    let frame = blob(b"frame by frame");
    assert_eq!(keeper.sum(frame.slice(..5)).await?, 523);
    assert_eq!(keeper.keep(frame.clone()).await?, 1);
    let back = keeper.kept(0).await?;
    assert!(back[..] == frame[..] && back.shares_memory(&frame));
    let CallError::Actor(NotKept(other)) = keeper.kept(1).await.expect_err("it has one") else {
        panic!("it has only one");
    };
    assert_eq!(other[..], *b"another");
    let made = keeper.make(100_000, 7).await?;
    assert!(made.len() == 100_000 && made.iter().all(|byte| *byte == 7));
    assert_eq!(keeper.sum(made.clone()).await?, 700_000);
    let inner = Scene {
        name: "inner".into(),
        frames: vec![made.clone()],
        depth: None,
        names: Blob::archive(&vec!["a".to_owned()])?,
        parts: HashMap::new(),
    };
    let scene = Scene {
        name: "outer".into(),
        frames: vec![frame.clone(), made, frame.slice(6..)],
        depth: Some(Blob::copy_from(&[0.5, 1.5])?),
        names: Blob::archive(&vec![
            "b".to_owned(),
            "longer than what is inline".to_owned(),
        ])?,
        parts: HashMap::from([("part".to_owned(), inner)]),
    };
    let scene = keeper.scene(scene).await?;
    assert_eq!(scene.frames[0][..], *b"by frame");
    assert!(scene.frames[2].shares_memory(&frame));
    assert_eq!(scene.depth.expect("it was there")[..], [0.5, 1.5]);
    assert_eq!(scene.names[1].as_str(), "longer than what is inline");
    assert_eq!(scene.parts["part"].frames[0].len(), 100_000);
    let view = keeper.make(10, 3).view().await?;
    assert_eq!(view.deserialize()?[..], [3; 10]);
    keeper.keep(frame.clone()).tell().await?;
    let pending = keeper.kept(1).start();
    assert!(within(LONG, pending).await?.shares_memory(&frame));
    Ok(())
}

#[callboard::test]
async fn blobs_travel() -> callboard::Result<()> {
    blobs_travel_by(Keeper::local().await?).await?;
    blobs_travel_by(Keeper::spawn().await?).await?;
    blobs_travel_by(Keeper::spawn().link(LinkKind::Socket).await?).await
}

/// Those that a constructor gets are there, and lie in the very pages of whoever started it.
#[callboard::test]
async fn the_pages_are_the_same() -> callboard::Result<()> {
    let frame = blob(&[5; 9000]);
    let keeper = Keeper::spawn_with(frame.clone(), &vec![1, 2]).await?;
    assert_eq!(keeper.file(frame.slice(5000..)).await?, file_of(&frame));
    assert!(keeper.kept(1).await?.shares_memory(&frame));
    let made = keeper.make(5000, 1).await?;
    assert_eq!(keeper.file(made.clone()).await?, file_of(&made));
    let row = Keeper::spawn_first_of(3).await?;
    let passed = row.pass(made.clone()).await?;
    assert_eq!(file_of(&passed), file_of(&made));
    assert_eq!(passed.as_ptr(), made.as_ptr(), "it is mapped once here");
    row.shutdown().await?;
    keeper.shutdown().await
}

/// A file becomes a blob, also one without a length and an empty one; what is none, or is not
/// there, is an error, and a pipe without a writer holds up nobody.
#[callboard::test]
async fn files_become_blobs() -> callboard::Result<()> {
    let folder = std::env::temp_dir().join(format!("callboard-files-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|at| (at % 251).to_le_bytes()[0])
        .collect();
    let (full, empty, pipe) = (
        folder.join("full"),
        folder.join("empty"),
        folder.join("pipe"),
    );
    fs::write(&full, &bytes)?;
    fs::write(&empty, [])?;
    mkfifo(&pipe, Mode::S_IRWXU)?;
    let keeper = Keeper::spawn().await?;
    let blob = Blob::from_file(&full).await?;
    assert_eq!(blob[..], bytes);
    let sum: u64 = bytes.iter().copied().map(u64::from).sum();
    assert_eq!(keeper.sum(blob.clone()).await?, sum);
    assert_eq!(
        keeper.file(blob.slice(5000..)).await?,
        file_of(&blob),
        "the same pages"
    );
    // The blob is a copy: what becomes of the file is nothing to it.
    fs::write(&full, b"short")?;
    assert_eq!(blob[..], bytes);
    assert_eq!(Blob::from_file(&full).await?[..], *b"short");
    assert!(Blob::from_file(&empty).await?.is_empty());
    assert!(
        Blob::from_file("/proc/self/status")
            .await?
            .starts_with(b"Name:")
    );
    for none in [&folder, &pipe, &folder.join("absent")] {
        let error = within(LONG, Blob::from_file(none))
            .await
            .expect_err("it is no file");
        assert!(matches!(error, BlobError::Read(_)), "{error:?}");
    }
    fs::remove_dir_all(&folder)?;
    keeper.shutdown().await
}

/// Memory is given back, in every process, when the last blob of it is dropped, wherever that was;
/// nobody has to call for it.
#[callboard::test]
async fn the_last_one_gives_back() -> callboard::Result<()> {
    if !alone("the_last_one_gives_back") {
        return Ok(());
    }
    let own = std::process::id();
    for kind in [LinkKind::SharedMemory, LinkKind::Socket] {
        Keeper::spawn().link(kind).await?.shutdown().await?;
    }
    let before = Holdings::settled().await;
    for kind in [LinkKind::SharedMemory, LinkKind::Socket] {
        let keeper = Keeper::spawn().link(kind).await?;
        let pids = [own, keeper.process_id()];
        // It was ours, and they have dropped it before us, or after us.
        let frame = blob(&[1; 100]);
        keeper.sum(frame.clone()).await?;
        drop(frame);
        no_blobs(&pids).await;
        let frame = blob(&[1; 100]);
        keeper.keep(frame.clone()).await?;
        drop(frame);
        eventually(LONG, "only they have it", || {
            pids.map(blobs_of) == [(0, 0), (1, 1)]
        })
        .await;
        let back = keeper.kept(0).await?;
        assert_eq!(back[..], [1; 100]);
        keeper.forget().await?;
        drop(back);
        no_blobs(&pids).await;
        // It was theirs.
        let made = keeper.make(100, 9).await?;
        let part = made.slice(50..60);
        keeper.keep(made).await?;
        keeper.forget().await?;
        assert_eq!(part[..], [9; 10]);
        drop(part);
        no_blobs(&pids).await;
        keeper.shutdown().await?;
    }
    before.back().await;
    Ok(())
}

/// Ten thousand blobs go around five actors, and none is left of them.
#[callboard::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_go_around() -> callboard::Result<()> {
    if !alone("ten_thousand_go_around") {
        return Ok(());
    }
    Keeper::spawn().await?.shutdown().await?;
    let before = Holdings::settled().await;
    let row = Keeper::spawn_first_of(5).await?;
    let mut pids = row.pids().await?;
    assert_eq!(pids.len(), 5);
    pids.push(std::process::id());
    let rounds = (0..10_u32).map(async |worker| {
        for round in 0..1000_u32 {
            let number = [worker, round];
            let sent = Blob::copy_from(&number).expect("there is memory").untyped();
            let back = within(LONG, row.pass(sent)).await.expect("the row stands");
            assert_eq!(back.typed::<[u32]>().expect("two numbers")[..], number);
        }
    });
    futures_util::future::join_all(rounds).await;
    no_blobs(&pids).await;
    row.shutdown().await?;
    drop(row);
    before.back().await;
    Ok(())
}

/// A blob outlives the process that has made it; one that a killed process held is given back.
#[callboard::test]
async fn the_dead_keep_nothing() -> callboard::Result<()> {
    if !alone("the_dead_keep_nothing") {
        return Ok(());
    }
    let own = std::process::id();
    let (maker, keeper) = (Keeper::spawn().await?, Keeper::spawn().await?);
    let made = maker.make(5000, 4).await?;
    keeper.keep(made.clone()).await?;
    signal(maker.process_id(), Signal::SIGKILL);
    gone(maker.process_id()).await;
    assert_eq!(keeper.sum(made.clone()).await?, 20_000);
    assert!(made.iter().all(|byte| *byte == 4));
    drop(made);
    let back = keeper.kept(0).await?;
    assert_eq!(back[..], [4; 5000]);
    signal(keeper.process_id(), Signal::SIGKILL);
    gone(keeper.process_id()).await;
    assert!(keeper.sum(back.clone()).await.is_err());
    drop(back);
    no_blobs(&[own]).await;
    // In the middle of many, too.
    drop((maker, keeper));
    let before = Holdings::settled().await;
    for _ in 0..5 {
        let keeper = Keeper::spawn().await?;
        let calls: Vec<_> = (0..300).map(|_| keeper.keep(blob(b"x")).start()).collect();
        signal(keeper.process_id(), Signal::SIGKILL);
        for call in calls {
            // Whatever came of it.
            let _ = within(LONG, call).await;
        }
        gone(keeper.process_id()).await;
    }
    no_blobs(&[own]).await;
    before.back().await;
    Ok(())
}

/// More than go with one message are an error; more than a peer is shown at once wait for each
/// other, and all arrive; more than it may keep are an error of the call, and it goes on.
#[callboard::test]
async fn there_are_limits() -> callboard::Result<()> {
    if !alone("there_are_limits") {
        return Ok(());
    }
    let keeper = Keeper::spawn().await?;
    let one = blob(b"one");
    assert_eq!(
        keeper.many(vec![one.clone(); 1000]).await?,
        1000,
        "they are one memory"
    );
    let blobs = |count| (0..count).map(|_| blob(b"x")).collect::<Vec<_>>();
    assert_eq!(keeper.many(blobs(64)).await?, 64);
    let error = keeper.many(blobs(65)).await.expect_err("it is an error");
    let is_limit = matches!(
        &error,
        CallError::Encode {
            source: EncodeError::Refused { .. },
            ..
        }
    );
    assert!(is_limit && error.outcome() == Outcome::NotRun, "{error:?}");
    let mine = blobs(400);
    for (index, blob) in mine.iter().enumerate() {
        assert_eq!(within(LONG, keeper.keep(blob.clone())).await?, index + 1);
    }
    for index in [0, 200, 399] {
        assert!(keeper.kept(index).await?.shares_memory(&mine[index]));
    }
    keeper.forget().await?;
    drop(mine);
    no_blobs(&[keeper.process_id()]).await;
    // No descriptor is free at the actor's.
    keeper.sum(one.clone()).await?;
    keeper.limit(true).await?;
    let known = within(LONG, keeper.sum(one.slice(1..))).await?;
    assert_eq!(known, 211, "it needs no other descriptor for this one");
    let other = blob(b"other");
    let error = within(LONG, keeper.sum(other.clone()))
        .await
        .expect_err("it is an error");
    let text = error.to_string();
    assert!(matches!(error, CallError::Arguments { .. }), "{text}");
    assert!(text.contains("no room for its memory"), "{text}");
    keeper.limit(false).await?;
    let recovers = || async { keeper.sum(other.clone()).await };
    within(LONG, async {
        // The next one may still speak of what was lost.
        while recovers().await.is_err() {}
    })
    .await;
    drop((one, other));
    no_blobs(&[keeper.process_id(), std::process::id()]).await;
    keeper.shutdown().await
}

/// A process without free descriptors gets an error for each result that has a blob in it, and its
/// results again once there are some.
#[callboard::test]
async fn callers_run_out_of_descriptors() -> callboard::Result<()> {
    if !alone("callers_run_out_of_descriptors") {
        return Ok(());
    }
    let keeper = Keeper::spawn().await?;
    keeper.sum(blob(b"x")).await?;
    let (before, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, 3, most)?;
    let failed = within(LONG, keeper.make(10, 1)).await;
    let unmade = Blob::alloc(10);
    setrlimit(Resource::RLIMIT_NOFILE, before, most)?;
    assert!(
        matches!(failed, Err(CallError::Decode { .. })),
        "{failed:?}"
    );
    assert!(unmade.is_err());
    assert_eq!(keeper.make(10, 1).await?[..], [1; 10]);
    no_blobs(&[keeper.process_id(), std::process::id()]).await;
    keeper.shutdown().await
}
