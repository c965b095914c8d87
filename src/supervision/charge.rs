//! One of those that a supervisor's task keeps, and how they are started.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::child::Entry;
use super::post::{Post, Started};
use super::restart::History;
use crate::node::ending::ShutdownError;
use crate::sys::process::Exit;

/// One in its care.
pub(super) struct Charge {
    pub(super) entry: Arc<Entry>,
    pub(super) state: State,
    /// Counts its lives.
    pub(super) life: u64,
    /// Its own starts.
    pub(super) history: History,
    pub(super) last: Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Reviving,
    /// Its end is waited for, and nobody follows.
    Leaving,
    Down,
    Left,
}

impl Charge {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Self {
            entry,
            state: State::Up,
            life: 0,
            history: History::default(),
            last: Exit::Code(0),
        }
    }

    pub(super) fn rise(&mut self) {
        self.life += 1;
        self.state = State::Up;
    }

    pub(super) fn fell(&mut self, exit: Exit) {
        self.last = exit;
        self.entry.post.fell(exit);
    }

    /// Ends who is here, and waits for it.
    pub(super) async fn stop(&mut self) -> Result<(), ShutdownError> {
        if self.state == State::Reviving && !self.entry.post.is_alive() {
            // Its end was told.
            return Ok(());
        }
        let (exit, stopped) = self.entry.post.stop().await;
        if let Err(error) = &stopped {
            let name = &self.entry.name;
            tracing::warn!(name, %error, "a supervised actor did not end in order");
        }
        self.fell(exit);
        stopped
    }

    pub(super) fn leave(&mut self) {
        self.state = State::Left;
        self.entry.post.leave(self.last);
    }
}

pub(super) type Posts = Vec<(u64, Arc<dyn Post>)>;

/// Those of them who are in this state.
pub(super) fn posts_of(charges: &[Charge], state: State) -> Posts {
    let is_one = |charge: &&Charge| charge.state == state;
    let post = |charge: &Charge| (charge.entry.id, Arc::clone(&charge.entry.post));
    charges.iter().filter(is_one).map(post).collect()
}

/// Starts one after the other; behind one that does not start, none is tried.
pub(super) async fn start_all(posts: Posts) -> Vec<(u64, Started)> {
    let mut starts = Vec::with_capacity(posts.len());
    for (id, post) in posts {
        let started = start(&*post).await;
        starts.push((id, started));
        if started == Started::Failed {
            break;
        }
    }
    starts
}

/// Starts one, until that is done or nobody wants it.
async fn start(post: &dyn Post) -> Started {
    let started = AssertUnwindSafe(async { post.start().await }).catch_unwind();
    tokio::select! {
        biased;
        () = post.unwanted() => Started::Unwanted,
        started = started => started.unwrap_or_else(|_| {
            tracing::error!("what starts a supervised actor panicked");
            Started::Failed
        }),
    }
}
