//! How a start can be refined: each option with what it is without being set.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::greet;
use super::heartbeat::Heartbeat;
use super::limits::{Limited, Limits};
use super::output::Output;
use super::remote::listen::Listening;
use super::spawn::Spawn;
use super::spawn_error::SpawnError;
use crate::actor::mailbox::Mailbox;
use crate::cpu::{self, Cores, CoresError, CpuSet, PinError};
use crate::sys::process::Launch;
use crate::sys::socket::Lifeline;
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;
use crate::wire::hello::Bounds;
use crate::wire::interface::Interface;

/// How long a process has to say that it is an actor. Starting takes about a millisecond; a machine
/// that starts a thousand at once takes longer.
const GREET_WITHIN: Duration = Duration::from_secs(10);

/// How long an actor has to end in order before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How much shared memory the large messages of one direction take at most.
pub(super) const ARENA_LIMIT: u64 = 64 << 20;

/// What [`Spawn`] was told.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) name: Option<String>,
    pub(super) exe: Option<PathBuf>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) dir: Option<PathBuf>,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) idle: Idle,
    pub(super) mailbox: Mailbox,
    pub(super) grace: Duration,
    pub(super) heartbeat: Option<Heartbeat>,
    pub(super) greet_within: Duration,
    /// How much memory each of the link's arenas takes at most, in bytes.
    pub(super) arena: u64,
    /// None: shared memory, and a socket where that cannot be had.
    pub(super) link: Option<LinkKind>,
    /// None: where this process's thread runs that starts processes.
    pub(super) cores: Option<Box<Cores>>,
    /// What they are on this machine, once looked up.
    pub(super) cpus: Option<CpuSet>,
    /// The NUMA nodes of the process and of this one, where there are several to choose from.
    pub(super) homes: [Option<u32>; 2],
    pub(super) limits: Option<Box<Limits>>,
    /// What keeps them, once it is made.
    pub(super) limited: Option<Limited>,
    pub(super) listening: Box<Listening>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: None,
            exe: None,
            env: Vec::new(),
            dir: None,
            stdout: Output::default(),
            stderr: Output::default(),
            idle: Idle::default(),
            mailbox: Mailbox::default(),
            grace: GRACE,
            heartbeat: None,
            greet_within: GREET_WITHIN,
            arena: ARENA_LIMIT,
            link: None,
            cores: None,
            cpus: None,
            homes: [None; 2],
            limits: None,
            limited: None,
            listening: Box::default(),
        }
    }
}

impl Options {
    /// Looks up on which CPUs the process is to run.
    pub(super) async fn look_up_cores<E>(&mut self) -> Result<(), SpawnError<E>> {
        if let Some(cores) = self.cores.clone() {
            // The kernel's files are read for it, some for each CPU of the machine.
            let look_up = move || {
                let machine = cpu::topology().map_err(CoresError::from)?;
                let cpus = cores.set(&machine)?;
                let homes = [machine.home(&cpus), machine.home(machine.allowed())];
                Ok::<_, CoresError>((cpus, homes))
            };
            let found = tokio::task::spawn_blocking(look_up).await;
            let found = found.map_err(|ended| PinError::System(io::Error::other(ended)));
            let (cpus, homes) = found.and_then(|set| Ok(set?)).map_err(SpawnError::Pin)?;
            (self.cpus, self.homes) = (Some(cpus), homes);
        }
        Ok(())
    }

    /// Makes what keeps the process within its limits.
    pub(super) async fn prepare_limits<E>(&mut self) -> Result<(), SpawnError<E>> {
        if let Some(limits) = &self.limits {
            self.limited = Some(limits.prepare().await?);
        }
        Ok(())
    }

    /// What the process sees to itself of its limits.
    pub(super) fn bounds(&self) -> Bounds {
        let both = self.limits.as_ref().zip(self.limited.as_ref());
        both.map_or_else(Bounds::default, |(limits, limited)| limits.bounds(limited))
    }

    /// Whether the process runs where it is to run: the kernel leaves out silently what it does not
    /// give.
    pub(super) fn check_cores<E>(&self, pid: u32) -> Result<(), SpawnError<E>> {
        let Some(wanted) = &self.cpus else {
            return Ok(());
        };
        let given = cpu::allowed_to(pid).map_err(PinError::System);
        let checked = given.and_then(|given| cpu::verified(wanted.clone(), given));
        checked.map(drop).map_err(SpawnError::Pin)
    }

