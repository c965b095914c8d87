//! A seat of a pool as the supervisor sees it that has it in its care.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::crew::{Crew, Phase};
use crate::node::ending::ShutdownError;
use crate::node::handle::Proxy;
use crate::supervision::post::{Post, Started};
use crate::sys::process::Exit;

/// See the module.
pub(super) struct MemberPost<P> {
    crew: Arc<Crew<P>>,
    at: usize,
}

impl<P> MemberPost<P> {
    pub(super) fn new(crew: Arc<Crew<P>>, at: usize) -> Self {
        Self { crew, at }
    }
}

impl<P: Proxy> Post for MemberPost<P> {
    fn ended(&self) -> BoxFuture<'static, Exit> {
        let (crew, life) = (Arc::clone(&self.crew), self.crew.life(self.at));
        async move {
            // Or until it has ended: the pool's owner hears of a wish all the same.
            life.being.asked().await;
            if life.being.was_asked() {
                crew.note_asked();
            }
            life.exited().await
        }
        .boxed()
    }

    fn start(&self) -> BoxFuture<'static, Started> {
        let (crew, at) = (Arc::clone(&self.crew), self.at);
        async move {
            let before = crew.life(at);
            if before.being.exit().is_none() {
                // Somebody has taken the seat during the pause.
                return Started::Up;
            }
            let Some(new) = (crew.start)(at).await else {
                return Started::Failed;
            };
            crew.follow_up(at, &before, new);
            if crew.is_wanted(at) {
                Started::Up
            } else {
                Started::Unwanted
            }
        }
        .boxed()
    }

    fn stop(&self) -> BoxFuture<'static, (Exit, Result<(), ShutdownError>)> {
        let (member, _) = self.crew.sitting(self.at);
        async move {
            let handle = member.__handle();
            let stopped = handle.shutdown().await;
            (handle.life().exited().await, stopped)
        }
        .boxed()
    }

    /// Who asks for the members sees it.
    fn fell(&self, _exit: Exit) {}

    fn leave(&self, exit: Exit) {
        self.crew.leave(self.at, exit);
    }

    fn is_wanted(&self) -> bool {
        self.crew.is_wanted(self.at)
    }

    fn unwanted(&self) -> BoxFuture<'static, ()> {
        let mut phase = self.crew.phase();
        async move {
            // One that is dismissed is not started, and needs not be told of it before.
            let _ = phase.wait_for(|phase| *phase != Phase::Works).await;
        }
        .boxed()
    }

    fn was_stopped(&self) -> bool {
        self.crew.life(self.at).exchange.is_stopping()
    }

    fn process_id(&self) -> Option<u32> {
        let (member, _) = self.crew.sitting(self.at);
        self.is_alive().then(|| member.process_id())
    }

    fn is_alive(&self) -> bool {
        self.crew.life(self.at).being.exit().is_none()
    }

    fn restarts(&self) -> u64 {
        self.crew.sitting(self.at).1
    }
}
