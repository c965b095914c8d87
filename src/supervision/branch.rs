//! A supervisor in the care of another one.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::keeper::Command;
use super::post::{Post, Started, not_any_more};
use super::supervisor::{Status, Supervisor};
use crate::node::ending::ShutdownError;
use crate::sys::process::Exit;

/// A supervisor in another's care.
pub(super) struct Branch(pub(super) Supervisor);

impl Post for Branch {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let shared = Arc::clone(&self.0.shared);
        async move {
            match shared.ended().await {
                // An end of its own, whichever one it was for the last of its actors.
                Status::GivenUp(given_up) if given_up.exit != Exit::Code(0) => given_up.exit,
                Status::GivenUp(_) => Exit::Unknown,
                Status::Works | Status::Stopped => Exit::Code(0),
            }
        }
        .boxed()
    }

    fn start(&self) -> BoxFuture<'static, Started> {
        let this = self.0.clone();
        async move {
            if !*this.shared.wanted.borrow() {
                return Started::Unwanted;
            }
            let (reply, started) = oneshot::channel();
            let _ = this.commands.send(Command::Start(reply));
            // Dropped when its user stops it meanwhile: those who were started for it are ended.
            started.await.unwrap_or(Started::Unwanted)
        }
        .boxed()
    }

    fn stop(&self) -> BoxFuture<'static, (Exit, Result<(), ShutdownError>)> {
        let this = self.0.clone();
        async move {
            let stopped = this.order(Command::Rest).await;
            (Exit::Code(0), stopped)
        }
        .boxed()
    }

    /// It has told so itself.
    fn fell(&self, _exit: Exit) {}

    fn leave(&self, _exit: Exit) {
        // If nobody takes it, nobody is left to leave.
        let _ = self.0.commands.send(Command::Leave);
    }

    fn is_wanted(&self) -> bool {
        *self.0.shared.wanted.borrow()
    }

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        not_any_more(&self.0.shared.wanted)
    }

    /// If it was, its user does not want it any more.
    fn was_stopped(&self) -> bool {
        false
    }

    fn process_id(&self) -> Option<u32> {
        None
    }

    fn is_alive(&self) -> bool {
        matches!(*self.0.shared.status.borrow(), Status::Works)
    }

    fn restarts(&self) -> u64 {
        self.0.shared.restarts()
    }
}
