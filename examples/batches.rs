//! P15: a method that is given what is queued for it at once: one flush to disk for many callers.
//!
//! The callers see nothing of it. Each makes a call of its own, with its own result.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::Instant;

use callboard::prelude::*;
use tokio::task::JoinSet;

/// Why lines are not on disk.
#[message]
#[derive(Clone, Debug, thiserror::Error)]
#[error("the journal is not written: {reason}")]
pub struct NotWritten {
    reason: String,
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        let reason = error.to_string();
        Self { reason }
    }
}

/// Lines that are on disk when their callers are answered.
pub struct Journal {
    file: File,
    flushes: u64,
    lines: u64,
}

#[actor]
impl Journal {
    pub fn new() -> Result<Self, NotWritten> {
        let path = std::env::temp_dir().join(format!("journal-{}", std::process::id()));
        let file = File::create_new(&path)?;
        // It is gone when this process is.
        std::fs::remove_file(&path)?;
        Ok(Self {
            file,
            flushes: 0,
            lines: 0,
        })
    }

    /// Gives the number of the line. The proxy has it as `append(line: String) -> u64`.
    #[batch]
    pub fn append(&mut self, lines: Vec<String>) -> Vec<Result<u64, NotWritten>> {
        let count = lines.len();
        let written = self.write(&lines);
        let first = self.lines;
        if written.is_ok() {
            self.lines += count as u64;
        }
        (first..)
            .take(count)
            .map(|number| written.clone().map(|()| number))
            .collect()
    }

    /// How often the disk was waited for.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    fn write(&mut self, lines: &[String]) -> Result<(), NotWritten> {
        for line in lines {
            writeln!(self.file, "{line}")?;
        }
        self.flushes += 1;
        Ok(self.file.sync_data()?)
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let journal = Journal::spawn().await?;

    let began = Instant::now();
    let mut writers = JoinSet::<callboard::Result<()>>::new();
    for writer in 0..20 {
        let journal = journal.clone();
        writers.spawn(async move {
            for line in 0..50 {
                journal.append(format!("{writer}: line {line}")).await?;
            }
            Ok(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written.expect("no writer panics")?;
    }

    let (took, flushes) = (began.elapsed(), journal.flushes().await?);
    println!("1000 lines, each on disk when its writer went on: {flushes} flushes, {took:.1?}");
    assert!(flushes <= 1000, "none for nothing");
    journal.shutdown().await
}
