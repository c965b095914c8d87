//! A started call as a value: what the source documents call AsyncResult.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Caller;
use super::call::{Beginning, DecodeFailure, Stage};
use super::exchange::BeginError;
use super::failure::{CallError, Outcome};
use super::feeding::Feeding;
use super::timer::Timer;
use crate::transport::spin::Vigil;
use crate::wire::codec::Message;
use crate::wire::id::CallId;
use crate::wire::view::{Reply, View};

/// The result of a call that runs: await it, look whether it is there, or drop it to cancel the
/// call.
///
/// It keeps the actor alive, as a proxy does.
///
/// # Cancel safety
/// Awaiting `&mut pending` may be dropped and taken up again. Dropping the value itself cancels the
/// call: not begun, it is not run; running, it finishes and its answer is discarded.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Sleeper;
///
/// #[actor]
/// impl Sleeper {
///     pub fn new() -> Self { Self }
///     pub async fn nap(&self, ms: u64) -> u64 {
///         tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
///         ms
///     }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let sleeper = Sleeper::spawn().await?;
///     let a = sleeper.nap(50).start();
///     let b = sleeper.nap(50).start();
///     assert!(!a.is_ready());
///     assert_eq!((a.await?, b.map(|ms| ms + 1).await?), (50, 51));
///     sleeper.shutdown().await
/// }
/// ```
#[must_use = "dropping a pending result cancels its call"]
pub struct Pending<T, E = Infallible> {
    caller: Caller,
    method: u16,
    failure: DecodeFailure<E>,
    timeout: Option<Duration>,
    /// When the timeout is over; none: never.
    deadline: Option<Instant>,
    timer: Timer,
    progress: Progress<E>,
    /// The streams that it takes; they end with it, unless its method may have kept them.
    feeding: Option<Box<Feeding>>,
    result: PhantomData<fn() -> T>,
}

enum Progress<E> {
    /// Waits for room in a task of its own.
    Queued(JoinHandle<()>, Arc<Mutex<Queued>>),
    Waiting(CallId, Vigil),
    Failed(CallError<E>),
    Done,
}

/// A call that waits for room. Whoever has the lock moves it on: the task, or who gives it up.
enum Queued {
    Beginning(Beginning),
    Begun(Result<CallId, BeginError>),
    GivenUp,
}

impl Queued {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Beginning(beginning) = self {
            let begun = ready!(beginning.as_mut().poll(cx));
            *self = Self::Begun(begun);
        }
        Poll::Ready(())
    }
}

fn lock(queued: &Mutex<Queued>) -> MutexGuard<'_, Queued> {
    // A panic while a call begins leaves it not begun.
    queued.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a call that is made now is late.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    let timeout = timeout?;
    Instant::now().checked_add(timeout)
}

impl<T, E> Pending<T, E> {
    pub(super) fn new(
        caller: Caller,
        method: u16,
        failure: DecodeFailure<E>,
        timeout: Option<Duration>,
        begun: Result<Stage, CallError<E>>,
    ) -> Self {
        let progress = match begun {
            Ok(Stage::Waiting(call, vigil)) => Progress::Waiting(call, vigil),
            Ok(_) => Progress::Done,
            Err(error) => Progress::Failed(error),
        };
        let (deadline, timer, result) = (deadline(timeout), Timer::default(), PhantomData);
        Self {
            caller,
            method,
            failure,
            timeout,
            deadline,
            timer,
            progress,
            feeding: None,
            result,
        }
    }

    /// A call that `beginning` sends when there is room.
    pub(super) fn later(
        caller: Caller,
        method: u16,
        failure: DecodeFailure<E>,
        timeout: Option<Duration>,
        beginning: Beginning,
    ) -> Self {
        let queued = Arc::new(Mutex::new(Queued::Beginning(beginning)));
        let task = {
            let queued = Arc::clone(&queued);
            let begin = std::future::poll_fn(move |cx| lock(&queued).poll(cx));
            caller.spawn(begin)
        };
        let (deadline, timer, result) = (deadline(timeout), Timer::default(), PhantomData);
        let progress = Progress::Queued(task, queued);
        Self {
            caller,
            method,
            failure,
            timeout,
            deadline,
            timer,
            progress,
            feeding: None,
            result,
        }
    }

    /// A call that has failed before it began.
    pub(super) fn failed(
        caller: Caller,
        method: u16,
        failure: DecodeFailure<E>,
        error: CallError<E>,
    ) -> Self {
        Self::new(caller, method, failure, None, Err(error))
    }

    /// The same, with the streams that the call takes.
    pub(super) fn with_feeding(mut self, feeding: Feeding) -> Self {
        self.feeding = Some(Box::new(feeding));
        self
    }

