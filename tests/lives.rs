//! How a life ends that hangs, and what one life leaves to the next.

mod common;

use std::hint::black_box;
use std::time::{Duration, Instant};

use callboard::pool::{Pool, Restart};
use callboard::prelude::*;
use callboard::supervision::{Strategy, Supervisor};
use callboard::{DownReason, Exit, Heartbeat, LifeEvent};
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, alone, eventually, is_gone, is_stopped, signal, within};

/// What a machine that is busy with other tests keeps as well.
fn heartbeat() -> Heartbeat {
    Heartbeat::every(Duration::from_millis(20)).misses(50)
}

/// Longer than that.
const TOO_LONG: Duration = Duration::from_millis(1500);

/// Hangs, in several ways, and does not.
pub struct Sleeper;

#[actor]
impl Sleeper {
    pub fn new() -> Self {
        Self
    }

    /// Is there after a long time, in which nothing else runs.
    pub fn late() -> Self {
        std::thread::sleep(TOO_LONG);
        Self
    }

    pub fn echo(&self, number: u64) -> u64 {
        number
    }

    /// Keeps the thread and a core.
    pub fn spin(&mut self) {
        while black_box(true) {
            std::hint::spin_loop();
        }
    }

    /// Keeps the thread.
    pub fn block(&self) {
        while black_box(true) {
            std::thread::park();
        }
    }

    /// Keeps itself, and not the thread.
    pub async fn wait(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[on_stop]
    fn sleep_in(&mut self) {
        std::thread::sleep(TOO_LONG);
    }
}

/// Waits until it was asked to hang; the call that does so.
macro_rules! hung_by {
    ($sleeper:ident.$method:ident()) => {{
        let call = $sleeper.$method().start();
        within(LONG, call).await.expect_err("it never returns")
    }};
}

/// A method that keeps the thread, with the core or without, and a process that is stopped: it is
/// killed, who waits is told that it hung, and the supervisor starts it again.
#[callboard::test]
async fn who_hangs_is_killed_and_returns() -> callboard::Result<()> {
    let supervisor = Supervisor::builder(Strategy::OneForOne)
        .restart(Restart::on_failure().max(100))
        .start();
    let make = || Sleeper::spawn().heartbeat(heartbeat());
    let sleeper = supervisor.spawn(make).await?;
    let mut monitor = sleeper.monitor();
    within(LONG, monitor.next()).await;
    for way in 0..3 {
        let pid = sleeper.process_id();
        let error = match way {
            0 => hung_by!(sleeper.spin()),
            1 => hung_by!(sleeper.block()),
            _ => {
                let waiting = sleeper.wait(LONG).start();
                signal(pid, Signal::SIGSTOP);
                within(LONG, waiting).await.expect_err("it stands still")
            }
        };
        // Who was stopped may not have begun it.
        assert!(way == 2 || error.outcome() == Outcome::MayHaveRun, "{way}");
        match error {
            CallError::Died { death, .. } => {
                assert_eq!((death.exit(), death.pid()), (Exit::Hung, pid), "{way}");
            }
            // Who waits is told that, too, if the machine was so busy that it took three seconds.
            CallError::Unreachable { .. } if way == 2 => {}
            other => panic!("{way}: {other}"),
        }
        match within(LONG, monitor.next()).await {
            Some(LifeEvent::Down(DownReason::Died(death))) => assert_eq!(death.exit(), Exit::Hung),
            other => panic!("{way}: {other:?}"),
        }
        let up = within(LONG, monitor.next()).await;
        assert!(matches!(up, Some(LifeEvent::Up { .. })), "{way}: {up:?}");
        assert!(is_gone(pid), "{way}");
        assert_eq!(within(LONG, sleeper.echo(way)).await?, way);
    }
    within(LONG, supervisor.stop()).await?;
    Ok(())
}

/// Who is idle, who waits in a method, whose constructor takes long, and who takes long over its
/// end, does not hang.
#[callboard::test]
async fn who_takes_long_lives() -> callboard::Result<()> {
    let busy = Sleeper::spawn().heartbeat(heartbeat()).await?;
    let idle = Sleeper::spawn().heartbeat(heartbeat()).await?;
    // So that nobody is asked who is not there.
    let often = Heartbeat::every(Duration::from_millis(1)).misses(10_000);
    let asked = Sleeper::spawn().heartbeat(often).await?;
    let waiting = busy.wait(TOO_LONG).start();
    let late = within(LONG, async {
        Sleeper::spawn_late().heartbeat(heartbeat()).await
    })
    .await?;
    within(LONG, waiting).await?;
    let ends = [busy, idle, asked, late].map(|sleeper| async move {
        assert_eq!(within(LONG, sleeper.echo(3)).await?, 3);
        let began = Instant::now();
        within(LONG, sleeper.shutdown()).await?;
        assert!(began.elapsed() >= TOO_LONG);
        Ok::<_, callboard::Error>(())
    });
    for end in join_all(ends).await {
        end?;
    }
    Ok(())
}

/// All members of a pool hang: their calls end as deaths that say so, others take their places, and
/// calls go on.
#[callboard::test]
async fn pools_whose_members_all_hang() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Sleeper::spawn().heartbeat(heartbeat()))
        .restart(Restart::on_failure().max(100))
        .await?;
    let pids: Vec<_> = pool.members().iter().map(|m| m.process_id).collect();
    for pid in &pids {
        signal(*pid, Signal::SIGSTOP);
    }
    let calls: Vec<_> = (0..10).map(|number| pool.echo(number).start()).collect();
    for call in calls {
        match within(LONG, call).await {
            Err(CallError::Died { death, .. }) => assert_eq!(death.exit(), Exit::Hung),
            // It came to one that had taken a place already; or three seconds were over before.
            Ok(_) | Err(CallError::Unreachable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    eventually(LONG, "others are there", || {
        let members = pool.members();
        let is_new = |pid: &u32| !pids.contains(pid);
        members.iter().all(|m| m.is_alive && is_new(&m.process_id))
    })
    .await;
    assert!(pids.iter().all(|pid| is_gone(*pid)));
    assert_eq!(within(LONG, pool.echo(7)).await?, 7);
    let _ = within(LONG, pool.kill()).await;
    Ok(())
}

/// Where nobody takes their places, the pool has ended, and says how; nothing is left of it.
#[callboard::test]
async fn pools_that_end_hanging() -> callboard::Result<()> {
    if !alone("pools_that_end_hanging") {
        return Ok(());
    }
    let once = || Pool::spawn(2, |_| Sleeper::spawn().heartbeat(heartbeat()));
    let _ = within(LONG, once().await?.kill()).await;
    let holdings = Holdings::settled().await;
    let pool = once().restart(Restart::never()).await?;
    let mut monitor = pool.monitor();
    for member in pool.members() {
        signal(member.process_id, Signal::SIGSTOP);
        eventually(LONG, "it stands still", || is_stopped(member.process_id)).await;
    }
    match within(LONG, monitor.down()).await {
        Some(DownReason::Died(death)) => assert_eq!(death.exit(), Exit::Hung),
        other => panic!("{other:?}"),
    }
    match within(LONG, pool.echo(1)).await {
        Err(error @ CallError::Died { .. }) => assert_eq!(error.outcome(), Outcome::NotRun),
        other => panic!("{other:?}"),
    }
    assert!(!pool.is_alive());
    drop((pool, monitor));
    holdings.back().await;
    Ok(())
}
