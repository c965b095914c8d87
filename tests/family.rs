//! U17, UB5: actors that start actors and programs: how many there may be, who ends with whom,
//! and what goes wrong in user code around a call.

mod common;

use std::fs;
use std::future::IntoFuture as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Exit, LimitError, LinkKind, limit_actors};
use nix::sys::signal::Signal;
use rkyv::rancor::Fallible;
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive as _, Archived, Place};

use common::{Holdings, LONG, SOON, alone, children_of, eventually, gone, is_gone, signal, within};

/// Starts more of its kind.
pub struct Node {
    beneath: Vec<NodeProxy>,
}

#[actor]
impl Node {
    pub fn new() -> Self {
        let beneath = Vec::new();
        Self { beneath }
    }

    /// One that has started `fan` others, who have done the same, `depth` times.
    pub async fn tree(fan: u32, depth: u32) -> Result<Self, Refused> {
        let mut node = Self::new();
        for _ in 0..if depth == 0 { 0 } else { fan } {
            let spawn = Box::pin(Self::spawn_tree(fan, depth - 1).into_future());
            match spawn.await {
                Ok(proxy) => node.beneath.push(proxy),
                Err(SpawnError::TooMany { limit }) => return Err(Refused(limit)),
                Err(SpawnError::Constructor(refused)) => return Err(refused),
                Err(other) => panic!("{other}"),
            }
        }
        Ok(node)
    }

    /// Starts one more; or the limit that forbids it.
    pub async fn grow(&mut self) -> Result<u32, Refused> {
        match Self::spawn().await {
            Ok(proxy) => {
                let pid = proxy.process_id();
                self.beneath.push(proxy);
                Ok(pid)
            }
            Err(SpawnError::TooMany { limit }) => Err(Refused(limit)),
            Err(other) => panic!("{other}"),
        }
    }

    /// Calls through to the last one beneath.
    pub async fn depth(&self) -> u32 {
        match self.beneath.last() {
            Some(proxy) => {
                1 + Box::pin(proxy.depth().into_future())
                    .await
                    .expect("it lives")
            }
            None => 0,
        }
    }

    /// All processes from here on down.
    pub async fn pids(&self) -> Vec<u32> {
        let mut pids = vec![std::process::id()];
        for proxy in &self.beneath {
            pids.extend(
                Box::pin(proxy.pids().into_future())
                    .await
                    .expect("it lives"),
            );
        }
        pids
    }

    /// Descriptors that a program which it starts can see, beside the three that are usual.
    pub fn seen_by_programs(&self) -> Vec<String> {
        let output = Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .stdin(Stdio::null())
            .output()
            .expect("there is such a program");
        let text = String::from_utf8_lossy(&output.stdout);
        let links = text.lines().filter_map(|line| line.split_once(" -> "));
        links
            .map(|(_, target)| target.to_owned())
            .filter(|target| target.contains("callboard") || target.contains("eventfd"))
            .collect()
    }

    /// Starts a helper in its own group, or, with `apart`, in a session of its own.
    pub fn help(&self, apart: bool) -> u32 {
        let mut helper = if apart {
            let mut helper = Command::new("setsid");
            helper.arg("sleep");
            helper
        } else {
            Command::new("sleep")
        };
        let helper = helper.arg("1000").spawn();
        let pid = helper.expect("there is such a program").id();
        // Until it has left the group, and is what it turns into.
        while fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm != "sleep\n") {
            thread::sleep(Duration::from_millis(1));
        }
        pid
    }

    /// Needs more stack than there is.
    pub fn recurse(&self, depth: u64) -> u64 {
        let here = std::hint::black_box([depth; 512]);
        if depth == u64::MAX {
            return 0;
        }
        self.recurse(depth + 1).wrapping_add(here[7])
    }

    pub fn take(&self, value: Thorny) -> u64 {
        value.number
    }

    pub fn give(&self, number: u64) -> Thorny {
        Thorny { number, maker: 0 }
    }

    /// Panics, and again while that panic is cleaned up after.
    pub fn panic_twice(&self) {
        let _second = Thorny {
            number: 0,
            maker: 1,
        };
        panic!("first")
    }

    pub fn echo(&self, value: u64) -> u64 {
        value
    }
}

