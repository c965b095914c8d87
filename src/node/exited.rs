//! How an actor has ended, told to each who asks, before or after.

use tokio::sync::watch;

use crate::sys::process::Exit;

/// See the module.
#[derive(Debug)]
pub(super) struct Exited(watch::Sender<Option<Exit>>);

impl Exited {
    /// Of who lives.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// It has ended.
    pub(super) fn tell(&self, exit: Exit) {
        self.0.send_replace(Some(exit));
    }

    /// How it ended, if it has.
    pub(super) fn get(&self) -> Option<Exit> {
        *self.0.borrow()
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    /// Nothing is lost; the end is told to each who asks.
    pub(super) async fn wait(&self) -> Exit {
        let mut exit = self.0.subscribe();
        let exit = exit.wait_for(Option::is_some).await;
        exit.ok()
            .and_then(|exit| *exit)
            .expect("the sender lives in self, and what it sent is some")
    }
}
