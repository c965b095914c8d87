//! One round of one subject, timed.
//!
//! A call is timed from the return of the call before it, so one reading of the clock (20 to
//! 50 ns) is part of every figure. Samples go to a vector that is kept, and so touched, from round
//! to round: no page fault falls into a measurement.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::pin::Pin;
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::subject::{BURST, IN_FLIGHT, Outcome};

/// The result of one round.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Nanoseconds of a round trip in the middle; of a call or message on average if the round
    /// was timed as a whole.
    pub p50: f64,
    /// Nanoseconds of the slowest in a hundred, where each was timed.
    pub p99: Option<f64>,
    /// Calls or messages in the round.
    pub count: u64,
    /// Cores' worth of time that this process used.
    pub cpu_here: f64,
    /// Cores' worth of time that the second process used, if there is one.
    pub cpu_there: Option<f64>,
    /// Share of the round in which one of both sides could have run and another had its core.
    pub waited: f64,
}

/// When a teller waits until everything told has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// After every [`BURST`]: teller and actor share a thread and can only take turns.
    Bursts,
    /// At the end of the round: they run at once, and the queue between them is bounded.
    Stream,
}

/// Times one round and keeps its figure until it is taken.
pub struct Meter {
    warm: Duration,
    span: Duration,
    /// Set for the round to come.
    pause: Option<Duration>,
    /// The second process of the round, whose use of the CPU is read.
    peer: Option<Pid>,
    /// Nanoseconds of each call; longer ones than four seconds do not occur.
    samples: Vec<u32>,
    figure: Option<Figure>,
}

impl Meter {
    pub fn new(warm: Duration, span: Duration) -> Self {
        // Two million round trips of 100 ns fit into 200 ms.
        let mut samples = vec![1; 2_000_000];
        samples.clear();
        Self {
            warm,
            span,
            pause: None,
            peer: None,
            samples,
            figure: None,
        }
    }

    /// Forgets the round before and gets ready for the next.
    pub fn prepare(&mut self, pause: Option<Duration>) {
        self.pause = pause;
        self.peer = None;
        self.figure = None;
        self.samples.clear();
    }

    /// Counts what this process uses as the second side's.
    pub fn watch(&mut self, peer: Pid) {
        self.peer = Some(peer);
    }

    /// The figure of the round that was just run.
    pub fn take(&mut self) -> Option<Figure> {
        self.figure.take()
    }

    /// Times round trips one after the other, with a pause between them where the case has one.
    pub async fn round_trips(&mut self, mut call: impl AsyncFnMut() -> Outcome) -> Outcome {
        let warm_end = Instant::now() + self.warm;
        while Instant::now() < warm_end {
            call().await?;
            self.rest();
        }
        let usage = Usage::read(self.peer);
        let begin = Instant::now();
        let mut before = begin;
        loop {
            call().await?;
            let after = Instant::now();
            self.samples
                .push(u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX));
            if after - begin >= self.span {
                break;
            }
            before = self.rest().unwrap_or(after);
        }
        let mut figure = usage.figure(self.peer);
        figure.count = self.samples.len() as u64;
        figure.p50 = f64::from(quantile(&mut self.samples, 0.50));
        figure.p99 = Some(f64::from(quantile(&mut self.samples, 0.99)));
        self.figure = Some(figure);
        Ok(())
    }

    /// Times calls of which [`IN_FLIGHT`] are under way at any time. `start` gives back a future
    /// whose call has been sent; the oldest one is awaited and then replaced by a new one.
    pub async fn pipelined<F, T, E>(
        &mut self,
        mut start: impl AsyncFnMut() -> Outcome<F>,
    ) -> Outcome
    where
        F: Future<Output = Result<T, E>>,
        E: Into<Box<dyn Error>>,
    {
        // Each place is allocated once and used for call after call.
        let mut window: VecDeque<Pin<Box<F>>> = VecDeque::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            window.push_back(Box::pin(start().await?));
        }
        let warm_end = Instant::now() + self.warm;
        while Instant::now() < warm_end {
            turn(&mut window, &mut start).await?;
        }
        let usage = Usage::read(self.peer);
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < self.span {
            count += turn(&mut window, &mut start).await?;
        }
        self.whole(&usage, begin.elapsed(), count);
        for mut call in window {
            call.as_mut().await.map_err(Into::into)?;
        }
        Ok(())
    }

    /// Times one way messages up to the moment when the last of them has been handled. `settle`
    /// returns once everything told before has been handled.
    pub async fn tells(
        &mut self,
        flow: Flow,
        mut tell: impl AsyncFnMut() -> Outcome,
        mut settle: impl AsyncFnMut() -> Outcome,
    ) -> Outcome {
        for measured in [false, true] {
            let span = if measured { self.span } else { self.warm };
            let usage = Usage::read(self.peer);
            let begin = Instant::now();
            let mut count = 0;
            while begin.elapsed() < span {
                for _ in 0..BURST {
                    tell().await?;
                }
                count += BURST as u64;
                if flow == Flow::Bursts {
                    settle().await?;
                }
            }
            if flow == Flow::Stream {
                settle().await?;
            }
            if measured {
                self.whole(&usage, begin.elapsed(), count);
            }
        }
        Ok(())
    }

    /// Sleeps between two calls, on purpose with the thread: tokio's timer counts milliseconds.
    fn rest(&self) -> Option<Instant> {
        let pause = self.pause?;
        thread::sleep(pause);
        Some(Instant::now())
    }

    /// Notes a round that was timed as a whole.
    fn whole(&mut self, usage: &Usage, wall: Duration, count: u64) {
        let mut figure = usage.figure(self.peer);
        figure.count = count;
        figure.p50 = wall.as_nanos() as f64 / count.max(1) as f64;
        self.figure = Some(figure);
    }
}

