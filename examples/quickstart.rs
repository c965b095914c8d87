//! U01, U02, U09, U14, U30: a tour of one minute: processes, results, things at the same time, an
//! error, a kill -9 survived; at the end what a call into another process costs, beside a call of a
//! plain tokio actor in this one, measured in the same run.

use std::time::{Duration, Instant};

use callboard::prelude::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// What every measured call carries there and back: 64 bytes.
type Load = [u8; 64];

const LOAD: Load = [7; 64];

/// How often the two actors are measured in turn, so that what the machine does meanwhile hits
/// both.
const ROUNDS: u32 = 5;

/// How long a round of one kind takes.
const ROUND: Duration = Duration::from_millis(60);

/// How many calls are in flight where there is more than one.
const IN_FLIGHT: usize = 64;

pub struct Account {
    cents: u64,
}

/// The actor's own error; it travels like any message.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("{missing} cents are missing")]
pub struct TooPoor {
    missing: u64,
}

#[actor]
impl Account {
    pub fn new(cents: u64) -> Self {
        Self { cents }
    }

    pub fn pay(&mut self, cents: u64) -> Result<u64, TooPoor> {
        let missing = cents.saturating_sub(self.cents);
        self.cents = self.cents.checked_sub(cents).ok_or(TooPoor { missing })?;
        Ok(self.cents)
    }

    pub async fn audit(&self) -> u64 {
        sleep(Duration::from_millis(100)).await;
        self.cents
    }

    pub fn echo(&self, load: Load) -> Load {
        load
    }

    pub fn take(&mut self, load: Load) {
        self.cents += u64::from(load[0]);
    }
}

// One thread, so that the tokio actor is called by a switch of tasks on one thread. Nothing in a
// process is quicker, and the comparison is as hard on the other process as it can be. With several
// threads both would pay for the hand-over between them, the tokio actor more.
#[callboard::main(flavor = "current_thread")]
async fn main() -> callboard::Result<()> {
    tour().await?;
    measure().await
}

async fn tour() -> callboard::Result<()> {
    let alice = Account::spawn(100).name("alice").await?;
    let bob = Account::spawn(50).name("bob").await?;
    let pids = [std::process::id(), alice.process_id(), bob.process_id()];
    println!(
        "three processes: main {}, alice {}, bob {}",
        pids[0], pids[1], pids[2]
    );
    assert!(pids[0] != pids[1] && pids[1] != pids[2]);

    let left = alice.pay(30).await?;
    println!("a call is a method: alice paid 30 cents and has {left}");
    assert_eq!(left, 70);

    let begin = Instant::now();
    let audits = [
        alice.audit().start(),
        alice.audit().start(),
        bob.audit().start(),
    ];
    let mut found = Vec::new();
    for audit in audits {
        found.push(audit.await?);
    }
    println!(
        "three audits of 100 ms at the same time: {found:?} after {:?}",
        begin.elapsed()
    );
    assert_eq!(found, [70, 70, 50]);

    let error = bob.pay(80).await.expect_err("bob has 50");
    println!("an error is a value: {}", callboard::Error::from(error));

    let audit = bob.audit().start();
    kill(Pid::from_raw(bob.process_id().try_into()?), Signal::SIGKILL)?;
    let error = audit.await.expect_err("bob is dead");
    assert!(matches!(error, CallError::Died { .. }));
    println!("kill -9 of bob: {}", callboard::Error::from(error));
    assert_eq!(alice.pay(70).await?, 0);
    println!("alice lives, and so do we\n");
    alice.shutdown().await
}

/// The same actor as a task of this process: a channel in, a channel back.
struct TaskActor(mpsc::Sender<Order>);

enum Order {
    Echo(Load, oneshot::Sender<Load>),
    Take(Load),
}

impl TaskActor {
    fn spawn() -> Self {
        let (sender, mut orders) = mpsc::channel(1024);
        let mut account = Account::new(0);
        tokio::spawn(async move {
            while let Some(order) = orders.recv().await {
                match order {
                    Order::Echo(load, reply) => drop(reply.send(account.echo(load))),
                    Order::Take(load) => account.take(load),
                }
            }
        });
        Self(sender)
    }

    async fn start(&self) -> callboard::Result<oneshot::Receiver<Load>> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Order::Echo(LOAD, reply)).await?;
        Ok(answer)
    }

    async fn echo(&self) -> callboard::Result<Load> {
        Ok(self.start().await?.await?)
    }
}

async fn measure() -> callboard::Result<()> {
    let before = schedule();
    let task = TaskActor::spawn();
    let account = Account::spawn(0).await?;

    let (mut task_hot, mut hot, mut p50_of_rounds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        task_hot.extend(latencies(Duration::ZERO, async || task.echo().await).await?);
        let round = latencies(Duration::ZERO, async || account.echo(LOAD).await).await?;
        p50_of_rounds.push(percentile(&round, 50));
        hot.extend(round);
    }
    let pause = Duration::from_millis(2);
    let (mut task_idle, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        task_idle.extend(latencies(pause, async || task.echo().await).await?);
        idle.extend(latencies(pause, async || account.echo(LOAD).await).await?);
    }

    println!("{:36}{:>14}{:>16}", "", "tokio task", "callboard");
    println!(
        "{:36}{:>14}{:>16}{:>9}",
        "", "this process", "other process", "ratio"
    );
    times(
        "call of 64 B, p50",
        percentile(&task_hot, 50),
        percentile(&hot, 50),
    );
    times(
        "call of 64 B, p99",
        percentile(&task_hot, 99),
        percentile(&hot, 99),
    );
    times(
        "call of an idle actor, p50",
        percentile(&task_idle, 50),
        percentile(&idle, 50),
    );
    let (task_rate, rate) = pipelined(&task, &account).await?;
    rates("calls per second, 64 in flight", task_rate, rate);
    let (task_rate, rate) = tells(&task, &account).await?;
    rates("tells per second, all done", task_rate, rate);
    account.shutdown().await?;
    println!(
        "{:36}{:>14}{:>16}",
        "start of an actor, p50",
        "-",
        micros(starts().await?)
    );
    tell_of_noise(before, &mut p50_of_rounds);
    Ok(())
}

