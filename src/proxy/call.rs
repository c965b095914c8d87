//! One call of one method: a future, and the other ways to make it.
//!
//! ```text
//!  Unsent ── poll ──> Waiting ── answer ──> Done
//!     └─ no room ─> Beginning ──┘
//! ```
//!
//! Dropped on the way, the call is cancelled: not begun at the callee, it is not run; running, it
//! finishes and its answer is discarded.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::task::coop;

use super::ambient::{self, chained};
use super::exchange::BeginError;
use super::failure::{CallError, Outcome, TryCallError};
use super::letter::{Letter, send_parcel};
use super::pending::Pending;
use super::target::Target;
use super::timer::Timer;
use super::{Bound, Caller};
use crate::sys::clock;
use crate::transport::spin::Vigil;
use crate::wire::attached::Attached;
use crate::wire::chain::Chain;
use crate::wire::codec::{self, Arguments, DecodeError, Message, Script};
use crate::wire::frame::{Head, Kind};
use crate::wire::hello::Mismatch;
use crate::wire::id::CallId;
use crate::wire::sink::{Spill, Written};
use crate::wire::view::{Reply, View};

/// Decodes a method's own error.
pub(crate) type DecodeFailure<E> = fn(&[u8]) -> Result<E, DecodeError>;

/// A call of one method, not made yet: await it, [`tell`](Call::tell) it or [`start`](Call::start)
/// it.
///
/// # Cancel safety
/// Dropped before its answer came, the call is cancelled: if the actor has not begun it, it never
/// will; if it has, it finishes and its answer is discarded.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     pub fn new() -> Self { Self(0) }
///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let counter = Counter::spawn().await?;
///     assert_eq!(counter.add(5).await?, 5);
///     counter.add(5).tell().await?;
///     let pending = counter.add(5).start();
///     assert_eq!(pending.await?, 15);
///     counter.shutdown().await
/// }
/// ```
#[must_use = "a call does nothing until it is awaited, told or started"]
pub struct Call<'a, Args, T, E = Infallible, K = Once> {
    pub(super) caller: Target<'a>,
    kind: Kind,
    method: u16,
    /// Kept until the call is sent.
    args: Option<Args>,
    failure: DecodeFailure<E>,
    timeout: Option<Duration>,
    /// Without a timeout it waits for the usual time.
    usual: bool,
    timer: Timer,
    stage: Stage,
    result: PhantomData<fn() -> (T, K)>,
}

/// What most methods are: running one twice may do something else than running it once.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a mark on a type: it has no values"
)]
pub enum Once {}

/// A call that waits for room.
pub(crate) type Beginning = Pin<Box<dyn Future<Output = Result<CallId, BeginError>> + Send>>;

/// How far a call is.
pub(crate) enum Stage {
    Unsent,
    Beginning(Beginning),
    Waiting(CallId, Vigil),
    Done,
}

impl Caller {
    /// The header of a call of `method`, but for its id.
    #[inline]
    fn head<E>(
        &self,
        kind: Kind,
        method: u16,
        timeout: Option<Duration>,
    ) -> Result<Head, CallError<E>> {
        let theirs = match kind {
            Kind::Construct => Ok(method),
            _ => self.theirs(method),
        };
        let mut head = match theirs {
            Ok(theirs) => Head::new(kind, theirs, CallId::NONE),
            Err(mismatch) => {
                let method = self.method_name(method);
                return Err(match mismatch {
                    Mismatch::Unknown => CallError::UnknownMethod { method },
                    Mismatch::Changed => CallError::Schema { method },
                });
            }
        };
        head.deadline = timeout.map(clock::after);
        Ok(head)
    }
}

impl<'a> Target<'a> {
    /// A call of any kind.
    #[inline]
    pub(crate) fn call_as<Args, T, E>(
        self,
        kind: Kind,
        method: u16,
        args: Args,
        failure: DecodeFailure<E>,
    ) -> Call<'a, Args, T, E> {
        let (args, stage) = (Some(args), Stage::Unsent);
        let (timeout, usual) = match self.bound() {
            Bound::Within(after) => (Some(after), true),
            Bound::Usual => (None, kind != Kind::Construct),
            Bound::Endless => (None, false),
        };
        let (timer, result) = (Timer::default(), PhantomData);
        Call {
            caller: self,
            kind,
            method,
            args,
            failure,
            timeout,
            usual,
            timer,
            stage,
            result,
        }
    }
}

/// Why a call was not sent at once.
enum Refused<E> {
    /// There is no room now. Who wants to wait gets the call as it was written.
    Full(Option<Box<Letter>>),
    Failed(CallError<E>),
}

