//! An actor that large things come to and from over a network, and ways to it.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::prelude::*;
use callboard::{Address, Array, AuthKey, Blob, Connecting};
use futures_util::{StreamExt as _, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::common::{LONG, file_of, within};

/// Keeps, makes and counts.
#[derive(Default)]
pub struct Store {
    kept: Vec<Blob>,
    seen: Vec<u64>,
    pings: AtomicU64,
    produced: Arc<AtomicU64>,
}

/// A message with blobs in it.
#[message]
#[derive(Debug)]
pub struct Scene {
    pub name: String,
    pub frames: Vec<Blob>,
    pub depth: Option<Blob<[f32]>>,
}

#[actor]
impl Store {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn ping(&self) -> u64 {
        self.pings.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number of the bytes, and of the file that they are.
    pub fn look(&self, blob: Blob) -> (u64, u64) {
        (sum(&blob), file_of(&blob))
    }

    pub fn len(&self, blob: Blob) -> usize {
        blob.len()
    }

    pub fn echo(&self, blob: Blob) -> Blob {
        blob
    }

    pub fn keep(&mut self, blob: Blob) -> usize {
        self.kept.push(blob);
        self.kept.len()
    }

    pub fn kept(&self, at: usize) -> Option<Blob> {
        self.kept.get(at).cloned()
    }

    pub fn forget(&mut self) {
        self.kept.clear();
    }

    pub fn make(&self, len: usize, seed: u8) -> Blob {
        blob(len, seed)
    }

    pub fn scene(&self, mut scene: Scene) -> Scene {
        scene.frames.reverse();
        scene
    }

    pub fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// So many bytes, which are counted as one product.
    pub fn produce(&self, len: usize) -> Vec<u8> {
        let bytes = vec![7; len];
        self.produced.fetch_add(1, Ordering::SeqCst);
        bytes
    }

    /// Notes in which order calls are begun.
    pub fn see(&mut self, number: u64, _bytes: Vec<u8>) {
        self.seen.push(number);
    }

    /// The same with a blob.
    pub fn see_blob(&mut self, number: u64, _blob: Blob) {
        self.seen.push(number);
    }

    pub fn seen(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.seen)
    }

    pub fn count(&self, len: u64) -> impl Stream<Item = u64> {
        stream::iter(0..len).map(|number| {
            self.produced.fetch_add(1, Ordering::SeqCst);
            number
        })
    }

    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::SeqCst)
    }

    pub fn rows(&self, count: u8, len: usize) -> impl Stream<Item = Vec<u8>> + 'static {
        stream::iter(0..count).map(move |seed| pattern(len, seed))
    }

    pub fn frames(&self, count: u8, len: usize) -> impl Stream<Item = Blob> + 'static {
        stream::iter(0..count).map(move |seed| blob(len, seed))
    }

    pub async fn total(&self, mut numbers: Streamed<u64>) -> Result<u64, String> {
        let mut total = 0;
        while let Some(number) = numbers.next().await {
            total += number.map_err(|error| error.to_string())?;
        }
        Ok(total)
    }

    pub async fn store(&mut self, mut frames: Streamed<Blob>) -> Result<Vec<u64>, String> {
        let mut sums = Vec::new();
        while let Some(frame) = frames.next().await {
            sums.push(sum(&frame.map_err(|error| error.to_string())?));
        }
        Ok(sums)
    }

    pub fn fill(&self, numbers: Array<u64>) {
        numbers.fill(1);
    }

    pub fn array(&self) -> Array<u64> {
        Array::new(10).expect("there is memory")
    }

    /// How much more it may open: nothing, or what it could.
    pub fn limit(&self, is_full: bool) {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
        let limit = if is_full { 3 } else { most };
        setrlimit(Resource::RLIMIT_NOFILE, limit, most).expect("it may be lower");
    }

    pub fn abort(&self) {
        std::process::abort()
    }
}

/// Bytes that are others for each seed and each place.
pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let bytes = (0..=250_u8).cycle().take(len);
    bytes.map(|byte| byte ^ seed).collect()
}

pub fn blob(len: usize, seed: u8) -> Blob {
    let mut builder = Blob::alloc(len).expect("there is memory");
    builder.as_mut_slice().copy_from_slice(&pattern(len, seed));
    builder.seal().expect("it can be sealed")
}

/// A blob of many bytes that took no time to write.
pub fn large(len: usize) -> Blob {
    let builder = Blob::alloc(len).expect("there is memory");
    builder.seal().expect("it can be sealed")
}

pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().copied().map(u64::from).sum()
}

pub fn key() -> AuthKey {
    AuthKey::from([1; 32])
}

/// An actor that listens, and where.
pub async fn storing(at: &str) -> (StoreProxy, Address) {
    let store = Store::spawn().listen(at).authkey(key());
    let store = within(LONG, store.into_future()).await.expect("it starts");
    let address = store.address().expect("it listens").clone();
    (store, address)
}

pub async fn connected<P: Proxy>(connecting: Connecting<P>) -> P {
    // The default is for networks, not for machines that do much else.
    let connecting = connecting.within(LONG);
    within(LONG, connecting.into_future())
        .await
        .expect("it is let in")
}
