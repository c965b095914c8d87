//! Who is called, and who holds proxies of others.

#![allow(dead_code, reason = "each test program uses some of it")]

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{AnyProxy, Blob, LinkKind};
use tokio::time::sleep;

/// What every actor here can say.
#[actor_trait]
pub trait Speaker {
    fn word(&self) -> String;
}

/// Who is called.
pub struct Counter {
    n: u64,
    own: Option<CounterProxy>,
}

#[actor(Speaker)]
impl Counter {
    pub fn new() -> Self {
        Self { n: 0, own: None }
    }

    pub fn add(&mut self, by: u64) -> u64 {
        self.n += by;
        self.n
    }

    pub fn get(&self) -> u64 {
        self.n
    }

    pub fn len_of(&self, blob: Blob) -> usize {
        blob.len()
    }

    pub fn echo(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    /// Whether what it is lent lies in memory that its caller can write.
    pub fn is_lent_in_place(&self, bytes: &[u8]) -> bool {
        is_shared(bytes)
    }

    pub fn count(&self, to: u32) -> impl Stream<Item = u32> + use<> {
        tokio_stream(to)
    }

    pub async fn wait(&self) {
        sleep(Duration::from_secs(3600)).await;
    }

    pub fn block(&mut self, for_ms: u64) {
        std::thread::sleep(Duration::from_millis(for_ms));
    }

    pub fn panic(&self, text: String) {
        panic!("{text}");
    }

    /// A proxy of itself, for others.
    pub fn own(&self, context: &Context) -> CounterProxy {
        context.own()
    }

    pub fn keep_own(&mut self, own: CounterProxy) {
        self.own = Some(own);
    }

    /// Calls itself by the proxy that it was given.
    pub async fn ask_own(&self) -> Result<u64, String> {
        let own = self.own.as_ref().expect("it was given");
        own.get().await.map_err(|error| error.to_string())
    }

    pub async fn add_by_own(&mut self) -> Result<u64, String> {
        let own = self.own.clone().expect("it was given");
        own.add(1).await.map_err(|error| format!("{error:?}"))
    }

    /// Calls back whoever calls it, by `holder`.
    pub async fn call_back(&mut self, holder: HolderProxy) -> Result<u64, String> {
        holder.add(1).await.map_err(|error| format!("{error:?}"))
    }
}

impl Speaker for Counter {
    fn word(&self) -> String {
        format!("counter {}", self.n)
    }
}

/// Whether bytes lie in memory that other processes can write.
pub fn is_shared(bytes: &[u8]) -> bool {
    let at = bytes.as_ptr().addr();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc can be read");
    let line = maps.lines().find(|line| {
        let (from, rest) = line.split_once('-').expect("a range");
        let to = rest.split(' ').next().expect("a range has an end");
        let number = |text| usize::from_str_radix(text, 16).expect("a number");
        (number(from)..number(to)).contains(&at)
    });
    line.is_some_and(|line| line.contains("rw-s"))
}

fn tokio_stream(to: u32) -> impl Stream<Item = u32> {
    futures_util::stream::iter(0..to)
}

/// Proxies in a type of one's own.
#[message]
pub struct Crew {
    pub leader: CounterProxy,
    pub others: Vec<(String, CounterProxy)>,
    pub speaker: Option<SpeakerProxy>,
    pub by_name: BTreeMap<String, AnyProxy>,
}

/// Who was given proxies.
pub struct Holder {
    kept: Option<CounterProxy>,
    speakers: Vec<SpeakerProxy>,
}

#[actor]
impl Holder {
    pub fn new() -> Self {
        Self {
            kept: None,
            speakers: Vec::new(),
        }
    }

    pub fn of(kept: CounterProxy) -> Self {
        Self {
            kept: Some(kept),
            ..Self::new()
        }
    }

    pub fn keep(&mut self, counter: CounterProxy) {
        self.kept = Some(counter);
    }

    pub fn kept(&self) -> Option<CounterProxy> {
        self.kept.clone()
    }

    pub fn forget(&mut self) {
        self.kept = None;
        self.speakers.clear();
    }

    pub async fn add(&mut self, by: u64) -> Result<u64, String> {
        let kept = self.kept.as_ref().expect("it was given");
        kept.add(by).await.map_err(|error| error.to_string())
    }

    /// The same, with the error as it is written down.
    pub async fn try_add(&self, by: u64) -> Result<u64, String> {
        let kept = self.kept.as_ref().expect("it was given");
        kept.add(by).await.map_err(|error| format!("{error:?}"))
    }

    pub async fn look(&self) -> Result<u64, String> {
        let kept = self.kept.as_ref().expect("it was given");
        kept.get().await.map_err(|error| format!("{error:?}"))
    }

