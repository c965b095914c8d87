//! What a program does that is asked to end by a signal: its actors end in order first.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::census;
use crate::sys::process::ignores;

/// What ends programs from outside: Ctrl-C, `kill`, the end of the terminal.
const ENDING: [SignalKind; 3] = [
    SignalKind::interrupt(),
    SignalKind::terminate(),
    SignalKind::hangup(),
];

/// Whether a signal has come that asks the program to end.
#[derive(Clone, Debug)]
pub(super) struct Asked(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The signal's number; 0 until it has come.
    signal: AtomicI32,
    /// Whoever is not to go on then.
    waker: AtomicWaker,
}

/// A signal asked the program to end, and its actors have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    signal: i32,
}

impl Ended {
    /// What a shell would say of the signal.
    pub(super) fn exit_code(self) -> i32 {
        128 + self.signal
    }
}

impl Asked {
    /// Begins to listen, by a task of this runtime.
    ///
    /// # Errors
    /// The system's: no descriptors.
    pub(super) fn listen() -> io::Result<Self> {
        let asked = Self(Arc::default());
        let mut signals = hear()?;
        let state = Arc::clone(&asked.0);
        tokio::spawn(async move {
            let number = next(&mut signals).await;
            state.signal.store(number, Ordering::Relaxed);
            state.waker.wake();
            // Whoever asks twice is in a hurry: the actors end with this process.
            let number = next(&mut signals).await;
            leave(Ended { signal: number }.exit_code());
        });
        Ok(asked)
    }

    /// Runs `main` to its end, or until a signal has come. It is not polled after that, and costs
    /// nothing before: the waker is left once, for the one task that runs a `main`.
    ///
    /// # Errors
    /// [`Ended`] after a signal, when the actors are gone as well.
    pub(super) async fn or<T>(&self, main: impl Future<Output = T>) -> Result<T, Ended> {
        let Self(state) = self;
        let mut main = std::pin::pin!(main);
        let mut is_left = false;
        let ran = poll_fn(|cx| {
            if !is_left {
                state.waker.register(cx.waker());
                is_left = true;
            }
            match state.signal.load(Ordering::Relaxed) {
                0 => main.as_mut().poll(cx).map(Ok),
                signal => Poll::Ready(Err(Ended { signal })),
            }
        });
        let ran = ran.await;
        if ran.is_err() {
            census::shutdown_all().await;
        }
        ran
    }
}

/// Those that ask the process to end, and are not ignored by it.
///
/// # Errors
/// The system's: no descriptors.
fn hear() -> io::Result<Vec<(i32, Signal)>> {
    let heard = ENDING
        .into_iter()
        .filter(|kind| !ignores(kind.as_raw_value()));
    let signals = heard.map(|kind| Ok((kind.as_raw_value(), signal(kind)?)));
    signals.collect()
}

/// Waits for `other`, or for a signal that asks the process to end.
pub(super) async fn or_signal(other: impl Future<Output = ()>) {
    let Ok(mut signals) = hear() else {
        // They end the program then as they end any other.
        return other.await;
    };
    tokio::select! {
        () = other => {}
        signal = next(&mut signals) => tracing::info!(signal, "the program is asked to end"),
    }
}

/// The next signal of several.
async fn next(signals: &mut [(i32, Signal)]) -> i32 {
    poll_fn(|cx| {
        let heard = signals
            .iter_mut()
            .find_map(|(number, signal)| signal.poll_recv(cx).is_ready().then_some(*number));
        heard.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Ends the process with what has been printed flushed.
pub(super) fn leave(code: i32) -> ! {
    #[expect(
        clippy::disallowed_methods,
        reason = "a program that a signal has ended has a code of its own"
    )]
    std::process::exit(code)
}