/// What becomes of a call for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFull {
    /// It is kept as it was written, to be sent when there is.
    Wait,
    /// Its owner keeps it.
    GiveBack,
}

impl<Args: Arguments, T, E, K> Call<'_, Args, T, E, K> {
    /// Gives the call at most `after` from its first poll, or from [`start`](Call::start), to be
    /// answered.
    ///
    /// The bound travels: an actor that comes to the call too late does not run it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, CallError};
    /// # use std::time::Duration;
    /// async fn quick(call: Call<'_, (u64,), u64>) -> Result<u64, CallError> {
    ///     call.timeout(Duration::from_millis(50)).await
    /// }
    /// ```
    pub fn timeout(mut self, after: Duration) -> Self {
        self.timeout = Some(after);
        self
    }

    /// Lets the call take as long as it takes: neither the
    /// [usual bound](crate::set_default_timeout) nor its proxy's holds for it. A dead or stopped
    /// actor still ends it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, CallError};
    /// async fn patient(call: Call<'_, (u64,), u64>) -> Result<u64, CallError> {
    ///     call.no_timeout().await
    /// }
    /// ```
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self.usual = false;
        self
    }

    /// Whether the usual bound holds.
    #[inline]
    fn is_bounded(&self) -> bool {
        self.usual && self.timeout.is_none()
    }

    /// Makes the call one way: done when it is on its way to the actor, and nobody learns its
    /// result.
    ///
    /// An error of the method's own is logged at the actor. Delivery is at most once, in the order
    /// of this caller's calls and tells.
    ///
    /// # Errors
    /// [`CallError`] when it could not be sent.
    ///
    /// # Cancel safety
    /// Dropped before it is done, nothing was sent.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, CallError};
    /// async fn tell(call: Call<'_, (u64,), u64>) -> Result<(), CallError> {
    ///     call.tell().await
    /// }
    /// ```
    pub async fn tell(mut self) -> Result<(), CallError<E>> {
        self.kind = Kind::Tell;
        let timeout = self.timeout;
        let sent = std::future::poll_fn(|cx| self.poll_begin(cx));
        let Some(after) = timeout else {
            return sent.await.map(drop);
        };
        match tokio::time::timeout(after, sent).await {
            Ok(settled) => settled.map(drop),
            Err(_) => Err(CallError::Timeout {
                after,
                outcome: Outcome::NotRun,
            }),
        }
    }

    /// Makes the call one way if that is possible without waiting.
    ///
    /// # Errors
    /// [`TryCallError::Full`] gives the call back.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, TryCallError};
    /// fn tell_or_drop(call: Call<'_, (u64,), u64>) -> bool {
    ///     call.try_tell().is_ok()
    /// }
    /// ```
    pub fn try_tell(mut self) -> Result<(), TryCallError<Self, E>> {
        let kind = std::mem::replace(&mut self.kind, Kind::Tell);
        match self.try_begin(false, None, OnFull::GiveBack) {
            Ok(_) => Ok(()),
            Err(Refused::Failed(error)) => Err(TryCallError::Failed(error)),
            Err(Refused::Full(_)) => {
                self.kind = kind;
                Err(TryCallError::Full(self))
            }
        }
    }

    /// Sends the call, if there is room for it now.
    ///
    /// Of a call that its method's code `awaits`, the chain of those who wait goes with it.
    #[inline]
    fn try_begin(
        &mut self,
        awaits: bool,
        waker: Option<&Waker>,
        on_full: OnFull,
    ) -> Result<(CallId, Vigil), Refused<E>> {
        self.caller.settle();
        let chain = self.inherit(awaits).map_err(Refused::Failed)?;
        let Some(args) = &self.args else {
            return Err(Refused::Full(None));
        };
        let exchange = self.caller.exchange();
        let head = self
            .caller
            .head(self.kind, self.method, self.timeout)
            .map_err(Refused::Failed)?;
        let bounded = self.is_bounded();
        // What is sent is kept here, and not handed through those who write it: it is large, and
        // bytes that were just written would be copied at every step.
        let (mut begun, mut letter) = (Err(BeginError::Ended), None);
        let mut send = |head: Head, script: Script<'_>, attached: &Attached| {
            begun = exchange.try_begin(head, (&script, attached), bounded, waker);
            if matches!(begun, Err(BeginError::Full)) && on_full == OnFull::Wait {
                letter = Some(Letter::keep(head, script, attached));
            }
        };
        let (edge, mut draft) = exchange.draft();
        let spill = draft.as_mut().map(|draft| (edge, draft as &mut dyn Spill));
        let limit = self.caller.message_len_max();
        let written = codec::encode_by(args, limit, spill, |script, attached| match &chain {
            None => send(head, script, attached),
            Some(chain) => {
                let (head, mut body) = chained(head, script.keep(), chain);
                send(head, Script::of(&mut body), attached);
            }
        });
        match written {
            Ok(Written::Here(())) => {}
            Ok(Written::There(len, attached)) => {
                let parcel = draft.and_then(|draft| draft.seal(len));
                let send = |head: Head, script: Script<'_>| send(head, script, &attached);
                send_parcel(head, chain.as_ref(), parcel.as_ref(), send);
                Letter::enclose(&mut letter, parcel);
            }
            Err(source) => {
                let method = self.caller.method_name(self.method);
                return Err(Refused::Failed(CallError::Encode { method, source }));
            }
        }
        match begun {
            Ok(begun) => {
                self.args = None;
                Ok(begun)
            }
            Err(BeginError::Full) => Err(Refused::Full(letter)),
            Err(error) => Err(Refused::Failed(self.caller.not_begun(self.method, error))),
        }
    }

    /// Takes over what a call inherits that is made by a method: gives the chain of those who wait.
    #[inline]
    fn inherit(&mut self, awaits: bool) -> Result<Option<Chain>, CallError<E>> {
        match ambient::inherited() {
            Some(inherited) if self.kind == Kind::Call => {
                self.timeout = inherited.timeout(self.timeout)?;
                let exclusive = self.caller.is_exclusive(self.method);
                let callee = (self.caller.key(), exclusive);
                awaits.then(|| inherited.chain(callee)).transpose()
            }
            _ => Ok(None),
        }
    }

    /// Sends the call, waiting for room.
    #[inline]
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Result<(CallId, Vigil), CallError<E>>> {
        if let Stage::Unsent = self.stage {
            let progress = ready!(coop::poll_proceed(cx));
            progress.made_progress();
            let awaits = self.kind == Kind::Call;
            match self.try_begin(awaits, awaits.then_some(cx.waker()), OnFull::Wait) {
                Ok(begun) => return Poll::Ready(Ok(begun)),
                Err(Refused::Failed(error)) => return Poll::Ready(Err(error)),
                Err(Refused::Full(letter)) => {
                    self.stage = Stage::Beginning(self.begin_later(letter));
                }
            }
        }
        let Stage::Beginning(beginning) = &mut self.stage else {
            unreachable!("a call is begun once")
        };
        let begun = ready!(beginning.as_mut().poll(cx));
        let failed = |error| self.caller.not_begun(self.method, error);
        Poll::Ready(begun.map(|call| (call, Vigil::default())).map_err(failed))
    }

    /// A future that sends the call when there is room; its place in the queue is taken already.
    fn begin_later(&mut self, letter: Option<Box<Letter>>) -> Beginning {
        self.args = None;
        let letter = letter.expect("a call that is to wait is kept as it was written");
        let ticket = self.caller.exchange().queue_up(self.is_bounded());
        Box::pin(letter.begin(ticket))
    }
}

