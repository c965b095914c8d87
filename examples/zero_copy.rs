//! U60, U64: frames are rendered in one process, encoded in a second and stored by a third, and lie
//! in the same pages all along. That nothing is copied is shown, not only said: in each process the
//! bytes give the same sum and are pages of the same file, nobody's own memory grows, and who only
//! stores frames touches none of their pages.

use std::fs;

use callboard::prelude::*;
use callboard::{Blob, Error};
use nix::sys::resource::{UsageWho, getrusage};

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
/// Red, green and blue.
const FRAME_LEN: usize = WIDTH * HEIGHT * 3;
const FRAMES: u32 = 12;

/// A frame on its way through the processes.
#[message]
#[derive(Clone, Debug)]
pub struct Frame {
    number: u32,
    pixels: Blob,
}

/// What a process can say of a frame without looking at where it got it from.
#[message]
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// Of the pixels' values, wherever they lie.
    checksum: u64,
    /// The file whose pages they are.
    file: u64,
}

/// What a process has spent.
#[message]
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Bytes of memory that is nobody else's.
    own_bytes: u64,
    /// Pages that it has met for the first time.
    page_faults: u64,
}

pub struct Renderer;

#[actor]
impl Renderer {
    pub fn new() -> Self {
        Self
    }

    /// A frame, drawn where it will stay.
    pub async fn render(&self, number: u32) -> Result<Frame, String> {
        let pixels = Blob::builder(FRAME_LEN).await;
        let mut pixels = pixels.map_err(|error| error.to_string())?;
        let mut value = number.to_le_bytes()[0];
        for pixel in pixels.as_mut_slice() {
            value = value.wrapping_mul(5).wrapping_add(3);
            *pixel = value;
        }
        let pixels = pixels.seal().map_err(|error| error.to_string())?;
        Ok(Frame { number, pixels })
    }
}

pub struct Encoder;

#[actor]
impl Encoder {
    pub fn new() -> Self {
        Self
    }

    /// Reads every pixel: the average of each line is what is left of the picture.
    pub fn encode(&self, frame: Frame) -> (Vec<u8>, Seen) {
        let lines = frame.pixels.chunks_exact(WIDTH * 3).map(|line| {
            let sum: u64 = line.iter().copied().map(u64::from).sum();
            (sum / line.len() as u64).to_le_bytes()[0]
        });
        (lines.collect(), seen(&frame.pixels))
    }

    pub fn spent(&self) -> Spent {
        spent()
    }
}

/// Keeps the frames as they are.
pub struct Store {
    frames: Vec<Frame>,
}

#[actor]
impl Store {
    pub fn new() -> Self {
        Self { frames: Vec::new() }
    }

    /// Stores a frame; it need not look at it.
    pub fn keep(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// A part of a stored frame: the same pages again.
    pub fn line(&self, number: u32, line: usize) -> Option<Blob> {
        let frame = self.frames.iter().find(|frame| frame.number == number)?;
        let begin = line * WIDTH * 3;
        Some(frame.pixels.slice(begin..begin + WIDTH * 3))
    }

    pub fn look(&self, number: u32) -> Option<Seen> {
        let frame = self.frames.iter().find(|frame| frame.number == number)?;
        Some(seen(&frame.pixels))
    }

    pub fn clear(&mut self) {
        self.frames.clear();
    }

    pub fn spent(&self) -> Spent {
        spent()
    }
}

fn seen(pixels: &[u8]) -> Seen {
    let values = pixels.iter().copied().map(u64::from);
    Seen {
        checksum: values.fold(0, |sum, value| sum * 31 % 1_000_000_007 + value),
        file: file_of(pixels),
    }
}

/// The number of the file whose pages lie at these bytes, as the system tells it.
fn file_of(bytes: &[u8]) -> u64 {
    let place = bytes.as_ptr().addr() as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let found = maps.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (begin, end) = fields.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let is_it = (hex(begin)?..hex(end)?).contains(&place);
        is_it.then(|| fields.nth(3)?.parse().ok()).flatten()
    });
    found.unwrap_or_default()
}

fn spent() -> Spent {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let own_kib: u64 = own
        .and_then(|text| text.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or_default();
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    Spent {
        own_bytes: own_kib * 1024,
        page_faults: usage.map_or(0, |usage| usage.minor_page_faults().cast_unsigned()),
    }
}

/// Has so many frames rendered, encoded and stored, each in a process of its own, and gives the
/// last one.
async fn film(
    renderer: &RendererProxy,
    encoder: &EncoderProxy,
    store: &StoreProxy,
) -> callboard::Result<Frame> {
    for number in 0.. {
        let rendered = renderer.render(number).await;
        let frame = rendered.map_err(Error::of_call)?;
        let (code, there) = encoder.encode(frame.clone()).await?;
        assert_eq!(code.len(), HEIGHT);
        assert_eq!(there, seen(&frame.pixels), "the same values and pages");
        store.keep(frame.clone()).await?;
        if number + 1 == FRAMES {
            return Ok(frame);
        }
    }
    Err(Error::msg("there were no frames"))
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let renderer = Renderer::spawn().await?;
    let (encoder, store) = (Encoder::spawn().await?, Store::spawn().await?);
    let before = [encoder.spent().await?, store.spent().await?];
    let latest = film(&renderer, &encoder, &store).await?;
    let after = [encoder.spent().await?, store.spent().await?];
    for (name, before, after) in [
        ("encoder", before[0], after[0]),
        ("store", before[1], after[1]),
    ] {
        let own_bytes = after.own_bytes.saturating_sub(before.own_bytes);
        println!(
            "{name}: {FRAMES} frames of {} KiB came in, for {} KiB of memory of its own and {} \
             page faults",
            FRAME_LEN >> 10,
            own_bytes >> 10,
            after.page_faults - before.page_faults,
        );
        assert!(own_bytes < FRAME_LEN as u64, "it has a copy");
    }
    // The frames have so many pages that a touch of each would be seen.
    let pages = u64::from(FRAMES) * (FRAME_LEN as u64 / 4096);
    let touched = after[1].page_faults - before[1].page_faults;
    assert!(
        touched < pages / 10,
        "{touched} of {pages} pages were touched to store them"
    );

    // What was stored outlives who made it, and is still the same.
    renderer.shutdown().await?;
    assert_eq!(store.look(latest.number).await?, Some(seen(&latest.pixels)));
    let line = store.line(latest.number, 7).await?.expect("it is stored");
    assert!(line.shares_memory(&latest.pixels));
    assert_eq!(line[..], latest.pixels[7 * WIDTH * 3..8 * WIDTH * 3]);
    store.clear().await?;
    println!("the renderer has gone, and its frames were in the same pages all along");
    encoder.shutdown().await?;
    store.shutdown().await
}
