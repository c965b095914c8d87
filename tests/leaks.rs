//! U12, UB9-UB11, UB14: what actors leave behind: nothing.

mod common;

use std::fs;
use std::future::IntoFuture as _;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{LinkKind, Pending, SpawnError};
use futures_util::future::try_join_all;
use nix::sys::signal::Signal;

use common::{Holdings, LONG, alone, gone, signal, within};

/// Does a little of everything.
pub struct Guest {
    luggage: Vec<u8>,
}

#[actor]
impl Guest {
    pub fn new() -> Self {
        Self {
            luggage: Vec::new(),
        }
    }

    pub fn refused(reason: String) -> Result<Self, Refused> {
        Err(Refused(reason))
    }

    pub fn panicking() -> Self {
        panic!("as the test wants it")
    }

    pub fn bring(&mut self, luggage: Vec<u8>) -> usize {
        self.luggage = luggage;
        self.luggage.len()
    }

    pub fn take(&self) -> Vec<u8> {
        self.luggage.clone()
    }

    pub async fn stay(&self) {
        std::future::pending::<()>().await;
    }

    pub fn panic(&self) {
        panic!("as the test wants it")
    }
}

/// A constructor's own error.
#[message]
#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refused(String);

/// The threads that live as long as the process are there after the first link of each kind.
async fn use_links() -> callboard::Result<()> {
    Guest::spawn().await?.shutdown().await?;
    let socket = Guest::spawn().link(LinkKind::Socket).await?;
    socket.shutdown().await
}

/// Uses an actor, and leaves some of its answers untaken.
async fn use_it(guest: &GuestProxy) -> callboard::Result<()> {
    within(LONG, guest.bring(vec![1; 100_000])).await?;
    guest.bring(vec![2; 10]).tell().await?;
    drop(guest.take().start());
    let pending: Vec<Pending<Vec<u8>>> = (0..20).map(|_| guest.take().start()).collect();
    assert_eq!(within(LONG, guest.take()).await?, [2; 10]);
    drop(pending);
    Ok(())
}

/// Two hundred actors at once, twice: no process, thread, descriptor or name is left of them.
#[callboard::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_actors_leave_nothing() -> callboard::Result<()> {
    if !alone("two_hundred_actors_leave_nothing") {
        return Ok(());
    }
    use_links().await?;
    let before = Holdings::settled().await;
    for _ in 0..2 {
        let starts = (0..200).map(|_| Guest::spawn().into_future());
        let guests = within(LONG, try_join_all(starts)).await?;
        assert_eq!(Holdings::now().children, 200);
        assert_eq!(
            Holdings::now().segments,
            0,
            "names are there only while actors start"
        );
        within(LONG, try_join_all(guests.iter().map(use_it))).await?;
        let (ended, dropped) = guests.split_at(150);
        within(LONG, try_join_all(ended.iter().map(GuestProxy::shutdown))).await?;
        let pids: Vec<_> = dropped.iter().map(GuestProxy::process_id).collect();
        drop(guests);
        for pid in pids {
            gone(pid).await;
        }
        before.back().await;
    }
    Ok(())
}

/// One after the other, each ending in another way: the same.
#[callboard::test]
async fn no_way_to_end_leaves_anything() -> callboard::Result<()> {
    if !alone("no_way_to_end_leaves_anything") {
        return Ok(());
    }
    use_links().await?;
    let before = Holdings::settled().await;
    for round in 0..60 {
        let grace = if round % 6 == 3 {
            Duration::from_millis(20)
        } else {
            LONG
        };
        let guest = Guest::spawn().grace(grace).await?;
        use_it(&guest).await?;
        match round % 6 {
            0 => guest.shutdown().await?,
            1 => drop(guest),
            2 => signal(guest.process_id(), Signal::SIGKILL),
            3 => {
                let staying = guest.stay().start();
                assert!(within(LONG, guest.shutdown()).await.is_err());
                assert!(staying.await.is_err());
            }
            4 => {
                let staying = guest.stay().start();
                assert!(within(LONG, guest.panic()).await.is_err());
                drop(staying);
            }
            _ => {
                let refused = Guest::spawn_refused("full".into()).await.unwrap_err();
                assert!(matches!(refused, SpawnError::Constructor(_)), "{refused:?}");
                assert!(Guest::spawn_panicking().await.is_err());
                assert!(Guest::spawn().exe("/nonexistent").await.is_err());
                assert!(Guest::spawn().exe("/bin/true").await.is_err());
            }
        }
    }
    before.back().await;
    Ok(())
}

/// An actor has nothing of its parent's open, and inherits its environment.
#[callboard::test]
async fn actors_inherit_nothing() -> callboard::Result<()> {
    let earlier = Guest::spawn().await?;
    let file = fs::File::open("/proc/self/status")?;
    let guest = Guest::spawn().await?;
    let pid = guest.process_id();
    let open: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))?
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|path| path.display().to_string())
        .collect();
    assert!(
        !open.iter().any(|path| path.contains("/status")),
        "{open:?}"
    );
    let segments = open
        .iter()
        .filter(|path| path.contains("/shm/callboard-"))
        .count();
    assert!(
        segments <= 1,
        "another actor's link is not its own: {open:?}"
    );
    let environ = fs::read(format!("/proc/{pid}/environ"))?;
    assert!(String::from_utf8_lossy(&environ).contains("PATH="));
    drop(file);
    earlier.shutdown().await?;
    guest.shutdown().await
}