impl<Args: Arguments, T: Reply, E, K> Call<'_, Args, T, E, K> {
    /// Makes the call now, and gives its result as a value: running, like a `JoinHandle`.
    ///
    /// # Panics
    /// Outside a tokio runtime, when the call has to wait for room.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, CallError};
    /// async fn both(a: Call<'_, (), u64>, b: Call<'_, (), u64>) -> Result<u64, CallError> {
    ///     let (a, b) = (a.start(), b.start());   // both run
    ///     Ok(a.await? + b.await?)
    /// }
    /// ```
    pub fn start(mut self) -> Pending<T, E> {
        let begun = match self.try_begin(false, None, OnFull::Wait) {
            Ok((call, vigil)) => Ok(Stage::Waiting(call, vigil)),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Full(letter)) => {
                let beginning = self.begin_later(letter);
                let caller = Caller::clone(&self.caller);
                let (method, timeout) = (self.method, self.timeout);
                return Pending::later(caller, method, self.failure, timeout, beginning);
            }
        };
        Pending::new(
            Caller::clone(&self.caller),
            self.method,
            self.failure,
            self.timeout,
            begun,
        )
    }

    /// Makes the call now, if that is possible without waiting.
    ///
    /// # Errors
    /// [`TryCallError::Full`] gives the call back.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, Pending, TryCallError};
    /// fn start(call: Call<'_, (u64,), u64>) -> Option<Pending<u64>> {
    ///     call.try_start().ok()
    /// }
    /// ```
    pub fn try_start(mut self) -> Result<Pending<T, E>, TryCallError<Self, E>> {
        match self.try_begin(false, None, OnFull::GiveBack) {
            Ok((call, vigil)) => {
                let begun = Ok(Stage::Waiting(call, vigil));
                let caller = Caller::clone(&self.caller);
                Ok(Pending::new(
                    caller,
                    self.method,
                    self.failure,
                    self.timeout,
                    begun,
                ))
            }
            Err(Refused::Failed(error)) => Err(TryCallError::Failed(error)),
            Err(Refused::Full(_)) => Err(TryCallError::Full(self)),
        }
    }

    #[inline]
    fn poll_stages(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, CallError<E>>> {
        if !matches!(self.stage, Stage::Waiting(..)) {
            let begun = ready!(self.poll_begin(cx));
            match begun {
                Ok((call, mut vigil)) => {
                    let is_parked = vigil.take_parked();
                    self.stage = Stage::Waiting(call, vigil);
                    if is_parked {
                        return Poll::Pending;
                    }
                }
                Err(error) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let Stage::Waiting(call, vigil) = &mut self.stage else {
            unreachable!("the call was begun above")
        };
        let caller = &*self.caller;
        let result = ready!(caller.poll_result(cx, self.method, self.failure, (*call, vigil)));
        self.stage = Stage::Done;
        Poll::Ready(result)
    }
}

impl<Args: Arguments, T: Reply, E, K> Future for Call<'_, Args, T, E, K> {
    type Output = Result<T, CallError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = self.get_mut();
        assert!(
            !matches!(call.stage, Stage::Done),
            "a call is not polled after its result"
        );
        if let Poll::Ready(result) = call.poll_stages(cx) {
            return Poll::Ready(result);
        }
        let after = ready!(call.timer.poll(cx, call.timeout));
        let outcome = call.give_up();
        Poll::Ready(Err(CallError::Timeout { after, outcome }))
    }
}

