//! How an actor has ended, as those are told elsewhere who had a link to it. Pure.

use rkyv::{Archive, Deserialize, Serialize};

use super::codec::EncodeError;
use super::hello::{self, HelloError};
use super::report::PanicReport;
use crate::sys::process::Exit;

/// The longest packet with an [`Obituary`] in bytes.
pub(crate) const OBITUARY_LEN_MAX: usize = 16 * 1024;

/// How much is told of a panic's text, and of its place.
const TEXT_LEN_MAX: usize = 4 * 1024;

/// What the packet begins with: others could come in its place.
const DIED: &[u8; 4] = b"died";

/// The same of an [`Inquiry`].
const ASK: &[u8; 4] = b"ask ";

/// How an actor has ended that did not end in order.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obituary {
    /// The process in which it lived.
    pub(crate) pid: u32,
    ended: Ended,
    /// The panic that ended it, if one did.
    pub(crate) report: Option<PanicReport>,
}

/// How a process, or a task, has ended.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Code(i32),
    Signal { number: i32, core_dumped: bool },
    OutOfMemory,
    Hung,
    Dropped,
    Unknown,
}

impl Obituary {
    /// Of an actor that lived in process `pid`. None: it is not known here how it ended.
    pub(crate) fn new(pid: u32, exit: Exit, report: Option<&PanicReport>) -> Option<Self> {
        Some(Self {
            pid,
            ended: Ended::of(exit)?,
            report: report.map(shortened),
        })
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> Exit {
        match self.ended {
            Ended::Code(code) => Exit::Code(code),
            Ended::Signal {
                number,
                core_dumped,
            } => Exit::Signal {
                number,
                core_dumped,
            },
            Ended::OutOfMemory => Exit::OutOfMemory,
            Ended::Hung => Exit::Hung,
            Ended::Dropped => Exit::Dropped,
            Ended::Unknown => Exit::Unknown,
        }
    }

    /// The packet that tells it.
    ///
    /// # Errors
    /// It cannot be archived: there is no memory.
    pub(crate) fn packet(&self) -> Result<Vec<u8>, EncodeError> {
        let packet = hello::encode(self)?;
        Ok([&DIED[..], &packet].concat())
    }

    /// What such a packet tells; none: it is another packet.
    pub(crate) fn read(packet: &[u8]) -> Option<Result<Self, HelloError>> {
        packet.strip_prefix(DIED).map(hello::decode)
    }
}

/// Where those are told how an actor's process has ended who had a link to it, if that is not where
/// they came in.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inquiry {
    /// The name of a gateway.
    pub(crate) name: [u8; 16],
    /// The process, which has opened it, and whose that is.
    pub(crate) opener: (u32, u32),
}

impl Inquiry {
    /// The packet that tells it, before anything else is said.
    ///
    /// # Errors
    /// It cannot be archived: there is no memory.
    pub(crate) fn packet(&self) -> Result<Vec<u8>, EncodeError> {
        let packet = hello::encode(self)?;
        Ok([&ASK[..], &packet].concat())
    }

    /// What such a packet tells; none: it is another packet, or none that can be read.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        hello::decode(packet.strip_prefix(ASK)?).ok()
    }
}

impl Ended {
    fn of(exit: Exit) -> Option<Self> {
        Some(match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal {
                number,
                core_dumped,
            } => Self::Signal {
                number,
                core_dumped,
            },
            Exit::OutOfMemory => Self::OutOfMemory,
            Exit::Hung => Self::Hung,
            Exit::Dropped => Self::Dropped,
            Exit::Unknown => Self::Unknown,
            Exit::Disconnected => return None,
        })
    }
}

/// A report whose text fits into a packet.
fn shortened(report: &PanicReport) -> PanicReport {
    let short = |text: &str| {
        let mut end = text.len().min(TEXT_LEN_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    };
    PanicReport::new(short(report.message()), report.location().map(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each way to end is told as it was; what is not known is not told.
    #[test]
    fn ends_are_told_as_they_were() {
        let killed = |core_dumped| Exit::Signal {
            number: 9,
            core_dumped,
        };
        for exit in [
            Exit::Code(0),
            Exit::Code(-1),
            killed(false),
            killed(true),
            Exit::OutOfMemory,
            Exit::Hung,
            Exit::Dropped,
            Exit::Unknown,
        ] {
            let told = Obituary::new(2, exit, None).unwrap();
            let packet = told.packet().unwrap();
            let read = Obituary::read(&packet).unwrap().unwrap();
            assert_eq!((&read, read.exit()), (&told, exit));
            assert!(Obituary::read(&packet[..20]).unwrap().is_err(), "it is cut");
        }
        assert!(Obituary::new(2, Exit::Disconnected, None).is_none());
        assert!(Obituary::read(b"callbrd\n").is_none(), "another packet");
    }

    /// Whom to ask is told as it was, and is no other packet.
    #[test]
    fn who_is_to_be_asked_is_told() {
        let told = Inquiry {
            name: [7; 16],
            opener: (8, 9),
        };
        let packet = told.packet().unwrap();
        assert_eq!(Inquiry::read(&packet), Some(told));
        assert!(Obituary::read(&packet).is_none());
        assert_eq!(Inquiry::read(&packet[..8]), None);
        let died = Obituary::new(2, Exit::Code(1), None).unwrap();
        assert_eq!(Inquiry::read(&died.packet().unwrap()), None);
    }

    /// However long a panic's text is, what is told of it fits into its packet.
    #[test]
    fn long_texts_fit() {
        let report = PanicReport::new("aä".repeat(100_000), Some("x".repeat(100_000)));
        let told = Obituary::new(2, Exit::Code(101), Some(&report)).unwrap();
        let packet = told.packet().unwrap();
        assert!(packet.len() <= OBITUARY_LEN_MAX, "{}", packet.len());
        let read = Obituary::read(&packet).unwrap().unwrap().report.unwrap();
        assert!(report.message().starts_with(read.message()));
        assert!(read.message().len() > TEXT_LEN_MAX - 2);
    }
}