/// No more may be started.
#[message]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no more than {0}")]
pub struct Refused(usize);

/// Cannot be archived if its number is 13, and cannot be dropped by anyone but its maker.
#[message]
#[derive(Debug)]
pub struct Thorny {
    #[rkyv(with = NotThirteen)]
    number: u64,
    /// The process that may drop it, if only one may.
    maker: u32,
}

impl Drop for Thorny {
    fn drop(&mut self) {
        let may = [0, std::process::id()].contains(&self.maker);
        assert!(may, "dropped by another one");
    }
}

/// A way to archive numbers that panics.
#[derive(Debug)]
pub struct NotThirteen;

impl ArchiveWith<u64> for NotThirteen {
    type Archived = Archived<u64>;
    type Resolver = ();

    fn resolve_with(field: &u64, (): (), out: Place<Self::Archived>) {
        field.resolve((), out);
    }
}

impl<S: Fallible + ?Sized> SerializeWith<u64, S> for NotThirteen {
    fn serialize_with(field: &u64, _: &mut S) -> Result<(), S::Error> {
        assert_ne!(*field, 13, "not thirteen");
        Ok(())
    }
}

impl<D: Fallible + ?Sized> DeserializeWith<Archived<u64>, u64, D> for NotThirteen {
    fn deserialize_with(field: &Archived<u64>, _: &mut D) -> Result<u64, D::Error> {
        Ok(field.to_native())
    }
}

fn is_signal(exit: Exit, wanted: &[i32]) -> bool {
    matches!(exit, Exit::Signal { number, .. } if wanted.contains(&number))
}

/// Actors may start actors, in constructors and methods, and all of a tree ends with its root.
#[callboard::test]
async fn trees_end_with_their_root() -> callboard::Result<()> {
    for is_killed in [true, false] {
        let root = Node::spawn_tree(2, 3).await?;
        assert_eq!(root.depth().await?, 3);
        let grown = root.grow().await?;
        let pids = root.pids().await?;
        assert_eq!(pids.len(), 16);
        assert!(pids.contains(&grown) && pids.iter().all(|pid| !is_gone(*pid)));
        if is_killed {
            signal(root.process_id(), Signal::SIGKILL);
        } else {
            within(LONG, root.stop()).await?;
        }
        for pid in pids {
            gone(pid).await;
        }
    }
    Ok(())
}

/// Endless recursion of starts ends at the limit, with an error that says so, wherever in the tree;
/// the parent lives on, and those who have ended make room for others.
#[callboard::test]
async fn trees_are_limited() -> callboard::Result<()> {
    if !alone("trees_are_limited") {
        return Ok(());
    }
    limit_actors(12)?;
    assert!(matches!(limit_actors(13), Err(LimitError::TooLate)));
    // The threads that live as long as the process are there after the first link of each kind.
    let socket = Node::spawn().link(LinkKind::Socket).await?;
    socket.shutdown().await?;
    let survivor = Node::spawn().await?;
    let before = Holdings::settled().await;
    for (fan, depth) in [(1, 100), (100, 1), (3, 10)] {
        match within(LONG, Node::spawn_tree(fan, depth).into_future()).await {
            Err(SpawnError::Constructor(refused)) => assert_eq!(refused, Refused(12)),
            other => panic!("{other:?}"),
        }
        before.back().await;
        // Those beneath are gone soon after their root.
        let own = std::process::id();
        eventually(SOON, "one is left", || children_of(own).len() == 1).await;
    }
    let root = Node::spawn_tree(1, 9).await?;
    let last = root.grow().await?;
    match root.grow().await {
        Err(CallError::Actor(refused)) => assert_eq!(refused, Refused(12)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        Node::spawn().await,
        Err(SpawnError::TooMany { limit: 12 })
    ));
    signal(last, Signal::SIGKILL);
    // Not only dead: its threads hold what it had open until the last of them is gone.
    let process = format!("/proc/{last}");
    eventually(LONG, "it is reaped", || {
        !fs::exists(&process).unwrap_or(true)
    })
    .await;
    root.grow().await?;
    assert!(root.grow().await.is_err());
    root.stop().await?;
    assert_eq!(survivor.echo(7).await?, 7);
    survivor.shutdown().await
}

