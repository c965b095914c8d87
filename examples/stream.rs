//! Streams out of an actor and into one: results as they are found, and a slow reader that slows
//! the search; lines that are stored as they are made.
//!
//! The actor lives in a process of its own. What it sends ahead of its reader is bounded, and both
//! ends learn how the other one ended.

use std::time::Duration;

use callboard::Error;
use callboard::prelude::*;
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

/// Texts, and how many lines of them were looked at.
pub struct Archive {
    lines: Vec<String>,
    looked_at: std::cell::Cell<u64>,
}

/// What is wrong with a pattern.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("a pattern is not empty")]
pub struct EmptyPattern;

#[actor]
impl Archive {
    pub fn new() -> Self {
        Self {
            lines: Vec::new(),
            looked_at: 0.into(),
        }
    }

    /// Takes lines as they come, and gives their number.
    pub async fn store(&mut self, mut lines: Streamed<String>) -> Result<u64, String> {
        while let Some(line) = lines.next().await {
            self.lines.push(line.map_err(|error| error.to_string())?);
        }
        Ok(self.lines.len() as u64)
    }

    /// The lines with `word` in them, as they are found. Other `&self` calls run meanwhile.
    pub fn find(&self, word: &str) -> Result<impl Stream<Item = String>, EmptyPattern> {
        let word = word.to_owned();
        if word.is_empty() {
            return Err(EmptyPattern);
        }
        let lines = stream::iter(&self.lines);
        Ok(lines.filter_map(move |line| {
            self.looked_at.set(self.looked_at.get() + 1);
            let found = line.contains(&word).then(|| line.clone());
            std::future::ready(found)
        }))
    }

    pub fn looked_at(&self) -> u64 {
        self.looked_at.get()
    }

    /// A stream that has nothing of the actor's: it runs beside any call, and outlives this one.
    pub fn ticks(&mut self, every_ms: u64) -> impl Stream<Item = u64> + 'static {
        stream::iter(1..).then(move |tick| async move {
            sleep(Duration::from_millis(every_ms)).await;
            tick
        })
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let archive = Archive::spawn().await?;

    // A stream as an argument: the actor asks for as much as it can take.
    let lines = stream::iter(0..10_000).map(|n| format!("line {n} of a long text"));
    let stored = archive.store(lines).await.map_err(Error::of_call)?;
    println!("stored {stored} lines");
    assert_eq!(stored, 10_000);

    // A stream as a result: read to its end, many items to a record.
    let mut found = archive.find("7").await?;
    let mut count = 0;
    while let Some(line) = found.next().await {
        assert!(line?.contains('7'));
        count += 1;
    }
    println!("{count} lines have a 7 in them");
    assert_eq!(count, 3439);

    // The method's own error comes where the stream would.
    let refused = archive.find("").await;
    assert!(matches!(refused, Err(CallError::Actor(EmptyPattern))));

    // A reader that takes three items has the actor look at eleven lines, and not at ten thousand.
    let before = archive.looked_at().await?;
    let mut first = archive.find("line").window(8).await?;
    for n in 0..3 {
        let line = first.next().await.expect("there are more")?;
        assert_eq!(line, format!("line {n} of a long text"));
    }
    let looked_at = archive.looked_at().await? - before;
    println!("three lines were read, {looked_at} were looked at");
    assert!((3..=11).contains(&looked_at));

    // Dropped, a stream ends; calls of `&mut self` have waited for it until then.
    drop(first);
    let mut ticks = archive.ticks(1).await?;
    let more = stream::iter([String::from("one more")]);
    archive.store(more).await.map_err(Error::of_call)?;
    assert_eq!(ticks.next().await.expect("it is endless")?, 1);

    // The end of the actor is an error of its readers, behind what had come before.
    archive.shutdown().await?;
    let end = loop {
        match ticks.next().await {
            Some(Ok(_)) => {}
            end => break end,
        }
    };
    println!("at the end: {end:?}");
    assert!(matches!(end, Some(Err(CallError::Stopped { .. }))));
    assert!(ticks.next().await.is_none());
    Ok(())
}
