//! U28: arrays are the same numbers in every process that has them, and nothing is left of them.

mod common;

use std::fs;

use callboard::prelude::*;
use callboard::{Array, Blob, Element, LinkKind, OutOfRange};
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, alone, eventually, gone, signal, within};

/// Keeps arrays, and does to them what it is told.
pub struct Clerk {
    numbers: Option<Array<u64>>,
    next: Option<ClerkProxy>,
}

/// A message with arrays in it.
#[message]
#[derive(Clone, Debug)]
pub struct Desk {
    small: Vec<Array<u8>>,
    large: Option<Array<f64>>,
    picture: Blob,
}

#[actor]
impl Clerk {
    pub fn new() -> Self {
        let (numbers, next) = (None, None);
        Self { numbers, next }
    }

    /// Has these from the beginning.
    pub fn with(numbers: Array<u64>) -> Self {
        let (numbers, next) = (Some(numbers), None);
        Self { numbers, next }
    }

    /// Hands what it gets on to one of its own.
    pub async fn before(another: bool) -> Self {
        let mut clerk = Self::new();
        if another {
            clerk.next = Some(Self::spawn().await.expect("it can be started"));
        }
        clerk
    }

    pub async fn keep(&mut self, numbers: Array<u64>) {
        if let Some(next) = &self.next {
            next.keep(numbers.clone()).await.expect("it is there");
        }
        self.numbers = Some(numbers);
    }

    pub async fn drop_all(&mut self) {
        if let Some(next) = &self.next {
            next.drop_all().await.expect("it is there");
        }
        self.numbers = None;
    }

    pub fn made(&self, len: usize) -> Array<u64> {
        Array::new(len).expect("there is memory")
    }

    pub fn get(&self, index: usize) -> Result<u64, OutOfRange> {
        self.kept().get(index)
    }

    pub fn set(&self, index: usize, value: u64) -> Result<(), OutOfRange> {
        self.kept().set(index, value)
    }

    /// Adds one to the first number, so often.
    pub fn count(&self, times: u64) {
        for _ in 0..times {
            self.kept().update(0, |n| n + 1).expect("there is one");
        }
    }

    /// Writes its second number, then says so in the first, again and again: for ever.
    pub fn run(&self) {
        for number in 1.. {
            self.kept().fill(number);
        }
    }

    pub fn desk(&self, desk: Desk) -> Result<Desk, OutOfRange> {
        for (number, small) in (1..).zip(&desk.small) {
            small.fill(number);
        }
        if let Some(large) = &desk.large {
            large.set_range(1, &[0.5, f64::MIN])?;
        }
        Ok(desk)
    }

    /// All kinds of numbers.
    pub fn kinds(&self, ints: (Array<i8>, Array<i16>, Array<i32>, Array<i64>), f: Array<f32>) {
        let (a, b, c, d) = ints;
        a.fill(i8::MIN);
        b.fill(i16::MIN);
        c.fill(i32::MIN);
        d.fill(i64::MIN);
        f.fill(f32::NEG_INFINITY);
    }
}

impl Clerk {
    fn kept(&self) -> &Array<u64> {
        self.numbers.as_ref().expect("it was given some")
    }
}

/// Numbers are set and got by several processes, over every kind of link, in arguments,
/// constructors, results and messages.
async fn arrays_travel_by(start: impl Fn() -> Start) -> callboard::Result<()> {
    let clerk = start().clerk().await?;
    let numbers = Array::copy_from(&[1, 2, 3, 4])?;
    clerk.keep(numbers.slice(1..)?).await?;
    clerk.set(0, 20).await?;
    numbers.set(3, 40)?;
    assert_eq!(numbers.to_vec(), [1, 20, 3, 40]);
    assert_eq!(clerk.get(2).await?, 40);
    let error = clerk.get(3).await.expect_err("it has three");
    assert!(
        matches!(
            &error,
            CallError::Actor(OutOfRange {
                begin: 3,
                len: 3,
                ..
            })
        ),
        "{error}"
    );
    let made = clerk.made(1000).await?;
    clerk.keep(made.clone()).await?;
    made.set(999, u64::MAX)?;
    assert_eq!(clerk.get(999).await?, u64::MAX);
    let desk = Desk {
        small: vec![Array::new(3)?, Array::new(5)?],
        large: Some(Array::new(3)?),
        picture: Blob::copy_from(b"beside them")?,
    };
    let back = clerk.desk(desk.clone()).await?;
    assert_eq!(desk.small[0].to_vec(), [1; 3]);
    assert_eq!(desk.small[1].to_vec(), [2; 5]);
    assert!(back.small[1].shares_memory(&desk.small[1]) && back.picture[..4] == *b"besi");
    let large = back.large.expect("it was there").to_vec();
    assert_eq!(large, [0.0, 0.5, f64::MIN]);
    let ints = (
        Array::new(2)?,
        Array::new(2)?,
        Array::new(2)?,
        Array::new(2)?,
    );
    let floats = Array::new(2)?;
    clerk.kinds(ints.clone(), floats.clone()).await?;
    assert_eq!(ints.0.to_vec(), [i8::MIN; 2]);
    assert_eq!(ints.1.to_vec(), [i16::MIN; 2]);
    assert_eq!(ints.2.to_vec(), [i32::MIN; 2]);
    assert_eq!(ints.3.to_vec(), [i64::MIN; 2]);
    assert_eq!(floats.to_vec(), [f32::NEG_INFINITY; 2]);
    Ok(())
}