/// Awaits every call of the window, the oldest first, and starts one in the place of each.
async fn turn<F, T, E>(
    window: &mut VecDeque<Pin<Box<F>>>,
    start: &mut impl AsyncFnMut() -> Outcome<F>,
) -> Outcome<u64>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Box<dyn Error>>,
{
    for place in window.iter_mut() {
        place.as_mut().await.map_err(Into::into)?;
        place.set(start().await?);
    }
    Ok(window.len() as u64)
}

fn quantile(samples: &mut [u32], share: f64) -> u32 {
    if samples.is_empty() {
        return 0;
    }
    let index = ((samples.len() - 1) as f64 * share) as usize;
    *samples.select_nth_unstable(index).1
}

/// What both sides had used up at one moment.
struct Usage {
    at: Instant,
    here: Side,
    there: Option<Side>,
}

/// What one process has used up.
#[derive(Clone, Copy, Default)]
struct Side {
    /// User and system time of all its threads.
    cpu: Duration,
    /// Time in which its first thread could have run and did not.
    waited: Duration,
}

impl Usage {
    fn read(peer: Option<Pid>) -> Self {
        Self {
            here: Side::read(None),
            there: peer.map(|pid| Side::read(Some(pid))),
            at: Instant::now(),
        }
    }

    /// A figure that knows what was used since, and nothing about calls yet.
    fn figure(&self, peer: Option<Pid>) -> Figure {
        let now = Self::read(peer);
        let wall = (now.at - self.at).as_secs_f64();
        let cpu = |new: Side, old: Side| new.cpu.saturating_sub(old.cpu).as_secs_f64() / wall;
        let waited =
            |new: Side, old: Side| new.waited.saturating_sub(old.waited).as_secs_f64() / wall;
        let there = now.there.zip(self.there);
        Figure {
            p50: 0.0,
            p99: None,
            count: 0,
            cpu_here: cpu(now.here, self.here),
            cpu_there: there.map(|(new, old)| cpu(new, old)),
            waited: waited(now.here, self.here)
                .max(there.map_or(0.0, |(new, old)| waited(new, old))),
        }
    }
}

impl Side {
    /// Reads the clocks of a process, or of this one. A process that has ended has used nothing.
    fn read(pid: Option<Pid>) -> Self {
        let clock = match pid {
            Some(pid) => clock_getcpuclockid(pid),
            None => Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID),
        };
        let cpu = clock
            .and_then(clock_gettime)
            .map(Duration::from)
            .unwrap_or_default();
        let path = match pid {
            Some(pid) => format!("/proc/{pid}/schedstat"),
            None => "/proc/self/schedstat".to_owned(),
        };
        // Nanoseconds on a core, nanoseconds waiting for one, turns.
        let waited = fs::read_to_string(path)
            .ok()
            .and_then(|line| line.split(' ').nth(1).and_then(|field| field.parse().ok()))
            .map(Duration::from_nanos)
            .unwrap_or_default();
        Self { cpu, waited }
    }
}
