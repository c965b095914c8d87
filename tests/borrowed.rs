//! U60: arguments that methods borrow from their message, and that callers borrow to them.

use std::sync::Arc;
use std::time::Duration;

use callboard::__private::Actor as _;
use callboard::prelude::*;
use callboard::{Call, Lent, SpawnError};

/// A message that is read where it lies.
#[message]
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    lines: Vec<String>,
}

/// Keeps what it was given, and how often.
pub struct Shelf {
    label: String,
    count: u64,
}

#[message]
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{0}` is no label")]
pub struct BadLabel(String);

#[actor]
impl Shelf {
    pub fn new(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            count: 0,
        }
    }

    pub async fn checked(
        count: u64,
        label: &str,
        allowed: &Archived<Vec<String>>,
    ) -> Result<Self, BadLabel> {
        tokio::task::yield_now().await;
        if !allowed.iter().any(|allowed| allowed == label) {
            return Err(BadLabel(label.to_owned()));
        }
        let label = label.to_owned();
        Ok(Self { label, count })
    }

    pub fn label(&self) -> String {
        self.label.clone()
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn length(&self, text: &str) -> usize {
        text.len()
    }

    pub fn sum(&self, bytes: &[u8], signs: &[i8], flags: &[bool]) -> i64 {
        let bytes: i64 = bytes.iter().copied().map(i64::from).sum();
        let signs: i64 = signs.iter().copied().map(i64::from).sum();
        let flags = flags.iter().filter(|flag| **flag).count();
        bytes + signs + i64::try_from(flags).expect("they are few")
    }

    pub fn mean(&self, values: &Archived<Vec<f64>>) -> f64 {
        let sum: f64 = values.iter().map(|value| value.to_native()).sum();
        sum / values.len() as f64
    }

    pub fn longest(&self, page: &Archived<Page>, at_least: usize) -> Option<String> {
        let lines = page.lines.iter().map(|line| line.as_str());
        let longest = lines.max_by_key(|line| line.len())?;
        (longest.len() >= at_least).then(|| format!("{}: {longest}", page.title))
    }

    pub fn page(&self, title: &str, lines: usize) -> Page {
        let lines = (0..lines).map(|line| format!("line {line}")).collect();
        Page {
            title: title.to_owned(),
            lines,
        }
    }

    pub fn put(&mut self, name: &str, times: u64, (left, right): (u8, String)) -> String {
        self.count += times;
        format!("{name} {left} {right} {}", self.count)
    }

    /// The text is still there after a wait, though others of its kind run meanwhile.
    pub async fn slowly(&self, text: &str, ms: u64) -> String {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        text.to_owned()
    }

    /// The same, alone.
    pub async fn relabel(&mut self, label: &str) -> Result<usize, BadLabel> {
        tokio::task::yield_now().await;
        if label.is_empty() {
            return Err(BadLabel(label.to_owned()));
        }
        label.clone_into(&mut self.label);
        Ok(label.len())
    }
}

/// What a method borrows is what its caller had, beside owned arguments, in methods of each kind.
#[callboard::test]
async fn arguments_are_borrowed_from_the_message() -> callboard::Result<()> {
    let shelf = Shelf::spawn("first").await?;
    assert_eq!(shelf.label().await?, "first");
    for text in ["", "a", "ünïcödé", &"long ".repeat(100_000)] {
        assert_eq!(shelf.length(text).await?, text.len());
    }
    assert_eq!(shelf.sum(&[1, 255], &[-128, 1], &[true, false]).await?, 130);
    assert_eq!(shelf.sum(&[], &[], &[]).await?, 0);
    let values: Vec<f64> = (0..100_000_u32).map(f64::from).collect();
    assert_eq!(shelf.mean(&values).await?, 49_999.5);
    let page = Page {
        title: "page".into(),
        lines: vec!["short".into(), "not so short".into()],
    };
    assert_eq!(
        shelf.longest(&page, 6).await?.as_deref(),
        Some("page: not so short")
    );
    assert_eq!(shelf.longest(&page, 60).await?, None);
    let name = String::from("name");
    let put = shelf.put(&name, 3, (9, "right".into())).await?;
    assert_eq!(put, "name 9 right 3");
    assert_eq!(shelf.relabel("second").await?, 6);
    assert_eq!(shelf.label().await?, "second");
    let refused = shelf.relabel("").await.expect_err("it is empty");
    assert!(matches!(refused, CallError::Actor(BadLabel(_))));
    shelf.shutdown().await
}

/// A constructor borrows too, across its waits; its proxy's spawn holds the borrow until awaited.
#[callboard::test]
async fn constructors_borrow() -> callboard::Result<()> {
    let allowed: Vec<String> = ["a", "b"].map(String::from).into();
    let shelf = Shelf::spawn_checked(7, "b", &allowed).await?;
    assert_eq!(
        (shelf.label().await?.as_str(), shelf.count().await?),
        ("b", 7)
    );
    shelf.shutdown().await?;
    let refused = Shelf::spawn_checked(7, "c", &allowed).await;
    assert!(
        matches!(refused, Err(SpawnError::Constructor(error)) if error == BadLabel("c".into()))
    );
    // The borrow ends where waiting begins, so the start can be moved to another task.
    let spawn = {
        let label = String::from("gone");
        Shelf::spawn(&label).name("shelf").into_future()
    };
    let shelf = tokio::spawn(spawn).await??;
    assert_eq!(shelf.label().await?, "gone");
    shelf.shutdown().await?;
    let label = String::from("scoped");
    let scope = Shelf::spawn(&label).scope(async |shelf| Ok(shelf.label().await?));
    assert_eq!(scope.await?, label);
    Ok(())
}

/// A started call has let go of what it borrowed, and so has one that waits for room.
#[callboard::test]
async fn started_calls_borrow_no_more() -> callboard::Result<()> {
    let shelf = Shelf::spawn("x").await?;
    let texts = (0..40_usize).map(|at| format!("{at} ").repeat(5_000));
    let pending: Vec<_> = texts.map(|text| shelf.slowly(&text, 1).start()).collect();
    for (at, pending) in pending.into_iter().enumerate() {
        assert_eq!(pending.await?, format!("{at} ").repeat(5_000));
    }
    // Moved to another task, the borrow is of something shared.
    let text = Arc::new("shared ".repeat(50_000));
    let tasks = (0..8).map(|_| {
        let (shelf, text) = (shelf.clone(), Arc::clone(&text));
        tokio::spawn(async move { shelf.length(&text).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await??, text.len());
    }
    shelf.shutdown().await
}

/// Each other way to make a call takes borrowed arguments as well.
#[callboard::test]
async fn borrowed_calls_are_told_timed_and_tried() -> callboard::Result<()> {
    // What is given up goes on in the actor, and its end need not wait for it.
    let grace = Duration::from_millis(50);
    let shelf = Shelf::spawn("x").grace(grace).await?;
    let name = String::from("name");
    shelf.put(&name, 2, (0, String::new())).tell().await?;
    let told = shelf.put(&name, 3, (0, String::new())).try_tell();
    assert!(told.is_ok(), "there is room");
    assert_eq!(shelf.count().await?, 5);
    let late = shelf.slowly(&name, 60_000);
    let late = late.timeout(Duration::from_millis(20)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })));
    let call: Call<'_, (Lent<'_, str>,), usize> = shelf.length(&name);
    let started = call.try_start().expect("there is room");
    assert_eq!(started.map(|len| len + 1).await?, 5);
    drop(shelf.put(&name, 100, (0, String::new())));
    assert_eq!(shelf.count().await?, 5, "what is not polled is not sent");
    Ok(())
}

/// A view has the result where it lies, in each way to make a call, and errors stay what they are.
#[callboard::test]
async fn results_are_viewed_in_place() -> callboard::Result<()> {
    let grace = Duration::from_millis(50);
    let shelf = Shelf::spawn("x").grace(grace).await?;
    let page = shelf.page("title", 100_000).view().await?;
    assert_eq!(page.title.as_str(), "title");
    assert_eq!(
        (page.lines.len(), page.lines[99_999].as_str()),
        (100_000, "line 99999")
    );
    let owned = page.deserialize()?;
    assert_eq!(
        (owned.title.as_str(), owned.lines.len()),
        ("title", 100_000)
    );

    // It outlives its proxy's next calls, and goes to other threads.
    let (first, second) = (
        shelf.page("first", 1).start(),
        shelf.page("second", 2).start(),
    );
    let (first, second) = (first.view().await?, second.view().await?);
    assert_eq!(shelf.page("third", 3).view().start().await?.lines.len(), 3);
    let seen = std::thread::spawn(move || (first.title.to_string(), second.lines.len()));
    assert_eq!(seen.join().ok(), Some((String::from("first"), 2)));

    // What is viewed becomes the argument of the next call.
    let page = shelf.page("title", 3).view().await?;
    assert_eq!(shelf.length(&page.title).await?, 5);

    let refused = shelf.relabel("").view().await.expect_err("it is empty");
    assert!(matches!(refused, CallError::Actor(BadLabel(_))));
    assert_eq!(*shelf.relabel("y").view().await?, 1);
    shelf
        .put("told", 1, (0, String::new()))
        .view()
        .tell()
        .await?;
    assert_eq!(shelf.count().await?, 1);

    // These go on in the actor, whoever still waits for them.
    let late = shelf.slowly("late", 60_000).view();
    let late = late.timeout(Duration::from_millis(20)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })));
    let dropped = shelf.slowly("dropped", 60_000).start().view();
    assert!(!dropped.is_ready());
    drop(dropped);
    let started = shelf.slowly("started", 60_000).view().start();
    shelf.label().await?;
    shelf.kill().await;
    assert!(matches!(started.await, Err(CallError::Died { .. })));
    Ok(())
}

/// The same actor as another build might have it: there the arguments are owned.
pub mod owned {
    use super::*;

    pub struct Shelf;

    #[actor]
    impl Shelf {
        pub fn new(_label: String) -> Self {
            Self
        }

        pub fn length(&self, text: String) -> usize {
            text.len()
        }

        pub fn mean(&self, values: Vec<f64>) -> f64 {
            values.iter().sum()
        }

        pub fn bytes(&self, bytes: Vec<u8>) -> usize {
            bytes.len()
        }
    }
}

/// The same, borrowing.
pub mod borrowing {
    use super::*;

    pub struct Shelf;

    #[actor]
    impl Shelf {
        pub fn new(_label: &str) -> Self {
            Self
        }

        pub fn length(&self, text: &str) -> usize {
            text.len()
        }

        pub fn mean(&self, values: &Archived<Vec<f64>>) -> f64 {
            values.iter().map(|value| value.to_native()).sum()
        }

        pub fn bytes(&self, bytes: &[u8]) -> usize {
            bytes.len()
        }
    }
}

/// Whether an argument is owned or borrowed is no part of a signature: builds that differ in
/// nothing else call each other.
#[test]
fn signatures_do_not_tell_who_owns() {
    let (one, other) = (owned::Shelf::INTERFACE, borrowing::Shelf::INTERFACE);
    assert_eq!(one.constructors, other.constructors);
    assert_eq!(one.methods, other.methods);
    assert_ne!(one.methods[0], one.methods[2]);
}
