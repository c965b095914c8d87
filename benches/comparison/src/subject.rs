//! What is compared: the cases, and the trait that every subject fills in.
//!
//! A subject is one way of asking somebody for something: callboard, a peer, or a floor that no
//! call can beat. It sets up both sides anew for each round, so that whoever spins in one round
//! takes no core from the next subject.

use std::error::Error;
use std::time::Duration;

use callboard::Idle;

use crate::meter::Meter;
use crate::stage::Stage;
use crate::subjects;
use crate::subjects::callboard::{Callboard, Local};

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Bytes of the small payload, in both directions.
pub const SMALL: usize = 64;

/// Bytes of the larger payload of [`Case::HotKib`].
pub const LARGE: usize = 1024;

/// Bytes of the messages of [`Case::TellLarge`].
pub const IN_PLACE: usize = 64 << 10;

/// Calls in flight in [`Case::Pipelined`].
pub const IN_FLIGHT: usize = 64;

/// Messages between two barriers of a teller that shares its thread with the actor. Mailboxes
/// that have a bound are made larger than this.
pub const BURST: usize = 1000;

/// How long a caller of [`Case::IdlePause`] sleeps between two calls: longer than any sensible
/// spin, so that both sides have parked.
const PAUSE: Duration = Duration::from_micros(300);

/// One thing that is measured of every subject that can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Round trips of 64 B back to back; both sides stay awake where the subject can.
    Hot,
    /// The same with 1 KiB.
    HotKib,
    /// Round trips of 64 B back to back; both sides park while they wait.
    Idle,
    /// The same after a pause, so that the cores have gone to sleep as well.
    IdlePause,
    /// Calls of 64 B, as many in flight as [`IN_FLIGHT`] says.
    Pipelined,
    /// One way messages of 64 B.
    Tell,
    /// One way messages of 64 KiB, written where they are read.
    TellLarge,
}

impl Case {
    pub const ALL: [Self; 7] = [
        Self::Hot,
        Self::HotKib,
        Self::Idle,
        Self::IdlePause,
        Self::Pipelined,
        Self::Tell,
        Self::TellLarge,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::HotKib => "hot-1k",
            Self::Idle => "idle",
            Self::IdlePause => "idle-pause",
            Self::Pipelined => "pipelined",
            Self::Tell => "tell",
            Self::TellLarge => "tell-64k",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Hot => "hot: round trip of 64 B, both sides awake",
            Self::HotKib => "hot: round trip of 1 KiB, both sides awake",
            Self::Idle => "idle: round trip of 64 B, both sides park",
            Self::IdlePause => "idle: round trip of 64 B after a pause of 300 us",
            Self::Pipelined => "pipelined: one call of 64 B with 64 in flight",
            Self::Tell => "tell: one message of 64 B, one way",
            Self::TellLarge => "tell: one message of 64 KiB, one way, written where it is read",
        }
    }

    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|case| case.key() == key)
    }

    /// True if every call is timed; otherwise the round is timed as a whole.
    pub fn is_round_trip(self) -> bool {
        !matches!(self, Self::Pipelined | Self::Tell | Self::TellLarge)
    }

    pub fn pause(self) -> Option<Duration> {
        (self == Self::IdlePause).then_some(PAUSE)
    }
}

/// How the two sides of a subject wait for each other in a case. It decides on which cores a
/// case makes sense and how a disturbed round is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Both sides are tasks of one thread, which never sleeps.
    OneThread,
    /// Two threads or processes that look again and again; on one core they starve each other.
    Polls,
    /// Two threads or processes that sleep until the other one wakes them.
    Parks,
    /// Two processes that look for a while and then sleep.
    Adapts,
}

/// A callboard, a peer or a floor.
pub trait Subject {
    /// As it stands in the table and after `--only`.
    fn name(&self) -> &'static str;

    /// The package in `Cargo.lock` whose version the report gives.
    fn package(&self) -> Option<&'static str> {
        None
    }

    /// Who is compared with it.
    fn standing(&self) -> Standing;

    /// How it waits in this case, or `None` if it has nothing to show there.
    fn waiting(&self, case: Case) -> Option<Waiting>;

    /// Sets up both sides, lets the meter run one round, and takes both sides down.
    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome;

    /// The second process: announces itself by [`crate::stage::ready`] and serves until killed.
    fn serve(&self, _case: Case, _arguments: &[String]) -> Outcome {
        Err("this subject has no second process".into())
    }
}

/// The part a subject has in the ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The one that this is about.
    Ours,
    /// The same, its actor being a task as with actor crates in one process.
    OursInProcess,
    /// An actor crate in one process; the fastest of these is a reference.
    Actors,
    /// Another way between two processes.
    Processes,
    /// What the machine can do at best; a reference.
    Floor,
}

/// All subjects, in the order in which each round takes them.
pub fn all() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(Callboard(Idle::Adaptive)),
        Box::new(Callboard(Idle::Busy)),
        Box::new(Callboard(Idle::Park)),
        Box::new(Local),
        Box::new(subjects::spin::Spin),
        Box::new(subjects::eventfd::Eventfd),
        Box::new(subjects::iceoryx2::Iceoryx2),
        Box::new(subjects::ipc_channel::IpcChannel),
        Box::new(subjects::tarpc::Tarpc),
        Box::new(subjects::tokio_channel::TokioChannel),
        Box::new(subjects::kameo::Kameo),
        Box::new(subjects::ractor::Ractor),
        Box::new(subjects::actix::Actix),
    ]
}
