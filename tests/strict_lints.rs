//! No lint speaks about an expansion, whatever the user's crate denies: this file compiles, and
//! clippy is silent.

#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unnameable_types,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    clippy::missing_const_for_fn,
    clippy::unwrap_used
)]

use std::collections::HashMap;

use callboard::Archived;

/// Crosses to the actor and back.
#[callboard::message]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// Which one.
    pub id: u64,
    /// What to do.
    pub words: HashMap<String, Vec<u8>>,
}

/// Has no documentation to spare for its actor.
#[callboard::message]
#[derive(Debug)]
enum Trouble {
    Lost(u64),
    Late { by: u64 },
}

mod private {
    /// A `Result` of one argument.
    pub type Result<T> = std::result::Result<T, super::Trouble>;
}

/// Counts.
#[derive(Debug)]
pub struct Counter {
    n: u64,
}

#[callboard::actor]
impl Counter {
    /// Not a function, and left alone.
    pub const STEP: usize = 2;

    /// Starts from a number.
    #[must_use]
    pub const fn new(start: u64) -> Self {
        Self { n: start }
    }

    /// Reads the start from a file.
    ///
    /// # Errors
    ///
    /// If there is none.
    #[deprecated = "files are no more"]
    #[expect(clippy::unused_async, reason = "shows an async constructor")]
    pub async fn open(path: String) -> Result<Self, String> {
        if path.is_empty() {
            Err(path)
        } else {
            Ok(Self { n: 1 })
        }
    }

    /// Starts from a text and numbers that it borrows.
    #[must_use]
    pub fn read(text: &str, more: &Archived<Vec<u64>>) -> Self {
        Self {
            n: text.len() as u64 + more.len() as u64,
        }
    }

    /// Borrows one argument.
    #[must_use]
    pub const fn length(&self, text: &str) -> u64 {
        self.n + text.len() as u64
    }

    /// Borrows all that can be borrowed.
    #[expect(clippy::unused_async, reason = "shows an async method that borrows")]
    pub async fn lengths(
        &mut self,
        text: &str,
        bytes: &[u8],
        (by, _): (u64, u8),
        job: &Archived<Job>,
    ) -> usize {
        self.n += by;
        text.len() + bytes.len() + job.words.len()
    }

    /// Adds.
    #[expect(clippy::unused_async, reason = "shows an async method")]
    pub async fn add(&mut self, mut by: u64, _: u8, (a, b): (u8, u8)) -> u64 {
        by += u64::from(a) + u64::from(b);
        self.n += by;
        self.n
    }

    /// Gives a stream that borrows it and an argument.
    pub fn steps(&self, text: &str) -> impl callboard::Stream<Item = u64> {
        futures_util::stream::iter(self.n..self.n + text.len() as u64)
    }

    /// Takes a stream, and gives one that has nothing of the actor, if at all.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn doubled(
        &mut self,
        by: u64,
        feeds: callboard::Streamed<u64>,
    ) -> Result<impl callboard::Stream<Item = Result<u64, String>> + 'static, String> {
        self.n += 1;
        if by == 0 {
            return Err(String::from("none"));
        }
        Ok(futures_util::StreamExt::map(feeds, move |number| {
            number.map_or_else(|error| Err(error.to_string()), |number| Ok(number * by))
        }))
    }

    /// Adds a stream up.
    pub async fn sum(&mut self, mut numbers: callboard::Streamed<u64>) -> u64 {
        while let Some(Ok(number)) = numbers.next().await {
            self.n += number;
        }
        self.n
    }

    /// Nothing in, nothing out.
    pub const fn reset(&mut self) {
        self.n = 0;
    }

    /// The number.
    #[must_use = "the number is all there is"]
    pub const fn get(&self) -> u64 {
        self.n
    }

    /// The number as it was called once.
    #[deprecated(since = "1.0.0", note = "say `get`")]
    #[must_use]
    pub const fn old(&self) -> u64 {
        self.n
    }

    /// Takes several at once.
    #[batch]
    pub fn several(&mut self, by: Vec<u64>, more: Vec<u8>) -> Vec<Result<u64, String>> {
        let sums = by.into_iter().zip(more);
        sums.map(|(by, more)| Ok(by + u64::from(more))).collect()
    }

    /// Gives nothing for several.
    #[batch(max = 8)]
    pub fn swallow(&mut self, by: Vec<u64>) {
        self.n += by.into_iter().sum::<u64>();
    }

    /// Works with lengths that are the actor's.
    #[must_use]
    pub fn pair(&self, both: [u64; Self::STEP]) -> Option<[u64; Self::STEP]> {
        (self.n > 0).then_some(both)
    }

    /// A type of some complexity.
    ///
    /// # Errors
    ///
    /// If there are none.
    #[expect(clippy::type_complexity, reason = "shows that only its author is told")]
    pub fn work(
        &self,
        jobs: HashMap<String, Vec<(u64, Option<Job>)>>,
    ) -> Result<HashMap<String, Vec<(u64, Option<Job>)>>, (u64, String)> {
        if jobs.is_empty() {
            Err((self.n, String::new()))
        } else {
            Ok(jobs)
        }
    }

    /// Shadows a name of the `Proxy` trait.
    #[must_use]
    pub const fn handle(&self) -> u64 {
        self.n
    }

    /// A name that looks like a conversion.
    pub const fn as_mut_number(&mut self, r#type: u8, _unused: u8, call: u8) -> u64 {
        self.n += (r#type as u64) + (call as u64);
        self.n
    }

    /// More than most take.
    #[allow(clippy::too_many_arguments, reason = "shows the limit")]
    #[expect(clippy::many_single_char_names, reason = "shows the limit")]
    #[must_use]
    #[rustfmt::skip]
    pub const fn twelve(
        &self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8,
    ) -> [u8; 13] {
        [a, b, c, d, e, f, g, h, i, j, k, l, self.n.to_le_bytes()[0]]
    }

    #[cfg(not(unix))]
    pub fn only_elsewhere(&self, what: NoSuchType) -> NoSuchType {
        what
    }

    /// For this crate.
    ///
    /// # Errors
    ///
    /// If it is late.
    pub(crate) const fn late(&self, by: u64) -> private::Result<u64> {
        if by > self.n {
            Err(Trouble::Late { by })
        } else {
            Err(Trouble::Lost(by))
        }
    }

    const fn private(&self) -> u64 {
        self.n
    }

    fn helper<T>(&self, value: &T) -> usize {
        size_of_val(value) + usize::try_from(self.private()).unwrap_or(0)
    }

    /// Not a constructor.
    #[must_use]
    pub fn borrowed(text: &str) -> usize {
        Self { n: 0 }.helper(&text)
    }
}