/// The ways of having a clerk.
enum Start {
    Local,
    Process(LinkKind),
}

impl Start {
    async fn clerk(self) -> Result<ClerkProxy, SpawnError> {
        match self {
            Self::Local => Clerk::local().await,
            Self::Process(kind) => Clerk::spawn().link(kind).await,
        }
    }
}

#[callboard::test]
async fn arrays_travel() -> callboard::Result<()> {
    arrays_travel_by(|| Start::Local).await?;
    arrays_travel_by(|| Start::Process(LinkKind::SharedMemory)).await?;
    arrays_travel_by(|| Start::Process(LinkKind::Socket)).await
}

/// No change is lost when several processes count in one place, and none sees a number of which a
/// part is somebody else's.
#[callboard::test]
async fn processes_count_together() -> callboard::Result<()> {
    const EACH: u64 = 20_000;
    let numbers = Array::new(1)?;
    let start = |_| async { Clerk::spawn_with(numbers.clone()).await };
    let clerks = try_join_all((0..3).map(start)).await?;
    let counting: Vec<_> = clerks
        .iter()
        .map(|clerk| clerk.count(EACH).start())
        .collect();
    let mut seen = 0;
    for count in counting {
        let now = numbers.get(0)?;
        assert!((seen..=3 * EACH).contains(&now), "{now} after {seen}");
        seen = now;
        within(LONG, count).await?;
    }
    assert_eq!(numbers.get(0)?, 3 * EACH);
    Ok(())
}

/// Who is killed while it writes leaves whole numbers, and nobody waits for it.
#[callboard::test]
async fn the_killed_leave_whole_numbers() -> callboard::Result<()> {
    let numbers = Array::new(4096)?;
    let clerk = Clerk::spawn_with(numbers.clone()).await?;
    let running = clerk.run().start();
    eventually(LONG, "it writes", || {
        numbers.get(0).is_ok_and(|number| number > 10)
    })
    .await;
    signal(clerk.process_id(), Signal::SIGKILL);
    assert!(within(LONG, running).await.is_err());
    gone(clerk.process_id()).await;
    let left = numbers.to_vec();
    let newest = left[0];
    let is_one_of = |number: &u64| (newest - 1..=newest).contains(number);
    assert!(left.iter().all(is_one_of), "{newest}");
    let other = Clerk::spawn_with(numbers.clone()).await?;
    other.set(7, 70).await?;
    assert_eq!(numbers.get(7)?, 70);
    Ok(())
}

/// How many descriptors and mappings of such memory a process has.
fn arrays_of(pid: u32) -> (usize, usize) {
    let is_array = |name: &str| name.contains("memfd:callboard-blob");
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process is there");
    let fds = entries.flatten().filter(|entry| {
        let target = fs::read_link(entry.path());
        target.is_ok_and(|target| is_array(&target.to_string_lossy()))
    });
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process is there");
    let maps = maps.lines().filter(|line| is_array(line)).count();
    (fds.count(), maps)
}

/// The memory is given back, in every process, with the last array of it, however that process
/// ends; one mapping is enough for many parts.
#[callboard::test]
async fn the_last_one_gives_back() -> callboard::Result<()> {
    if !alone("the_last_one_gives_back") {
        return Ok(());
    }
    let own = std::process::id();
    Clerk::spawn_before(true).await?.shutdown().await?;
    let before = Holdings::settled().await;
    let clerk = Clerk::spawn_before(true).await?;
    let pids = [own, clerk.process_id()];
    let numbers = Array::new(10_000)?;
    let parts = (0..10).map(|part| numbers.slice(part * 1000..));
    let parts: Vec<Array<u64>> = parts.collect::<Result<_, _>>()?;
    for part in &parts {
        clerk.keep(part.clone()).await?;
    }
    assert_eq!(pids.map(arrays_of), [(1, 1); 2]);
    drop((numbers, parts));
    clerk.set(0, 7).await?;
    assert_eq!(clerk.get(0).await?, 7);
    clerk.drop_all().await?;
    let none = || pids.map(arrays_of) == [(0, 0); 2];
    eventually(LONG, "no array is left", none).await;
    let numbers = Array::new(10)?;
    clerk.keep(numbers.clone()).await?;
    signal(clerk.process_id(), Signal::SIGKILL);
    gone(clerk.process_id()).await;
    numbers.set(0, 1)?;
    drop(numbers);
    eventually(LONG, "none is left here", || arrays_of(own) == (0, 0)).await;
    drop(clerk);
    before.back().await;
    Ok(())
}

/// Every kind of number can be an element, and they go between threads.
#[test]
fn arrays_go_between_threads() {
    fn check<T: Element>() {
        fn is_shared<V: Send + Sync + Clone>() {}
        is_shared::<Array<T>>();
    }
    check::<u8>();
    check::<u16>();
    check::<u32>();
    check::<u64>();
    check::<f32>();
    check::<f64>();
}