    /// Whether awaiting would give the result, or an error, at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self
            .deadline
            .is_some_and(|deadline| deadline <= Instant::now())
        {
            return true;
        }
        match &self.progress {
            Progress::Queued(_, queued) => match *lock(queued) {
                Queued::Begun(Ok(call)) => self.caller.exchange().is_settled(call),
                Queued::Begun(Err(_)) => true,
                Queued::Beginning(_) | Queued::GivenUp => false,
            },
            Progress::Waiting(call, _) => self.caller.exchange().is_settled(*call),
            Progress::Failed(_) | Progress::Done => true,
        }
    }

    /// The same result where it lies: awaited, it gives a [`View`], and nothing is deserialised.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, Pending};
    /// async fn total(numbers: Pending<Vec<u64>>) -> Result<u64, CallError> {
    ///     let numbers = numbers.view().await?;
    ///     Ok(numbers.iter().map(|number| number.to_native()).sum())
    /// }
    /// ```
    pub fn view(mut self) -> Pending<View<T>, E>
    where
        T: Message,
    {
        Pending {
            caller: self.caller.clone(),
            method: self.method,
            failure: self.failure,
            timeout: self.timeout,
            deadline: self.deadline,
            timer: std::mem::take(&mut self.timer),
            progress: std::mem::replace(&mut self.progress, Progress::Done),
            feeding: self.feeding.take(),
            result: PhantomData,
        }
    }

    /// Cancels the call, unless its result was taken.
    fn give_up(&mut self) -> Outcome {
        let call = match std::mem::replace(&mut self.progress, Progress::Done) {
            Progress::Waiting(call, _) => call,
            Progress::Queued(task, queued) => {
                task.abort();
                match std::mem::replace(&mut *lock(&queued), Queued::GivenUp) {
                    Queued::Begun(Ok(call)) => call,
                    _ => return Outcome::NotRun,
                }
            }
            Progress::Failed(_) | Progress::Done => return Outcome::NotRun,
        };
        self.caller.exchange().cancel(call)
    }

    /// Moves on from the queue, if the call was sent.
    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Progress::Queued(task, queued) = &mut self.progress else {
            return Poll::Ready(());
        };
        // Aborted only with its runtime; what it leaves is in `queued`.
        let _ = ready!(Pin::new(task).poll(cx));
        let begun = std::mem::replace(&mut *lock(queued), Queued::GivenUp);
        self.progress = match begun {
            Queued::Begun(Ok(call)) => Progress::Waiting(call, Vigil::default()),
            Queued::Begun(Err(error)) => {
                Progress::Failed(self.caller.not_begun(self.method, error))
            }
            Queued::Beginning(_) | Queued::GivenUp => {
                Progress::Failed(self.caller.not_begun(self.method, BeginError::Ended))
            }
        };
        Poll::Ready(())
    }
}

impl<T: Reply, E> Pending<T, E> {
    /// Waits at most `timeout` for the result; true if it is there. The call goes on in either
    /// case.
    ///
    /// # Cancel safety
    /// Nothing is lost: the call goes on.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, Pending};
    /// # use std::time::Duration;
    /// async fn soon(mut pending: Pending<u64>) -> Result<Option<u64>, CallError> {
    ///     if pending.wait(Duration::from_millis(10)).await {
    ///         return pending.await.map(Some);
    ///     }
    ///     Ok(None)
    /// }
    /// ```
    pub async fn wait(&mut self, timeout: Duration) -> bool {
        let settled = std::future::poll_fn(|cx| {
            if self.is_ready() {
                return Poll::Ready(());
            }
            ready!(self.poll_queue(cx));
            if let Progress::Waiting(call, _) = self.progress {
                self.caller.exchange().poll_settled(cx, call)
            } else {
                Poll::Ready(())
            }
        });
        tokio::time::timeout(timeout, settled).await.is_ok()
    }

    /// A future of the result as `change` makes it.
    ///
    /// # Errors
    /// The call's own.
    ///
    /// # Cancel safety
    /// Dropped, the call is cancelled.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{CallError, Pending};
    /// async fn doubled(pending: Pending<u64>) -> Result<u64, CallError> {
    ///     pending.map(|value| value * 2).await
    /// }
    /// ```
    pub async fn map<U>(self, change: impl FnOnce(T) -> U) -> Result<U, CallError<E>> {
        self.await.map(change)
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, CallError<E>>> {
        ready!(self.poll_queue(cx));
        let result = match std::mem::replace(&mut self.progress, Progress::Done) {
            Progress::Waiting(call, mut vigil) => {
                let (method, failure) = (self.method, self.failure);
                match self
                    .caller
                    .poll_result(cx, method, failure, (call, &mut vigil))
                {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        self.progress = Progress::Waiting(call, vigil);
                        return Poll::Pending;
                    }
                }
            }
            Progress::Failed(error) => Err(error),
            Progress::Queued(..) | Progress::Done => {
                panic!("a pending result is not polled after it was given")
            }
        };
        Poll::Ready(result)
    }
}

impl<T: Reply, E> Future for Pending<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let pending = self.get_mut();
        if let Poll::Ready(result) = pending.poll_progress(cx) {
            if let Some(feeding) = &mut pending.feeding {
                feeding.after(&result);
            }
            return Poll::Ready(result);
        }
        let Some((after, deadline)) = pending.timeout.zip(pending.deadline) else {
            return Poll::Pending;
        };
        let rest = deadline.saturating_duration_since(Instant::now());
        ready!(pending.timer.poll(cx, Some(rest)));
        let outcome = pending.give_up();
        Poll::Ready(Err(CallError::Timeout { after, outcome }))
    }
}

impl<T, E> Drop for Pending<T, E> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Nothing in it is pinned: its parts are moved freely.
impl<T, E> Unpin for Pending<T, E> {}

impl<T, E> fmt::Debug for Pending<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("is_ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}