/// An actor that its binary does not show, with messages that it does not show.
struct Hidden(Secret);

#[callboard::message]
struct Secret(u8);

#[callboard::actor(name = "test.hidden", vis = "pub(crate)")]
impl Hidden {
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    pub const fn swap(&mut self, secret: Secret) -> Secret {
        core::mem::replace(&mut self.0, secret)
    }
}

/// An actor of nothing but a constructor.
#[derive(Debug)]
enum Idle {
    Only,
}

#[callboard::actor]
impl Idle {
    pub fn new(late: u64) -> private::Result<Self> {
        (late == 0)
            .then_some(Self::Only)
            .ok_or(Trouble::Late { by: late })
    }
}

/// A part of a part.
#[derive(Debug)]
pub struct Spring {
    tension: u8,
}

#[callboard::actor_part(get_set(tension: u8))]
impl Spring {
    /// Not a method, and left alone.
    #[must_use]
    pub const fn wound() -> Self {
        Self { tension: 1 }
    }

    /// Winds it up.
    ///
    /// # Errors
    ///
    /// If it breaks.
    #[expect(clippy::unused_async, reason = "shows an async method of a part")]
    pub async fn wind(&mut self, by: u8, why: &str) -> Result<u8, String> {
        self.tension = self.tension.checked_add(by).ok_or(why)?;
        Ok(self.tension)
    }
}

/// A part without methods of its own.
#[derive(Debug)]
pub struct Drive {
    spring: Spring,
}

#[callboard::actor_part(nested(spring: Spring))]
impl Drive {}

/// Made of parts, and told how it starts.
#[derive(Debug)]
pub struct Watch {
    drive: Drive,
    second: Spring,
}

#[callboard::actor(
    nested(drive: Drive, /** The one for a stop watch. */ pub(crate) second: Spring),
    mailbox = 8,
    grace = "1s",
    process_name = "watch",
)]
impl Watch {
    /// Starts it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            drive: Drive {
                spring: Spring::wound(),
            },
            second: Spring::wound(),
        }
    }
}

mod inner {
    //! Where nothing can be reached.

    #[derive(Debug)]
    pub(super) struct Deep(u8);

    #[callboard::actor(vis = "pub(super)")]
    impl Deep {
        pub(super) const fn new(value: u8) -> Self {
            Self(value)
        }

        pub(super) const fn value(&self) -> u8 {
            self.0
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("trouble")
    }
}

impl std::error::Error for Trouble {}

/// What an application does with them.
async fn use_all() -> callboard::Result<()> {
    let counter = Counter::spawn(1).await?;
    let _: u64 = counter.add(1, 2, (3, 4)).await?;
    counter.reset().await?;
    let _: u64 = counter.get().await?;
    let _: u64 = counter.late(1).await?;
    let _: Option<[u64; 2]> = counter.pair([1, 2]).await?;
    let _: Option<Secret> = Hidden::spawn(Secret(1)).await?.swap(Secret(2)).await.ok();
    let _: IdleProxy = Idle::spawn(0).await?;
    let watch = Watch::local().await?;
    let _: u8 = watch.drive().spring().wind(1, "broken").await.unwrap_or(0);
    let _: u8 = watch.second().tension().await?;
    let _: u8 = inner::Deep::spawn(1).await?.value().await?;
    counter.shutdown().await
}

#[callboard::main(flavor = "current_thread")]
async fn entry() -> callboard::Result<()> {
    // Whether it runs is for other tests to show.
    let unpolled = use_all();
    drop(unpolled);
    Ok(())
}

#[callboard::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "compiled only"]
async fn is_a_test() -> callboard::Result<()> {
    use_all().await
}

#[test]
fn the_entry_point_is_a_plain_function() {
    assert!(entry().is_ok());
}
