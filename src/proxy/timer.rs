//! The bound of one call, by a timer of its own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// The bound of a call, which begins to run when it is first polled.
#[derive(Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether `after` has passed; without one it never does.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, after: Option<Duration>) -> Poll<Duration> {
        let Some(after) = after else {
            return Poll::Pending;
        };
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        sleep.as_mut().poll(cx).map(|()| after)
    }
}
