//! A place in a supervisor's care: of an actor of any type, or of another supervisor.

use futures_util::future::BoxFuture;

use crate::node::ending::ShutdownError;
use crate::sys::process::Exit;

/// What a supervisor does with who is in its care.
pub(super) trait Post: Send + Sync {
    /// Waits for the end of who is here now.
    fn ended(&self) -> BoxFuture<'static, Exit>;
    /// Starts somebody new, where nobody is.
    fn start(&self) -> BoxFuture<'static, Started>;
    /// Ends who is here now in order, and waits for it; at once if it has ended. Gives how, and
    /// what was not in order.
    fn stop(&self) -> BoxFuture<'static, (Exit, Result<(), ShutdownError>)>;
    /// Who was here has ended, and is to be followed or not.
    fn fell(&self, exit: Exit);
    /// Nobody follows who ended last.
    fn leave(&self, exit: Exit);
    /// Whether somebody is to be here: not once its user has stopped it.
    fn is_wanted(&self) -> bool;
    /// Whether somebody of this process has asked who is here to end.
    fn was_stopped(&self) -> bool;
    /// The process of who is here, if it lives; none: it has none of its own.
    fn process_id(&self) -> Option<u32>;
    fn is_alive(&self) -> bool;
    /// How often somebody new has come.
    fn restarts(&self) -> u64;
}

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Started {
    Up,
    /// Why was logged.
    Failed,
    /// Its user has stopped it meanwhile.
    Unwanted,
}
