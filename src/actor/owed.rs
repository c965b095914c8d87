//! Answers that take long to send, to callers on other machines: they go while the actor does
//! something else.
//!
//! To a caller on this machine an answer takes no longer than it takes to write it; the actor waits
//! for that, and so does not run ahead of who reads. To another machine it may take seconds, in
//! which other callers want theirs. So much is owed to one caller that it can be neither forgotten
//! nor piled up: beyond that the actor waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::replies::{Late, Replies};
use super::signals::Line;

/// The most answers that are owed to one caller.
const COUNT_MAX: usize = 64;

/// The most bytes of them, and one answer more; blobs are memory that is there anyway.
const LEN_MAX: usize = 16 << 20;

/// The answers that are owed to one caller.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    count: AtomicUsize,
    len: AtomicUsize,
    /// One less is owed.
    paid: Notify,
}

/// One of them; dropped, it is owed no more.
struct Debt {
    line: Arc<Line>,
    len: usize,
}

impl Debt {
    /// None: too much is owed already.
    fn of(line: &Arc<Line>, len: usize) -> Option<Self> {
        let owed = &line.owed;
        // Relaxed: only the actor's task adds to them, and others take away.
        if owed.count.load(Ordering::Relaxed) >= COUNT_MAX
            || owed.len.load(Ordering::Relaxed) >= LEN_MAX
        {
            return None;
        }
        owed.count.fetch_add(1, Ordering::Relaxed);
        owed.len.fetch_add(len, Ordering::Relaxed);
        let line = Arc::clone(line);
        Some(Self { line, len })
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        let owed = &self.line.owed;
        owed.len.fetch_sub(self.len, Ordering::Relaxed);
        // Release: pairs with the Acquire in `is_paid`, though only the number is published.
        owed.count.fetch_sub(1, Ordering::Release);
        owed.paid.notify_waiters();
    }
}

impl Owed {
    pub(super) fn is_paid(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Waits until nothing is owed.
    pub(super) async fn paid(&self) {
        loop {
            let mut paid = std::pin::pin!(self.paid.notified());
            paid.as_mut().enable();
            if self.is_paid() {
                return;
            }
            paid.await;
        }
    }
}

impl Late {
    /// Sends it over the link that its call came by, `main` being the way over the main link: when
    /// there is room, or, to another machine, while the actor goes on.
    pub(super) async fn settle(self, line: Option<&Arc<Line>>, main: Replies<'_>) {
        let Some(line) = line else {
            return self.send(main.sender).await;
        };
        let debt = line
            .sender()
            .is_remote()
            .then(|| Debt::of(line, self.len()));
        match debt.flatten() {
            None => self.send(line.sender()).await,
            Some(debt) => {
                tokio::spawn(async move {
                    self.send(debt.line.sender()).await;
                });
            }
        }
    }
}
