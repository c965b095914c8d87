//! What a callee says instead of a result. Pure.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// A panic, as the process that panicked saw it.
///
/// # Examples
/// ```
/// fn describe(report: &callboard::PanicReport) -> String {
///     format!("{} at {}", report.message(), report.location().unwrap_or("an unknown place"))
/// }
/// ```
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(archived = ArchivedPanicReport)]
pub struct PanicReport {
    message: String,
    location: Option<String>,
}

impl PanicReport {
    pub(crate) fn new(message: String, location: Option<String>) -> Self {
        Self { message, location }
    }

    /// The panic's text; a placeholder where the payload was no text.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `file:line:column`, where known.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{:?} at {location}", self.message),
            None => write!(f, "{:?}", self.message),
        }
    }
}

/// Why a callee did not run a call.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No method or constructor has this number.
    Unknown,
    /// The arguments are no archive of what the method takes.
    Arguments(String),
    /// The result could not be sent: it is too large or cannot be archived. The method ran.
    Result(String),
    /// The actor was constructed and then did not start, for this reason.
    Start(String),
    /// The mailbox was full.
    Full,
    /// It went out of the full mailbox, in favour of others.
    Dropped,
    /// Too many streams are open on the link.
    Crowded,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report reads as one clause, with the place where it is known.
    #[test]
    fn reports_read_well() {
        let report = PanicReport::new("no luck".into(), Some("src/main.rs:7:5".into()));
        assert_eq!(report.to_string(), "\"no luck\" at src/main.rs:7:5");
        assert_eq!(
            PanicReport::new("no luck".into(), None).to_string(),
            "\"no luck\""
        );
    }
}