    /// How the process is started.
    pub(super) fn launch(
        &self,
        interface: &Interface,
        lifeline: Lifeline,
        [stdout, stderr]: [Option<OwnedFd>; 2],
    ) -> Launch {
        let exe = self.exe.clone();
        Launch {
            // The link, not its target: it works when the file has been replaced or removed.
            exe: exe.unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
            name: self.title(interface).to_owned(),
            args: Vec::new(),
            env: self.env.clone(),
            dir: self.dir.clone(),
            mark: (greet::MARK, "0".to_owned()),
            cpus: self.cpus.as_ref().map(CpuSet::numbers),
            lifeline,
            stdout,
            stderr,
        }
    }

    /// What the process is called: the name it was given, or its type's last part.
    pub(super) fn title<'a>(&'a self, interface: &'a Interface) -> &'a str {
        let name = interface.name;
        self.name
            .as_deref()
            .unwrap_or_else(|| name.rsplit("::").next().unwrap_or(name))
    }
}

impl<P, Args, E> Spawn<P, Args, E> {
    /// Names the process, for `ps` and logs. Default: the actor's type.
    ///
    /// `ps -o args` shows `actor:` and the whole name. `top`, `ps -o comm` and `pgrep` show what
    /// the system keeps of it, which is the first 15 bytes.
    ///
    /// # Errors
    /// A name with a zero byte in it is an error of the start.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().name("echo-1").await?)
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Starts this program instead of the current one. It must know the actor, and call
    /// [`init`](crate::init) first in `main`. Methods that it lacks, or has with another signature,
    /// are errors of their calls.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().exe("/usr/lib/my-program/actors").await?)
    /// # }
    /// ```
    pub fn exe(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.exe = Some(path.into());
        self
    }