impl<'a, Args, T: Message, E, K> Call<'a, Args, T, E, K> {
    /// The same call with its result where it lies: awaited, it gives a [`View`], and nothing is
    /// deserialised.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{Call, CallError};
    /// async fn count(call: Call<'_, (), Vec<String>>) -> Result<usize, CallError> {
    ///     let names = call.view().await?;
    ///     Ok(names.iter().filter(|name| name.starts_with("a")).count())
    /// }
    /// ```
    pub fn view(self) -> Call<'a, Args, View<T>, E, K> {
        self.turned()
    }
}

impl<Args, T, E, K> Call<'_, Args, T, E, K> {
    /// The arguments, until the call is sent.
    pub(super) fn args_mut(&mut self) -> Option<&mut Args> {
        self.args.as_mut()
    }

    /// Without a bound of its own or of its proxy's it takes as long as it takes.
    pub(super) fn patient(mut self) -> Self {
        self.usual = false;
        self
    }

    /// Who calls which method, and how its errors are read. From now on it goes to this one.
    pub(super) fn parts(&mut self) -> (&Caller, u16, DecodeFailure<E>) {
        self.caller.settle();
        (&self.caller, self.method, self.failure)
    }

    /// The same call, as far as it is, by this target and with another type of result or mark.
    pub(super) fn turned_to<U, L>(mut self, caller: Target<'_>) -> Call<'_, Args, U, E, L> {
        Call {
            caller,
            kind: self.kind,
            method: self.method,
            args: self.args.take(),
            failure: self.failure,
            timeout: self.timeout,
            usual: self.usual,
            timer: std::mem::take(&mut self.timer),
            stage: std::mem::replace(&mut self.stage, Stage::Done),
            result: PhantomData,
        }
    }
}

impl<Args, T, E, K> Call<'_, Args, T, E, K> {
    /// Cancels the call, if it was sent and not answered; gives what is known of it then.
    fn give_up(&mut self) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Waiting(call, _) => self.caller.exchange().cancel(call),
            _ => Outcome::NotRun,
        }
    }
}

impl<Args: Clone, T, E, K> Call<'_, Args, T, E, K> {
    /// The same call, not made yet, while this one has not been made either.
    pub(super) fn again(&self) -> Self {
        Call {
            caller: self.caller.clone(),
            kind: self.kind,
            method: self.method,
            args: self.args.clone(),
            failure: self.failure,
            timeout: self.timeout,
            usual: self.usual,
            timer: Timer::default(),
            stage: Stage::Unsent,
            result: PhantomData,
        }
    }
}

impl<Args, T, E, K> Drop for Call<'_, Args, T, E, K> {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Nothing in a call is pinned: its parts are moved freely.
impl<Args, T, E, K> Unpin for Call<'_, Args, T, E, K> {}

impl<Args, T, E, K> fmt::Debug for Call<'_, Args, T, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.caller.method_name(self.method);
        f.debug_struct("Call")
            .field("method", &method)
            .finish_non_exhaustive()
    }
}
