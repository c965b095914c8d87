//! U64: blobs are items of streams: their memory is handed on, counts in the window, and is given
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::prelude::*;
use callboard::{Blob, CallError, LinkKind};
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use crate::common::{How, LONG, alone, blobs_of, both, no_blobs, within};
use crate::source::all;

both! {
    blobs_are_items;
    memory_counts_in_the_window;
}

/// Renders frames, and stores them.
#[derive(Default)]
pub struct Studio {
    rendered: Arc<AtomicU64>,
    stored: Vec<Blob>,
}

#[actor]
impl Studio {
    pub fn new() -> Self {
        Self::default()
    }

    /// Frames of so many bytes, each filled with its number.
    pub fn render(&self, count: u64, len: usize) -> impl Stream<Item = Blob> {
        stream::iter(0..count).map(move |number| {
            self.rendered.fetch_add(1, Ordering::SeqCst);
            frame(number, len)
        })
    }

    pub fn rendered(&self) -> u64 {
        self.rendered.load(Ordering::SeqCst)
    }

    /// Takes frames; gives how many there are.
    pub async fn store(&mut self, mut frames: Streamed<Blob>) -> Result<u64, String> {
        while let Some(frame) = frames.next().await {
            self.stored.push(frame.map_err(|error| error.to_string())?);
        }
        Ok(self.stored.len() as u64)
    }

    /// What is stored, by number: every third one is left out, every fifth one is an error.
    pub fn stored(&self) -> impl Stream<Item = Result<(u64, Option<Blob>), Blob>> {
        stream::iter((0..).zip(&self.stored)).map(|(number, frame)| match number {
            _ if number % 5 == 0 => Err(frame.clone()),
            _ if number % 3 == 0 => Ok((number, None)),
            _ => Ok((number, Some(frame.clone()))),
        })
    }

    pub fn clear(&mut self) {
        self.stored.clear();
    }

    pub fn pid(&self) -> u32 {
        std::process::id()
    }
}

fn frame(number: u64, len: usize) -> Blob {
    let mut builder = Blob::alloc(len).expect("there is memory");
    builder.as_mut_slice().fill(byte(number));
    builder.seal().expect("it can be sealed")
}

fn byte(number: u64) -> u8 {
    u8::try_from(number % 256).unwrap()
}

fn is_frame(frame: &Blob, number: u64, len: usize) -> bool {
    frame.len() == len && frame.iter().all(|other| *other == byte(number))
}

async fn start(how: How) -> callboard::Result<StudioProxy> {
    Ok(how.start(Studio::spawn(), Studio::local()).await?)
}

/// Blobs come out of a method and go into it as items, alone, within messages and errors, among
/// items that have none.
async fn blobs_are_items(how: How) -> callboard::Result<()> {
    let studio = start(how).await?;
    come_and_go(&studio, 300).await?;
    Ok(studio.stop().await?)
}

async fn come_and_go(studio: &StudioProxy, count: u64) -> callboard::Result<()> {
    let mut frames = studio.render(count, 5000).await?;
    for number in 0..count {
        let frame = within(LONG, frames.next()).await.unwrap()?;
        assert!(is_frame(&frame, number, 5000), "frame {number}");
    }
    assert!(within(LONG, frames.next()).await.is_none());

    let frames = stream::iter(0..count).map(|number| frame(number, 10));
    assert_eq!(within(LONG, studio.store(frames)).await.unwrap(), count);
    let mut stored = studio.stored().await.unwrap();
    for number in 0..count {
        match within(LONG, stored.next()).await.unwrap() {
            Ok((named, Some(frame))) if number % 3 != 0 => {
                assert!(named == number && is_frame(&frame, number, 10));
            }
            Ok((named, None)) if number % 3 == 0 => assert_eq!(named, number),
            Err(CallError::Actor(frame)) if number % 5 == 0 => {
                assert!(is_frame(&frame, number, 10));
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    assert!(within(LONG, stored.next()).await.is_none());
    Ok(())
}

/// What a blob lies in counts in the window, though it does not travel: memory is bounded as bytes
/// are.
async fn memory_counts_in_the_window(how: How) -> callboard::Result<()> {
    let studio = start(how).await?;
    let mut frames = studio
        .render(u64::MAX, 100_000)
        .window_bytes(300_000)
        .await?;
    let rendered = async |count| {
        while studio.rendered().await.unwrap() < count {
            sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    within(LONG, rendered(3)).await;
    for _ in 0..20 {
        assert_eq!(studio.rendered().await?, 3);
    }
    for number in 0..50 {
        let frame = frames.next().await.unwrap()?;
        assert!(is_frame(&frame, number, 100_000));
        assert!(studio.rendered().await? <= number + 1 + 3);
    }
    Ok(studio.stop().await?)
}

/// Waits until none of these processes has anything of a blob, while calls bring them the news.
async fn given_back(studio: &StudioProxy, pids: &[u32]) -> callboard::Result<()> {
    let waiting = async {
        while pids.iter().any(|pid| blobs_of(*pid) != (0, 0)) {
            studio.rendered().await?;
            sleep(std::time::Duration::from_millis(2)).await;
        }
        Ok(())
    };
    within(LONG, waiting).await
}

/// Over each kind of link blobs travel as items, streams that are dropped in the middle give their
/// memory back, and so do writers that are killed; what was read by then stays.
#[callboard::test]
async fn streams_give_memory_back() -> callboard::Result<()> {
    if !alone("blobs::streams_give_memory_back") {
        return Ok(());
    }
    for link in [LinkKind::SharedMemory, LinkKind::Socket] {
        let studio = Studio::spawn().link(link).await?;
        let pids = [studio.pid().await?, std::process::id()];
        come_and_go(&studio, 600).await?;
        studio.clear().await?;
        given_back(&studio, &pids).await?;

        for read in [0, 1, 40] {
            let mut frames = studio.render(u64::MAX, 5000).await?;
            for number in 0..read {
                assert!(is_frame(&frames.next().await.unwrap()?, number, 5000));
            }
            drop(frames);
            given_back(&studio, &pids).await?;
        }

        let mut frames = studio.render(u64::MAX, 5000).await?;
        let first = frames.next().await.unwrap()?;
        studio.kill().await;
        assert!(is_frame(&first, 0, 5000));
        let end = within(LONG, async {
            loop {
                match frames.next().await {
                    Some(Ok(_)) => {}
                    other => break other,
                }
            }
        });
        assert!(matches!(end.await, Some(Err(CallError::Died { .. }))));
        drop((first, frames, studio));
        no_blobs(&pids[1..]).await;
    }
    Ok(())
}

/// All of a stream's blobs can be kept: there are as many as there is memory and descriptors.
#[callboard::test]
async fn many_blobs_are_kept() -> callboard::Result<()> {
    let studio = Studio::spawn().await?;
    let frames = all(studio.render(700, 10).await?).await;
    assert_eq!(frames.len(), 700);
    let all_right = (0..)
        .zip(&frames)
        .all(|(number, frame)| is_frame(frame, number, 10));
    assert!(all_right);
    Ok(studio.stop().await?)
}
