//! Processes: starting one, seeing and causing its end, and what a process does to itself.
//!
//! A started process leads a process group of its own, so that Ctrl-C reaches only its parent and
//! a kill reaches the helpers that it has started. It is watched and reaped by a pidfd, never by
//! its number, which the system may give to another.
//!
//! Who is started, why, and what happens after its end is known to `node`.

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal};
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::sys::cpu::{self, Who};
use crate::sys::socket::Lifeline;

/// Everything needed to start a process.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) exe: PathBuf,
    /// What `ps` shows, after `actor:`.
    pub(crate) name: String,
    /// The arguments after the name; an actor has none.
    pub(crate) args: Vec<OsString>,
    /// Variables beside those it inherits.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where it runs, if not where its parent does.
    pub(crate) dir: Option<PathBuf>,
    /// The CPUs on which it is kept from its first moment, if not on those of this thread.
    pub(crate) cpus: Option<Vec<u32>>,
    /// The variable that tells it what it is; see [`take_mark`].
    pub(crate) mark: (&'static str, String),
    /// Its end of the lifeline, which becomes its standard input.
    pub(crate) lifeline: Lifeline,
    /// Its standard output, if not its parent's.
    pub(crate) stdout: Option<OwnedFd>,
    /// Its standard error, if not its parent's.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Starts a process.
///
/// If the thread that calls this ends, so do children that use [`die_with_parent`].
///
/// # Errors
///
/// The system's: no such program, no right, no room, no descriptor. Nothing is left then.
pub(crate) fn launch(launch: Launch) -> io::Result<Child> {
    let Launch {
        exe,
        name,
        args,
        env,
        dir,
        mark,
        cpus,
        lifeline,
        stdout,
        stderr,
    } = launch;
    let mut command = Command::new(exe);
    command
        .arg0(format!("actor:{name}"))
        .args(args)
        .envs(env)
        .env(mark.0, mark.1)
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(lifeline)));
    if let Some(stdout) = stdout {
        command.stdout(stdout);
    }
    if let Some(stderr) = stderr {
        command.stderr(stderr);
    }
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    // No pre_exec, so that std uses posix_spawn: a fork costs time in proportion to our memory.
    let mut child = spawn_on(cpus.as_deref(), &mut command)?;
    // Not reaped by anyone, hence still ours under its number.
    let opened = Pid::from_raw(child.id().cast_signed())
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|pid| Ok((pid, pidfd_open(pid, PidfdFlags::empty())?)));
    match opened {
        Ok((pid, pidfd)) => Ok(Child {
            pid,
            pidfd,
            reaped: None,
        }),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error.into())
        }
    }
}

/// Starts a process on these CPUs. A process begins with the mask of the thread that starts it.
fn spawn_on(cpus: Option<&[u32]>, command: &mut Command) -> io::Result<process::Child> {
    let Some(cpus) = cpus else {
        return command.spawn();
    };
    let before = cpu::allowed(Who::Thread)?;
    cpu::pin_thread(cpus)?;
    let child = command.spawn();
    if let Err(error) = cpu::pin_thread(&before) {
        tracing::error!(%error, "the thread that starts processes stays on an actor's CPUs");
    }
    child
}

/// A process that we have started and must reap; dropped before that, it leaves a zombie.
#[derive(Debug)]
pub(crate) struct Child {
    /// Also the number of its process group; ours alone until it is reaped.
    pid: Pid,
    /// Readable when it has ended.
    pidfd: OwnedFd,
    /// How it ended, once reaped; then `pid` means nothing any more.
    reaped: Option<Exit>,
}

impl Child {
    /// Its number, for people; it may have been given to another once it is reaped.
    pub(crate) const fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Becomes readable when the process has ended.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills it and its process group at once; nothing happens if it has been reaped.
    pub(crate) fn kill(&self) {
        if self.reaped.is_none() {
            // An error says that it is gone, or has become another user: no more can be done.
            let _ = pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
            self.kill_group();
        }
    }

    /// How it ended, if it has. The helpers that it leaves in its group are killed then.
    ///
    /// # Errors
    ///
    /// The system's, which is a bug of ours.
    pub(crate) fn try_reap(&mut self) -> io::Result<Option<Exit>> {
        if self.reaped.is_none() {
            let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            // While it is a zombie its number, and so the group's, cannot be given to another.
            self.reaped = match waitid(self.wait_id(), ended | WaitIdOptions::NOWAIT) {
                Ok(None) => None,
                Ok(Some(_)) => {
                    self.kill_group();
                    waitid(self.wait_id(), ended)?.map(|status| Exit::from_status(&status))
                }
                Err(rustix::io::Errno::CHILD) => Some(Exit::Unknown),
                Err(error) => return Err(error.into()),
            };
        }
        Ok(self.reaped)
    }

    /// Kills and reaps it, which takes as long as the system needs to take it down.
    pub(crate) fn end(mut self) {
        self.kill();
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(self.wait_id(), ended), Err(rustix::io::Errno::INTR)) {}
        if let Err(error) = self.try_reap() {
            tracing::error!(pid = self.pid(), %error, "killed process not reaped");
        }
    }

    /// Whether it stands still by a signal (SIGSTOP and the like).
    pub(crate) fn is_stopped(&self) -> bool {
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(self.wait_id(), stopped);
        matches!(status, Ok(Some(status)) if status.stopped() || status.trapped())
    }

    fn wait_id(&self) -> WaitId<'_> {
        WaitId::PidFd(self.pidfd.as_fd())
    }

    /// Only while it is not reaped.
    fn kill_group(&self) {
        let _ = kill_process_group(self.pid, rustix::process::Signal::KILL);
    }
}

