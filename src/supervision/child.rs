//! One of those in a supervisor's care.

use std::fmt;
use std::sync::Arc;

use super::post::Post;
use super::restart::Restart;

/// What supervisor and user know of one in its care.
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) name: String,
    /// If it is another than the supervisor's.
    pub(super) restart: Option<Restart>,
    pub(super) post: Arc<dyn Post>,
}

/// An actor or supervisor in a [`Supervisor`](super::Supervisor)'s care, as it is now.
///
/// # Examples
/// ```
/// # use callboard::supervision::Supervisor;
/// fn print(supervisor: &Supervisor) {
///     for child in supervisor.children() {
///         println!("{}: started again {} times", child.name, child.restarts);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Child {
    /// As given, or its number.
    pub name: String,
    /// Its process, if it lives and is an actor.
    pub process_id: Option<u32>,
    /// Whether it lives.
    pub is_alive: bool,
    /// How often it was started again.
    pub restarts: u64,
}

impl Entry {
    pub(super) fn child(&self) -> Child {
        Child {
            name: self.name.clone(),
            process_id: self.post.process_id(),
            is_alive: self.post.is_alive(),
            restarts: self.post.restarts(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
