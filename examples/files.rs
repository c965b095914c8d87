//! U65: large data in files. A file is read once, into a blob whose pages all workers share; and
//! what is to outlive its process is stored in a file on a file system in memory, of which the path
//! is enough: whoever has it takes the data from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use callboard::prelude::*;
use callboard::{Blob, Error};
use futures_util::future::try_join_all;

const LINES: usize = 200_000;
const WORKERS: usize = 3;

/// Counts in texts that it is shown.
pub struct Counter;

#[actor]
impl Counter {
    pub fn new() -> Self {
        Self
    }

    /// How many lines end in this digit.
    pub fn lines(&self, text: Blob, digit: u8) -> usize {
        let lines = text.split(|byte| *byte == b'\n');
        lines.filter(|line| line.last() == Some(&digit)).count()
    }
}

/// Stores blobs in a folder, so that they outlive it.
pub struct Store {
    folder: PathBuf,
}

#[actor]
impl Store {
    pub fn open(folder: String) -> Self {
        let folder = folder.into();
        Self { folder }
    }

    /// Stores it, and says where. Under its name there is all of it, or nothing.
    pub fn put(&self, name: &str, data: Blob) -> Result<String, String> {
        let (path, part) = (self.folder.join(name), self.folder.join("part"));
        let written = fs::write(&part, &data).and_then(|()| fs::rename(&part, &path));
        written.map_err(|error| error.to_string())?;
        Ok(path.display().to_string())
    }

    pub async fn get(&self, name: &str) -> Result<Blob, String> {
        let read = Blob::from_file(self.folder.join(name)).await;
        read.map_err(|error| error.to_string())
    }
}

/// A folder of this run, in memory if the system has such a file system.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = base.join(format!("callboard-example-files-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is told by nobody here.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let folder = Folder::new()?;
    let path = folder.0.join("lines.txt");
    let lines: String = (0..LINES)
        .map(|number| format!("line {number}\n"))
        .collect();
    fs::write(&path, &lines)?;

    // One copy, from the file into the blob; each worker reads its part of these pages.
    let text = Blob::from_file(&path).await?;
    let workers = try_join_all((0..WORKERS).map(|_| async { Counter::spawn().await })).await?;
    let part = |worker: usize| {
        let border = |part: usize| match part * text.len() / WORKERS {
            0 => 0,
            near => {
                near + text[near - 1..]
                    .iter()
                    .take_while(|byte| **byte != b'\n')
                    .count()
            }
        };
        text.slice(border(worker)..border(worker + 1).min(text.len()))
    };
    let counts = workers.iter().enumerate();
    let counts = counts.map(|(at, worker)| worker.lines(part(at), b'7').start());
    let count: usize = try_join_all(counts).await?.into_iter().sum();
    println!("{count} of {LINES} lines end in 7, as {WORKERS} workers have found");
    assert_eq!(count, LINES / 10);

    // What is stored outlives its store, and everybody who is given it.
    let store = Store::spawn_open(folder.0.display().to_string()).await?;
    let stored = store.put("text", text.clone()).await;
    let stored = stored.map_err(Error::of_call)?;
    store.kill().await;
    drop(text);
    assert_eq!(fs::read(&stored)?, lines.as_bytes());
    let store = Store::spawn_open(folder.0.display().to_string()).await?;
    let again = store.get("text").await;
    let again = again.map_err(Error::of_call)?;
    assert_eq!(again[..], *lines.as_bytes());
    println!(
        "{} KiB were there again after their store was killed",
        again.len() >> 10
    );

    for worker in workers {
        worker.shutdown().await?;
    }
    store.shutdown().await
}
