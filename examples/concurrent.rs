//! U30, 002-8, 002-9, 002-10, K20-K24: a started call as a value, which the source documents call
//! AsyncResult. A call returns at once, its result is awaited, asked after, changed, joined with
//! others or dropped; several run at the same time, in one actor and in several.

use std::cell::Cell;
use std::time::{Duration, Instant};

use callboard::prelude::*;
use tokio::time::{sleep, timeout};

/// How long a piece of work takes.
const WORK: u64 = 300;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Works for a while and then answers.
pub struct Worker {
    at_once: Cell<usize>,
    most_at_once: Cell<usize>,
    jobs: Vec<String>,
}

#[actor]
impl Worker {
    pub fn new() -> Self {
        Self {
            at_once: Cell::new(0),
            most_at_once: Cell::new(0),
            jobs: Vec::new(),
        }
    }

    /// `&self` and async: several of these run at once, and each waits for itself alone.
    pub async fn work(&self, ms: u64, answer: u64) -> u64 {
        self.at_once.set(self.at_once.get() + 1);
        self.most_at_once
            .set(self.most_at_once.get().max(self.at_once.get()));
        sleep(Duration::from_millis(ms)).await;
        self.at_once.set(self.at_once.get() - 1);
        answer
    }

    /// The most calls of `work` that ran at one time.
    pub fn most_at_once(&self) -> usize {
        self.most_at_once.get()
    }

    /// `&mut self`: runs alone.
    pub async fn work_alone(&mut self, ms: u64, job: String) {
        sleep(Duration::from_millis(ms)).await;
        self.jobs.push(job);
    }

    /// The jobs done alone, in their order.
    pub fn jobs(&self) -> Vec<String> {
        self.jobs.clone()
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let worker = Worker::spawn().await?;
    returns_at_once(&worker).await?;
    two_results_of_one_actor(&worker).await?;
    mapped_and_joined(&worker).await?;
    cancelled_by_dropping(&worker).await?;
    worker.shutdown().await?;
    two_actors_after_their_scope().await
}

/// 002-8: the call returns at once, and waiting is a step of its own.
async fn returns_at_once(worker: &WorkerProxy) -> callboard::Result<()> {
    let begin = Instant::now();
    let mut result = worker.work(WORK, 1).start();
    println!("the call returned after {:?}", begin.elapsed());
    assert!(!result.is_ready());

    let came = result.wait(Duration::from_millis(10)).await;
    println!("after 10 ms more the result is there: {came}");
    assert!(!came);

    assert!(result.wait(LONG).await && result.is_ready());
    assert_eq!(result.await?, 1);
    println!("it came after {:?}", begin.elapsed());

    // A bound on the call itself: when it is over, the call is cancelled.
    let late = worker
        .work(WORK, 2)
        .timeout(Duration::from_millis(10))
        .await;
    assert!(matches!(late, Err(CallError::Timeout { .. })));
    Ok(())
}

/// 002-9: two results of one actor, which works on both at the same time.
async fn two_results_of_one_actor(worker: &WorkerProxy) -> callboard::Result<()> {
    let begin = Instant::now();
    let (a, b) = (worker.work(WORK, 1).start(), worker.work(WORK, 2).start());
    assert_eq!((a.await?, b.await?), (1, 2));
    println!(
        "two times {WORK} ms in one actor took {:?}",
        begin.elapsed()
    );
    assert!(worker.most_at_once().await? >= 2);
    Ok(())
}

/// Results are changed when they come, and joined by what futures are joined with anyway.
async fn mapped_and_joined(worker: &WorkerProxy) -> callboard::Result<()> {
    let text = worker
        .work(1, 41)
        .start()
        .map(|answer| format!("{} at last", answer + 1));
    assert_eq!(text.await?, "42 at last");

    // A call is a future: no `start` is needed where something polls both.
    let (a, b) = tokio::try_join!(worker.work(1, 1), worker.work(1, 2))?;
    assert_eq!(a + b, 3);

    // Many at once, with one bound for all of them: they run already while the first is awaited.
    let started: Vec<_> = (0..100)
        .map(|answer| worker.work(10, answer).start())
        .collect();
    let sum = async {
        let mut sum = 0;
        for result in started {
            sum += result.await?;
        }
        Ok::<_, CallError>(sum)
    };
    assert_eq!(timeout(LONG, sum).await??, (0..100).sum::<u64>());
    println!(
        "one actor ran {} calls at once",
        worker.most_at_once().await?
    );
    Ok(())
}

/// A result that nobody wants: its call is not run, unless it runs already.
async fn cancelled_by_dropping(worker: &WorkerProxy) -> callboard::Result<()> {
    let running = worker.work_alone(WORK, "wanted".into()).start();
    let behind = worker.work_alone(0, "not wanted".into()).start();
    drop(behind);
    running.await?;
    assert_eq!(worker.jobs().await?, ["wanted"]);
    println!("a dropped call behind a running one did not run");
    Ok(())
}

/// 002-10: two actors work at once, and their results are awaited when the proxies are long gone.
async fn two_actors_after_their_scope() -> callboard::Result<()> {
    let (begin, a, b);
    {
        let (one, other) =
            tokio::try_join!(Worker::spawn().into_future(), Worker::spawn().into_future())?;
        begin = Instant::now();
        a = one.work(WORK, 1).start();
        b = other.work(WORK, 2).start();
    }
    // A pending result keeps its actor, as a proxy does.
    assert_eq!((a.await?, b.await?), (1, 2));
    let took = begin.elapsed();
    println!("two times {WORK} ms in two actors took {took:?}");
    assert!(took < Duration::from_millis(2 * WORK));
    Ok(())
}
