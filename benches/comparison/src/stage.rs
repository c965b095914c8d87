//! Where a round is played: the cores, the second process, and a place for its files.
//!
//! Nothing outlives the run: a second process is killed and reaped when its handle is dropped and
//! dies with this one (`PR_SET_PDEATHSIG`); files carry this process's id in their names and are
//! removed at the end, or by the next run if this one was killed.

use std::cell::Cell;
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::subject::{Case, Outcome, Subject};

/// The first argument of a second process.
pub const SERVE: &str = "serve";

/// All our names begin so, in the folder for temporary files and in `/dev/shm`.
const PREFIX: &str = "callboard-comparison-";

/// What a second process prints once it can be called.
const READY: &str = "ready";

/// Where the two sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cores {
    /// This process on the first, the second one on the second.
    Pinned(usize, usize),
    /// Wherever the kernel likes.
    Unpinned,
}

impl Cores {
    /// The first two cores we may use, or the only one twice.
    pub fn first_two() -> Outcome<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores =
            (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or_default());
        let first = cores.next().ok_or("no core to run on")?;
        Ok(Self::Pinned(first, cores.next().unwrap_or(first)))
    }

    pub fn are_one(self) -> bool {
        matches!(self, Self::Pinned(here, there) if here == there)
    }

    /// Where the second side runs, if that is decided.
    pub fn there(self) -> Option<usize> {
        match self {
            Self::Pinned(_, there) => Some(there),
            Self::Unpinned => None,
        }
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn pin(core: usize) -> Outcome {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// The cores and a place for files, for as long as the run lasts.
pub struct Stage {
    pub cores: Cores,
    /// Short, since socket paths are limited to 108 bytes.
    scratch: PathBuf,
    /// Makes the names of each round new ones.
    rounds: Cell<u32>,
}

impl Stage {
    pub fn new(cores: Cores) -> Outcome<Self> {
        sweep(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if let Cores::Pinned(here, _) = cores {
            pin(here)?;
        }
        let scratch = env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        Ok(Self {
            cores,
            scratch,
            rounds: Cell::new(0),
        })
    }

    /// A name for this round: a path in the folder for temporary files that does not exist yet.
    pub fn fresh_path(&self) -> PathBuf {
        self.rounds.set(self.rounds.get() + 1);
        self.scratch.join(self.rounds.get().to_string())
    }

    /// Names of shared memory that begin so are removed at the end of the run.
    pub fn shared_prefix(&self) -> String {
        format!("{PREFIX}{}-", std::process::id())
    }

    /// Starts the second process of a subject and waits until it can be called.
    pub fn second(
        &self,
        subject: &dyn Subject,
        case: Case,
        arguments: &[String],
    ) -> Outcome<Second> {
        let mut second = self.second_unready(subject, case, arguments)?;
        second.expect(READY)?;
        Ok(second)
    }

    /// The same for a second process that announces itself in some other way.
    pub fn second_unready(
        &self,
        subject: &dyn Subject,
        case: Case,
        arguments: &[String],
    ) -> Outcome<Second> {
        let core = self
            .cores
            .there()
            .map_or_else(|| "-".to_owned(), |core| core.to_string());
        let mut child = Command::new("/proc/self/exe")
            .arg0("comparison")
            .args([SERVE, subject.name(), case.key(), &core])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or("the second process has no stdout")?;
        Ok(Second {
            child,
            stdout: BufReader::new(stdout),
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        sweep_own();
    }
}

/// Removes what this process has left in the folder for temporary files and in `/dev/shm`.
pub fn sweep_own() {
    sweep(|pid| pid == std::process::id());
}

/// Removes every file and folder of ours whose owner is one of those meant. What cannot be
/// removed belongs to somebody else and stays.
fn sweep(is_meant: impl Fn(u32) -> bool) {
    for folder in [env::temp_dir(), PathBuf::from("/dev/shm")] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(PREFIX))
                .and_then(|rest| rest.split('-').next())
                .and_then(|pid| pid.parse().ok());
            if owner.is_some_and(&is_meant) {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}

/// A second process. Dropping it kills and reaps it.
pub struct Second {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Second {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for this line from the second process.
    pub fn expect(&mut self, word: &str) -> Outcome {
        let line = self.hear()?;
        if line == word {
            return Ok(());
        }
        Err(format!("the second process said {line:?} instead of {word:?}").into())
    }

    /// Waits for a line from the second process, whatever it says; nothing if it has ended.
    pub fn hear(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints a line for [`Second::expect`] or [`Second::hear`].
pub fn say(word: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{word}")?;
    stdout.flush()
}

/// In the second process: it can be called from now on.
pub fn ready() -> io::Result<()> {
    say(READY)
}

/// The second process from its arguments to its end.
pub fn serve(subjects: &[Box<dyn Subject>], arguments: &[String]) -> Outcome {
    let parent = getppid();
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err("the first process has gone".into());
    }
    let [name, case, core, rest @ ..] = arguments else {
        return Err("a second process is started by the first, not by hand".into());
    };
    if let Ok(core) = core.parse() {
        pin(core)?;
    }
    let case = Case::from_key(case).ok_or("no such case")?;
    let subject = subjects
        .iter()
        .find(|subject| subject.name() == name.as_str())
        .ok_or("no such subject")?;
    subject.serve(case, rest)
}