    pub async fn wait(&self) -> String {
        let kept = self.kept.as_ref().expect("it was given");
        format!("{:?}", kept.wait().await)
    }

    pub async fn exited(&self) -> String {
        let kept = self.kept.as_ref().expect("it was given");
        format!("{:?}", kept.exited().await)
    }

    /// By which kind of link it calls, and where.
    pub fn way(&self) -> (String, Option<String>, bool) {
        let kept = self.kept.as_ref().expect("it was given");
        let is_shared = kept.link() == LinkKind::SharedMemory;
        let address = kept.address().map(ToString::to_string);
        (kept.link().to_string(), address, is_shared)
    }

    pub async fn stop_kept(&self) {
        let kept = self.kept.as_ref().expect("it was given");
        kept.shutdown().await.expect("it is asked");
    }

    pub async fn kill_kept(&self) -> String {
        let kept = self.kept.as_ref().expect("it was given");
        kept.kill().await.to_string()
    }

    /// Hands what it keeps on.
    pub async fn hand_on(&self, to: HolderProxy) {
        let kept = self.kept.clone().expect("it was given");
        to.keep(kept).await.expect("it takes it");
    }

    pub async fn call_crew(&self, crew: Crew) -> Vec<String> {
        let mut said = vec![crew.leader.word().await.expect("it speaks")];
        for (name, other) in &crew.others {
            said.push(format!("{name}: {}", other.add(1).await.expect("it adds")));
        }
        if let Some(speaker) = &crew.speaker {
            said.push(speaker.word().await.expect("it speaks"));
        }
        for (name, any) in &crew.by_name {
            let counter: CounterProxy = any.downcast().expect("it is a counter");
            said.push(format!(
                "{name}: {}",
                counter.get().await.expect("it is there")
            ));
        }
        said
    }

    pub async fn everything(&self) -> (usize, usize, u32) {
        let kept = self.kept.as_ref().expect("it was given");
        let blob = Blob::copy_from(&[7_u8; 100_000]).expect("there is memory");
        let large = vec![5_u8; 3_000_000];
        let echoed = kept.echo(large.clone()).await.expect("it echoes");
        assert_eq!(echoed, large);
        let mut sum = 0;
        let mut counted = kept.count(100).await.expect("it streams");
        while let Some(item) = counted.next().await {
            sum += item.expect("it counts");
        }
        let len = kept.len_of(blob).await.expect("it looks");
        (len, echoed.len(), sum)
    }

    /// Calls many times at once.
    pub async fn many(&self, calls: u64) -> u64 {
        let kept = self.kept.as_ref().expect("it was given");
        let pending: Vec<_> = (0..calls).map(|_| kept.add(1).start()).collect();
        let mut last = 0;
        for call in pending {
            last = call.await.expect("it adds").max(last);
        }
        last
    }

    /// Has the one that it keeps call it back.
    pub async fn round(&mut self, context: &Context) -> Result<u64, String> {
        let kept = self.kept.clone().expect("it was given");
        let called = kept.call_back(context.own()).await;
        called.map_err(|error| format!("{error:?}"))
    }

    /// How many descriptors its process has.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
    }

    /// Takes all descriptors, then makes a call by a new link.
    pub async fn exhausted(&self, counter: CounterProxy) -> (String, u64) {
        let mut taken = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            taken.push(file);
        }
        let failed = format!("{:?}", counter.add(1).await);
        drop(taken);
        let later = counter.add(1).await;
        (failed, later.expect("there is room again"))
    }

    /// Calls each once, by links of their own.
    pub async fn call_all(&self, counters: Vec<CounterProxy>) -> u64 {
        let mut sum = 0;
        for counter in counters {
            sum += counter.add(1).await.expect("it adds");
        }
        sum
    }
}

/// Who starts others when it is started, and has them.
pub struct Nest {
    counters: Vec<CounterProxy>,
    inner: Option<NestProxy>,
}

#[actor]
impl Nest {
    pub async fn new(depth: u32) -> Self {
        let mut counters = Vec::new();
        for _ in 0..2 {
            counters.push(Counter::spawn().await.expect("it starts"));
        }
        let inner = match depth {
            0 => None,
            _ => Some(Self::spawn(depth - 1).await.expect("it starts")),
        };
        Self { counters, inner }
    }

    pub fn counters(&self) -> Vec<CounterProxy> {
        self.counters.clone()
    }

    pub fn inner(&self) -> Option<NestProxy> {
        self.inner.clone()
    }

    pub async fn sum(&self) -> u64 {
        let mut sum = 0;
        for counter in &self.counters {
            sum += counter.get().await.expect("it is there");
        }
        sum
    }
}