/// How a process ended.
///
/// # Examples
/// ```
/// use callboard::Exit;
///
/// assert_eq!(Exit::Code(3).to_string(), "exit code 3");
/// let killed = Exit::Signal { number: 9, core_dumped: false };
/// assert_eq!(killed.to_string(), "SIGKILL (9)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether the system wrote a core file.
        core_dumped: bool,
    },
    /// For want of memory. The system sent SIGKILL: a counter of such kills, that of its own cgroup
    /// where [its memory is limited](crate::Limits::memory), else that of this process's, went up
    /// meanwhile. Or its [heap is limited](crate::Limits::heap), and it aborted when it got no
    /// more.
    OutOfMemory,
    /// It hung, which its [heartbeat](crate::Heartbeat) told, and was killed.
    Hung,
    /// A [local](crate::Local) actor's task was dropped before it had ended: it was killed, its
    /// grace was over, or its runtime ended.
    Dropped,
    /// The connection to a [connected](crate::Connect) actor has ended, or the link to one whose
    /// proxy came [in a message](crate::Proxy#in-messages), and nobody has told what became of the
    /// actor.
    Disconnected,
    /// Other code of this program took its exit status, or SIGCHLD is ignored.
    Unknown,
}

impl Exit {
    fn from_status(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Code(code),
            (_, Some(number)) => Self::Signal {
                number,
                core_dumped: status.dumped(),
            },
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal {
                number,
                core_dumped,
            } => {
                match Signal::try_from(number) {
                    Ok(signal) => write!(f, "{signal} ({number})")?,
                    Err(_) => write!(f, "signal {number}")?,
                }
                if core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
            Self::OutOfMemory => f.write_str("no memory left for it"),
            Self::Hung => f.write_str("SIGKILL, as it did not answer its heartbeat"),
            Self::Dropped => f.write_str("its task being dropped"),
            Self::Disconnected => f.write_str("the end of the connection to it"),
            Self::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

/// Lets the system kill this process when the thread that started it ends, and says whether that
/// thread's process is still the parent; if not, the wish came too late.
///
/// # Errors
///
/// The system's.
pub(crate) fn die_with_parent(expected_parent: u32) -> io::Result<bool> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let parent = nix::unistd::getppid().as_raw();
    Ok(u32::try_from(parent) == Ok(expected_parent))
}

/// Names the calling thread, and so the process if it is the first: 15 bytes, for `ps` and `top`.
pub(crate) fn set_title(title: &str) {
    let title = title.split('\0').next().unwrap_or_default();
    if let Ok(title) = CString::new(title) {
        // Cannot fail with a valid string, and would only leave the old name.
        let _ = nix::sys::prctl::set_name(&title);
    }
}

/// Lets this process open more descriptors, if `latest`, the number of one that it has just opened,
/// shows that half of those it may have are open: as many as the system lets it, and no more than
/// [`DESCRIPTORS_ENOUGH`].
///
/// Most systems begin with a limit of 1024, for programs whose `select` knows no more, and let a
/// process raise it. It is left alone until it matters, for what this process starts inherits it.
pub(crate) fn keep_descriptors_free(latest: BorrowedFd<'_>) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let enough = hard.min(DESCRIPTORS_ENOUGH);
    let is_half_used = u64::try_from(latest.as_raw_fd()).is_ok_and(|number| number >= soft / 2);
    if is_half_used && soft < enough {
        // If it fails, the limit stays, and the next descriptor that there is not says so.
        let raised = setrlimit(Resource::RLIMIT_NOFILE, enough, hard).is_ok();
        tracing::debug!(soft, enough, raised, "limit of descriptors");
    }
}

/// Enough for thirteen thousand actors, and little enough for programs that, when they start,
/// close every descriptor that they might have.
const DESCRIPTORS_ENOUGH: u64 = 64 * 1024;

/// Ends the process now: no destructor, no handler, no flush.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no duties; it returns never.
    unsafe { libc::_exit(code) }
}

/// Makes writing to a closed pipe an error and not a death, as std does before `main`.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: no handler is installed, so none can run at a wrong moment; the handler that was
    // there is not called by us.
    let previous = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    debug_assert!(previous.is_ok(), "SIGPIPE exists");
}

/// Whether this process ignores the signal. One that does so from its start was told to.
pub(crate) fn ignores(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal.saturating_sub(1)).ok();
    let bit = bit.and_then(|bit| 1_u64.checked_shl(bit));
    mask.is_some_and(|mask| mask & bit.unwrap_or(0) != 0)
}

/// Reads the environment variable `name` and, while this process has only one thread, removes it,
/// so that the processes it starts do not inherit it.
pub(crate) fn take_mark(name: &str) -> Option<OsString> {
    let mark = std::env::var_os(name)?;
    let threads = fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads == 1 {
        // SAFETY: no other thread exists that could read or write the environment meanwhile: they
        // were counted above, and only this one could start another.
        unsafe { std::env::remove_var(name) };
    }
    Some(mark)
}

/// Sends `signal` to this process, with the effect that it has on an unprepared one.
///
/// # Errors
///
/// `InvalidInput` if there is no such signal; the system's.
#[cfg(any(test, feature = "failpoints"))]
pub(crate) fn raise(signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        // std's handler for SIGSEGV expects a faulting instruction to return to, and would let a
        // raised one pass.
        // SAFETY: no handler is installed, so none can run at a wrong moment.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }?;
    }
    Ok(nix::sys::signal::raise(signal)?)
}

#[cfg(test)]
#[path = "process_tests.rs"]
pub(crate) mod tests;
