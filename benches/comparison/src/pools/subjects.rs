//! The pools: of actors, of threads, and uActor's.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard::cpu::{Core, Cores, pin_thread};
use callboard::pool::Pool;
use callboard::prelude::*;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;

use crate::subject::Outcome;

type Future_<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Has a piece of so much CPU time done.
type Submit = Box<dyn Fn(Duration) -> Future_<()>>;

/// A pool.
pub enum Subject {
    /// Called from this process's tasks; what the last function does ends it.
    Here(&'static str, Submit, Box<dyn FnOnce() -> Future_<()>>),
    /// Called by a program that is told what to measure.
    There(&'static str, Program),
}

/// A program that takes orders.
pub struct Program {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Spends CPU time.
pub struct Worker;

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self
    }

    pub fn work(&self, nanos: u64) -> u64 {
        spend(Duration::from_nanos(nanos));
        nanos
    }
}

/// So much CPU time of this thread.
fn spend(time: Duration) {
    let until = cpu_time() + time;
    while cpu_time() < until {}
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::MAX, Duration::from)
}

/// What keeps all cores busy.
pub async fn noise() -> Outcome<Pool<WorkerProxy>> {
    Ok(Pool::spawn(Cores::physical(), |_| Worker::spawn().name("noise")).await?)
}

/// All that can be had here.
pub async fn all(cores: usize, python: &str) -> Outcome<Vec<Subject>> {
    let pinned = Pool::spawn(Cores::physical(), |_| Worker::spawn()).await?;
    let unpinned = Pool::spawn(cores, |_| Worker::spawn()).await?;
    let mut subjects = vec![
        actors("callboard, pinned", pinned),
        actors("callboard", unpinned),
        rayon("rayon, pinned", cores, true)?,
        rayon("rayon", cores, false)?,
        blocking("spawn_blocking", cores)?,
    ];
    match Program::start(python, cores) {
        Ok(program) => subjects.push(Subject::There("uActor", program)),
        Err(error) => eprintln!("without uActor, which `pip install uactor` installs: {error}"),
    }
    Ok(subjects)
}

fn actors(name: &'static str, pool: Pool<WorkerProxy>) -> Subject {
    let last = pool.clone();
    let submit = move |piece: Duration| -> Future_<()> {
        let pool = pool.clone();
        Box::pin(async move {
            let nanos = u64::try_from(piece.as_nanos()).unwrap_or(u64::MAX);
            pool.work(nanos).await.expect("its members live");
        })
    };
    let end = move || -> Future_<()> {
        Box::pin(async move {
            if let Err(error) = last.shutdown().await {
                eprintln!("{name}: {error}");
            }
        })
    };
    Subject::Here(name, Box::new(submit), Box::new(end))
}

fn rayon(name: &'static str, cores: usize, is_pinned: bool) -> Outcome<Subject> {
    let places: Vec<Core> = Cores::physical()
        .places()?
        .iter()
        .filter_map(|place| place.iter().next())
        .collect();
    let start = move |thread: usize| {
        if is_pinned && let Err(error) = pin_thread(places[thread % places.len()]) {
            eprintln!("{name}: {error}");
        }
    };
    let pool = ThreadPoolBuilder::new().num_threads(cores);
    let pool: Arc<ThreadPool> = Arc::new(pool.start_handler(start).build()?);
    let submit = move |piece: Duration| -> Future_<()> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        pool.spawn(move || {
            spend(piece);
            let _ = answer.send(());
        });
        Box::pin(async move { answered.await.expect("it does not panic") })
    };
    Ok(Subject::Here(
        name,
        Box::new(submit),
        Box::new(|| Box::pin(async {})),
    ))
}

fn blocking(name: &'static str, cores: usize) -> Outcome<Subject> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(cores)
        .build()?;
    let runtime = Arc::new(runtime);
    let last = Arc::clone(&runtime);
    let submit = move |piece: Duration| -> Future_<()> {
        let work = runtime.spawn_blocking(move || spend(piece));
        Box::pin(async move { work.await.expect("it does not panic") })
    };
    // A runtime must not be dropped within another.
    let end = move || -> Future_<()> {
        Box::pin(async move {
            if let Some(runtime) = Arc::into_inner(last) {
                runtime.shutdown_background();
            }
        })
    };
    Ok(Subject::Here(name, Box::new(submit), Box::new(end)))
}

impl Subject {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Here(name, ..) | Self::There(name, _) => name,
        }
    }

    /// How long it takes over so many pieces that come at once.
    pub async fn work(&mut self, pieces: u32, piece: Duration) -> Outcome<Duration> {
        match self {
            Self::Here(_, submit, _) => {
                let began = Instant::now();
                let all: JoinSet<()> = (0..pieces).map(|_| submit(piece)).collect();
                all.join_all().await;
                Ok(began.elapsed())
            }
            Self::There(_, program) => {
                let took = program.ask(&format!("work {pieces} {}", piece.as_nanos()))?;
                took.first().copied().ok_or_else(|| "no answer".into())
            }
        }
    }

    /// How long it takes over each of so many pieces, of which one comes so often.
    pub async fn calls(
        &mut self,
        count: u32,
        every: Duration,
        piece: Duration,
    ) -> Outcome<Vec<Duration>> {
        match self {
            Self::Here(_, submit, _) => {
                let mut calls = JoinSet::new();
                let alarm = Alarm::new()?;
                let begin = Instant::now();
                for number in 0..count {
                    let due = begin + every * number;
                    alarm.at(due).await?;
                    let call = submit(piece);
                    calls.spawn(async move {
                        call.await;
                        due.elapsed()
                    });
                }
                Ok(calls.join_all().await)
            }
            Self::There(_, program) => {
                let (every, piece) = (every.as_nanos(), piece.as_nanos());
                program.ask(&format!("calls {count} {every} {piece}"))
            }
        }
    }

    /// Ends it, and what it has started.
    pub async fn end(self) -> Outcome {
        match self {
            Self::Here(_, submit, end) => {
                drop(submit);
                end().await;
            }
            Self::There(_, program) => program.end()?,
        }
        Ok(())
    }
}

/// Wakes this task to the microsecond: tokio's own timer counts whole milliseconds.
struct Alarm(AsyncFd<Timer>);

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    #[expect(
        deprecated,
        reason = "the timer's descriptor is its own as long as it is"
    )]
    fn new() -> Outcome<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(TimerClock::CLOCK_MONOTONIC, flags)?;
        Ok(Self(AsyncFd::new(Timer(timer))?))
    }

    async fn at(&self, due: Instant) -> Outcome {
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        let once = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.0.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.0.readable().await?;
            if self.0.get_ref().0.wait().is_ok() {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

impl Program {
    fn start(python: &str, cores: usize) -> Outcome<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pools/uactor_pool.py");
        let mut child = Command::new(python)
            .args([script, &cores.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no standard input")?;
        let answers = child.stdout.take().ok_or("no standard output")?;
        let mut program = Self {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        match program.ask("work 1 1000") {
            Ok(_) => Ok(program),
            Err(error) => {
                let _ = program.end();
                Err(error)
            }
        }
    }

    fn ask(&mut self, order: &str) -> Outcome<Vec<Duration>> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the program has ended".into());
        }
        let nanos = line.split_whitespace().map(str::parse);
        Ok(nanos
            .map(|nanos| nanos.map(Duration::from_nanos))
            .collect::<Result<_, _>>()?)
    }

    fn end(self) -> Outcome {
        let Self {
            mut child, orders, ..
        } = self;
        // The end of its orders is its own.
        drop(orders);
        child.wait()?;
        Ok(())
    }
}
