//! A place in a supervisor's care: of an actor of any type, of another supervisor, or of a pool's
//! member.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::node::ending::ShutdownError;
use crate::sys::process::Exit;

/// Seats somebody new in a place, who came without the supervisor's doing.
pub(crate) type Refill = Box<dyn FnOnce() + Send>;

/// What a supervisor does with who is in its care.
pub(crate) trait Post: Send + Sync {
    /// Waits for the end of who is here now.
    fn ended(&self) -> BoxFuture<'static, Exit>;
    /// Starts somebody new, where nobody is. It is dropped once nobody is wanted.
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
    /// Waits until nobody is to be here.
    fn unwanted(&self) -> BoxFuture<'static, ()>;
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
pub(crate) enum Started {
    Up,
    /// Why was logged.
    Failed,
    /// Nobody is to be here any more.
    Unwanted,
}

/// Waits until somebody says that it is wanted no more, or nobody can say so.
pub(super) fn not_any_more(wanted: &watch::Sender<bool>) -> BoxFuture<'static, ()> {
    let mut wanted = wanted.subscribe();
    async move {
        let _ = wanted.wait_for(|wanted| !wanted).await;
    }
    .boxed()
}