/// Programs that an actor starts see nothing of ours, and those in its group end with it, however
/// it ends. One that leaves the group stays: it is its own master.
#[callboard::test]
async fn helpers_end_with_their_actor() -> callboard::Result<()> {
    for is_killed in [true, false] {
        let node = Node::spawn().await?;
        assert_eq!(node.seen_by_programs().await?, [""; 0]);
        let (within_group, apart) = (node.help(false).await?, node.help(true).await?);
        assert!(!is_gone(within_group) && !is_gone(apart));
        if is_killed {
            node.kill().await;
        } else {
            node.stop().await?;
        }
        gone(within_group).await;
        assert!(!is_gone(apart));
        signal(apart, Signal::SIGKILL);
    }
    Ok(())
}

/// Too deep a recursion ends its actor, and nobody else.
#[callboard::test]
async fn stack_overflows_are_deaths() -> callboard::Result<()> {
    let (node, other) = (Node::spawn().await?, Node::spawn().await?);
    match within(LONG, node.recurse(0)).await {
        Err(CallError::Died { death, outcome }) => {
            assert!(
                is_signal(death.exit(), &[libc::SIGSEGV, libc::SIGABRT]),
                "{death}"
            );
            assert_eq!(outcome, Outcome::MayHaveRun);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(other.echo(1).await?, 1);
    other.shutdown().await
}

/// Panics of the user's code around a method: while its argument is dropped, while its result is
/// archived, and a second one while the first is cleaned up after.
#[callboard::test]
async fn panics_around_a_method() -> callboard::Result<()> {
    let node = Node::spawn().await?;
    assert_eq!(
        node.take(Thorny {
            number: 12,
            maker: 0
        })
        .await?,
        12
    );
    let maker = std::process::id();
    match within(LONG, node.take(Thorny { number: 12, maker })).await {
        Err(CallError::Panicked(report)) => assert_eq!(report.message(), "dropped by another one"),
        other => panic!("{other:?}"),
    }
    assert_eq!(within(LONG, node.exited()).await, Exit::Code(101));

    let node = Node::spawn().await?;
    assert_eq!(node.give(12).await?.number, 12);
    match within(LONG, node.give(13)).await {
        Err(CallError::Panicked(report)) => {
            assert!(report.message().contains("not thirteen"), "{report}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(within(LONG, node.exited()).await, Exit::Code(101));

    let node = Node::spawn().await?;
    match within(LONG, node.panic_twice()).await {
        Err(CallError::Died { death, .. }) => {
            assert!(is_signal(death.exit(), &[libc::SIGABRT]), "{death}");
            assert!(death.report().is_some(), "{death}");
        }
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// A panic while an argument is archived is the caller's own: the link goes on.
#[callboard::test]
async fn panics_before_a_call() -> callboard::Result<()> {
    let node = Node::spawn().await?;
    let other = node.clone();
    let call = async move {
        other
            .take(Thorny {
                number: 13,
                maker: 0,
            })
            .await
    };
    assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    let waiting: Vec<_> = (0..100).map(|value| node.echo(value).start()).collect();
    for (value, echo) in waiting.into_iter().enumerate() {
        assert_eq!(within(SOON, echo).await?, value as u64);
    }
    node.shutdown().await
}