    /// Sets a variable of the process's environment, beside those it inherits.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().env("RUST_LOG", "debug").env("LANG", "C").await?)
    /// # }
    /// ```
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.env.push((key.into(), value.into()));
        self
    }

    /// The process's working folder. Default: this process's.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().current_dir("/tmp").await?)
    /// # }
    /// ```
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.options.dir = Some(dir.into());
        self
    }

    /// Where its standard output goes. Default: where this process's does.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().stdout(Output::Null).await?)
    /// # }
    /// ```
    pub fn stdout(mut self, output: Output) -> Self {
        self.options.stdout = output;
        self
    }

    /// Where its standard error goes. Default: where this process's does.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// // If it dies, the error ends with the last line that it wrote.
    /// Ok(Echo::spawn().stderr(Output::Tail(64 * 1024)).await?)
    /// # }
    /// ```
    pub fn stderr(mut self, output: Output) -> Self {
        self.options.stderr = output;
        self
    }

    /// How both sides of the link wait for messages. Default: [`Idle::Adaptive`].
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// // Called now and then, and nobody should see it in `top`.
    /// Ok(Echo::spawn().idle(Idle::Park).await?)
    /// # }
    /// ```
    pub fn idle(mut self, idle: Idle) -> Self {
        self.options.idle = idle;
        self
    }

    /// How many calls wait for the actor, and what becomes of more. Default: 1024 calls of 1 MiB
    /// together, and then their callers wait.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # use callboard::{Mailbox, Overflow};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<[EchoProxy; 2]> {
    /// let patient = Echo::spawn().mailbox(64).await?;
    /// let mailbox = Mailbox::messages(64).overflow(Overflow::Fail);
    /// Ok([patient, Echo::spawn().mailbox(mailbox).await?])
    /// # }
    /// ```
    ///
    /// For every start of a type, together with other settings:
    /// ```standalone_crate
    /// use callboard::prelude::*;
    /// use callboard::{Mailbox, Overflow};
    ///
    /// pub struct Printer;
    ///
    /// #[actor(
    ///     mailbox = Mailbox::messages(2).overflow(Overflow::Fail),
    ///     grace = "500ms",
    ///     process_name = "printer",
    /// )]
    /// impl Printer {
    ///     pub fn new() -> Self { Self }
    ///     pub async fn print(&mut self, pages: u64) -> u64 { pages }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let printer = Printer::spawn().grace(std::time::Duration::from_secs(1)).await?;
    ///     assert_eq!(printer.print(3).await?, 3);
    ///     printer.shutdown().await
    /// }
    /// ```
    pub fn mailbox(mut self, mailbox: impl Into<Mailbox>) -> Self {
        self.options.mailbox = mailbox.into();
        self
    }

    /// How long the actor has to end in order, at a shutdown or with its last proxy, before it is
    /// killed. Default: 5 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let grace = std::time::Duration::from_millis(500);
    /// Ok(Echo::spawn().grace(grace).await?)
    /// # }
    /// ```
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// Kills the process when it hangs. Default: it is not asked whether it does.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{prelude::*, supervision::{SuperviseError, Supervisor}};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start(supervisor: &Supervisor) -> Result<EchoProxy, SuperviseError> {
    /// let heartbeat = std::time::Duration::from_secs(2);
    /// supervisor.spawn(move || Echo::spawn().heartbeat(heartbeat)).await
    /// # }
    /// ```
    pub fn heartbeat(mut self, heartbeat: impl Into<Heartbeat>) -> Self {
        self.options.heartbeat = Some(heartbeat.into());
        self
    }

    /// How long the process has to say that it is an actor. The constructor's own time is not
    /// counted. Default: 10 s.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let within = std::time::Duration::from_secs(60);
    /// Ok(Echo::spawn().greet_within(within).await?)
    /// # }
    /// ```
    pub fn greet_within(mut self, within: Duration) -> Self {
        self.options.greet_within = within;
        self
    }

    /// How much shared memory large arguments may take on their way to the actor, and large results
    /// on their way back, each: up to so many bytes, rounded up to a power of two. Default: 64 MiB.
    ///
    /// Arguments and results longer than some 16 KiB are written once, to where they are read:
    /// `&Archived<T>`, `&[u8]` and `&str` parameters and [`View`](crate::View)s are that very
    /// memory, which its reader keeps until the method returns or the view is dropped. Memory comes
    /// when it is written, is used again, and all but 1 MiB of it is given back when no large
    /// message was sent for a second. What finds no room there, because the actor or a view keeps
    /// it, because `/dev/shm` is full or because the message is larger than all of it, travels in
    /// pieces as it does over a socket: it waits for room, and is copied. So it does with 0, which
    /// is none.
    ///
    /// Memory that an actor reads in place is its caller's to change: the two trust each other, as
    /// parts of one program do. Of another program's actor ([`exe`](Self::exe)), and by it,
    /// everything is copied before it is looked at.
    ///
    /// # Examples
    /// ```
    /// # use callboard::prelude::*;
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// // Frames of 200 MiB, one after the other.
    /// Ok(Echo::spawn().arena(256 << 20).await?)
    /// # }
    /// ```
    pub fn arena(mut self, bytes: u64) -> Self {
        self.options.arena = bytes;
        self
    }

    /// What the link to the actor goes over, and nothing else: without it the start is an error.
    ///
    /// Default: shared memory; where that cannot be had, in this process or the new one, a socket,
    /// and a line at `info` that says why. [`Proxy::link`](crate::Proxy::link) tells which it is.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{LinkKind, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// Ok(Echo::spawn().link(LinkKind::SharedMemory).await?)
    /// # }
    /// ```
    pub fn link(mut self, kind: LinkKind) -> Self {
        self.options.link = Some(kind);
        self
    }

    /// Keeps the process, with all its threads, on these CPUs from its first moment, so that its
    /// memory comes from near them. Default: where the thread that first started an actor ran.
    ///
    /// Runtimes and pools of threads that it builds size themselves to these CPUs.
    /// [`Proxy::cores`](crate::Proxy::cores) tells what the kernel gave.
    ///
    /// # Errors
    /// [`SpawnError::Pin`] if they are not there, not permitted, or taken away meanwhile.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{cpu::{Core, Cores}, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<[EchoProxy; 2]> {
    /// let alone = Echo::spawn().pin(Core(3)).await?;
    /// let beside = Echo::spawn().pin(Cores::physical().excluding(Core(3))).await?;
    /// Ok([alone, beside])
    /// # }
    /// ```
    pub fn pin(mut self, cores: impl Into<Cores>) -> Self {
        self.options.cores = Some(Box::new(cores.into()));
        self
    }

    /// What the process may have: memory, descriptors, CPU time. Default: what this process may.
    ///
    /// # Errors
    /// [`SpawnError::Limit`] if the system refuses one of them.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Limits, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # async fn start() -> callboard::Result<EchoProxy> {
    /// let limits = Limits::new().memory(512 << 20).open_files(64).nice(10);
    /// Ok(Echo::spawn().limits(limits).await?)
    /// # }
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = Some(Box::new(limits));
        self
    }
}