/// How long single calls take, for one round, each after a pause.
async fn latencies<E: Into<callboard::Error>>(
    pause: Duration,
    call: impl AsyncFn() -> Result<Load, E>,
) -> callboard::Result<Vec<Duration>> {
    let mut took = Vec::new();
    let end = Instant::now() + ROUND;
    while Instant::now() < end {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let begin = Instant::now();
        let load = call().await.map_err(Into::into)?;
        took.push(begin.elapsed());
        assert_eq!(load, LOAD);
    }
    Ok(took)
}

/// Calls per second of either actor, if many are in flight.
async fn pipelined(task: &TaskActor, account: &AccountProxy) -> callboard::Result<(f64, f64)> {
    let by_task = async || {
        let mut started = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            started.push(task.start().await?);
        }
        for call in started {
            assert_eq!(call.await?, LOAD);
        }
        Ok(IN_FLIGHT)
    };
    let by_account = async || {
        let started: Vec<_> = (0..IN_FLIGHT).map(|_| account.echo(LOAD).start()).collect();
        for call in started {
            assert_eq!(call.await?, LOAD);
        }
        Ok(IN_FLIGHT)
    };
    in_turn(by_task, by_account).await
}

/// Tells per second of either actor. A call behind them makes sure that all have been run.
async fn tells(task: &TaskActor, account: &AccountProxy) -> callboard::Result<(f64, f64)> {
    const BATCH: usize = 1_000;
    let by_task = async || {
        for _ in 0..BATCH {
            task.0.send(Order::Take(LOAD)).await?;
        }
        task.echo().await?;
        Ok(BATCH)
    };
    let by_account = async || {
        for _ in 0..BATCH {
            account.take(LOAD).tell().await?;
        }
        account.echo(LOAD).await?;
        Ok(BATCH)
    };
    in_turn(by_task, by_account).await
}

/// How much two kinds of work get done per second, measured in turn.
async fn in_turn(
    one: impl AsyncFn() -> callboard::Result<usize>,
    other: impl AsyncFn() -> callboard::Result<usize>,
) -> callboard::Result<(f64, f64)> {
    let (mut one_best, mut other_best) = (0.0_f64, 0.0_f64);
    for _ in 0..ROUNDS {
        one_best = one_best.max(rate(&one).await?);
        other_best = other_best.max(rate(&other).await?);
    }
    Ok((one_best, other_best))
}

async fn rate(batch: impl AsyncFn() -> callboard::Result<usize>) -> callboard::Result<f64> {
    let (mut done, begin) = (0, Instant::now());
    while begin.elapsed() < ROUND {
        done += batch().await?;
    }
    Ok(f64::from(u32::try_from(done)?) / begin.elapsed().as_secs_f64())
}

/// The median time from `spawn` to an actor that has run its constructor.
async fn starts() -> callboard::Result<Duration> {
    let mut took = Vec::new();
    for _ in 0..20 {
        let begin = Instant::now();
        let account = Account::spawn(0).await?;
        took.push(begin.elapsed());
        account.shutdown().await?;
    }
    Ok(percentile(&took, 50))
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn times(what: &str, task: Duration, callboard: Duration) {
    let ratio = callboard.as_secs_f64() / task.as_secs_f64();
    println!(
        "{what:36}{:>14}{:>16}{:>9}",
        micros(task),
        micros(callboard),
        format!("{ratio:.1} x")
    );
}

fn rates(what: &str, task: f64, callboard: f64) {
    let [of_task, of_callboard] = [task, callboard].map(|rate| format!("{:.2} M", rate / 1e6));
    println!(
        "{what:36}{of_task:>14}{of_callboard:>16}{:>9}",
        format!("{:.1} x", task / callboard)
    );
}

fn micros(time: Duration) -> String {
    format!("{:.2} us", time.as_secs_f64() * 1e6)
}

/// How long this thread has run, and how long it has waited for a core meanwhile, in nanoseconds.
fn schedule() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = text
        .split_whitespace()
        .map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Says how far the numbers can be trusted.
fn tell_of_noise(before: Option<(f64, f64)>, p50_of_rounds: &mut [Duration]) {
    p50_of_rounds.sort_unstable();
    let (least, most) = (p50_of_rounds[0], p50_of_rounds[p50_of_rounds.len() - 1]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let spread = format!(
        "p50 of {ROUNDS} rounds: {} to {}",
        micros(least),
        micros(most)
    );
    println!("\nRatio: how many times the other process costs. {cores} cores; {spread}.");
    let waited = before.zip(schedule()).map_or(0.0, |(before, after)| {
        let (ran, waited) = (after.0 - before.0, after.1 - before.1);
        waited / (ran + waited)
    });
    if cores == 1 {
        println!("One core: each call costs two switches between processes. Two cores need none.");
    } else if waited > 0.02 || most > least * 2 {
        let share = format!("{:.0} % of its time waiting for a core", waited * 100.0);
        println!("The machine is busy: this thread spent {share}. A quiet one shows less.");
    }
}
