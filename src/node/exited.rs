//! How an actor has ended, told to each who asks, before or after.

use std::pin::Pin;

use tokio::sync::watch;

use crate::sys::process::Exit;

/// See the module.
#[derive(Debug)]
pub(crate) struct Exited(watch::Sender<Option<Exit>>);

impl Exited {
    /// Of who lives.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// It has ended.
    pub(crate) fn tell(&self, exit: Exit) {
        self.0.send_replace(Some(exit));
    }

    /// How it ended, if it has.
    pub(crate) fn get(&self) -> Option<Exit> {
        *self.0.borrow()
    }

    /// It has ended, unless that was told before. Whoever waits is woken once.
    pub(crate) fn tell_first(&self, exit: Exit) {
        self.0.send_if_modified(|told| {
            let is_first = told.is_none();
            *told = told.or(Some(exit));
            is_first
        });
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    /// Nothing is lost; the end is told to each who asks.
    pub(crate) async fn wait(&self) -> Exit {
        wait(self.0.subscribe()).await
    }

    /// Waits for its end, or until somebody has `asked` for that.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn or_asked(&self, asked: &watch::Sender<bool>) {
        let mut asked = asked.subscribe();
        tokio::select! {
            _ = self.wait() => {}
            // Its sender is borrowed.
            _ = asked.wait_for(|asked| *asked) => {}
        }
    }

    /// The same for whoever does not keep it: one that goes without a word was dropped.
    pub(crate) fn awaited(&self) -> Pin<Box<dyn Future<Output = Exit> + Send>> {
        Box::pin(wait(self.0.subscribe()))
    }
}

async fn wait(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    let exit = exit.wait_for(Option::is_some).await;
    exit.ok().and_then(|exit| *exit).unwrap_or(Exit::Dropped)
}
