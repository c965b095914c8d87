//! Hooks: the actor's own code at the turns of its life.
//!
//! ```text
//!  construct ─> restart ─> start ─> enter ─> calls, ticks, errors ─> exit ─> stop ─> drop
//!                                                └─ panic ─> failure ─────────────> drop
//! ```
//!
//! Restart, start, stop and failure run when nothing else does. The others are calls that the actor
//! makes to itself, and so run by the rule of the borrow. Which hooks there are is known to the
//! compiler: an actor without any pays for none.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::timeout;

use super::Actor;
use super::incoming::Incoming;
use super::legacy::{Heir, Left, Legacy};
use super::own::Job;
use super::panic::{caught, caught_now};
use super::replies::Answer;
use super::server::{End, Work};
use crate::wire::codec;
use crate::wire::frame::Kind;
use crate::wire::interface::{ASK, ENTER, EXIT};
use crate::wire::report::PanicReport;

/// How long an actor that has failed may take over its hook: those who called it still wait.
const FAILURE_MAX: Duration = Duration::from_secs(5);

/// A turn in an actor's life.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the macros write it down")]
pub enum Moment {
    /// Before the first call.
    Start,
    /// After the last call, if the actor has not failed.
    Stop,
    /// A method has panicked.
    Failure,
    /// A method has returned its error, and nobody is told.
    Error,
    /// A call of a method that there is not.
    Unhandled,
    /// The beginning of a scope.
    Enter,
    /// The end of a scope.
    Exit,
    /// Before the first call of a life that was left something.
    Restart,
    /// A caller that does not own the actor asks for its end.
    EndAsked,
}

/// Which hooks an actor has, and which of them take `&mut self`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Hooks {
    present: u16,
    exclusive: u16,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self = Self {
        present: 0,
        exclusive: 0,
    };

    /// The same, and the hook of `moment`.
    #[must_use]
    pub const fn with(self, moment: Moment) -> Self {
        Self {
            present: self.present | 1 << moment as u16,
            ..self
        }
    }

    /// The same, where the hook of `moment` takes `&mut self`.
    #[must_use]
    pub const fn exclusive(self, moment: Moment) -> Self {
        Self {
            exclusive: self.exclusive | 1 << moment as u16,
            ..self
        }
    }

    /// Whether there is one for this moment.
    pub(crate) const fn has(self, moment: Moment) -> bool {
        self.present & 1 << moment as u16 != 0
    }

    /// Whether the hook of this moment runs alone.
    pub(super) const fn is_exclusive(self, moment: Moment) -> bool {
        self.exclusive & 1 << moment as u16 != 0
    }
}

/// What the actor's own code is told at a turn of its life.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the macros match on it")]
pub enum Hook<'a> {
    /// Before the first call.
    Start,
    /// After the last one.
    Stop(Heir<'a>),
    /// A method has panicked.
    Failure(&'a PanicReport, Heir<'a>),
    /// Before the first call of a life that was left this.
    Restart(Left<'a>),
    /// A method's error that nobody is told.
    Error(&'a MethodError),
    /// A call of a method that there is not.
    Unhandled(&'a UnknownCall),
    /// The beginning of a scope.
    Enter,
    /// The end of a scope, and the error that ended it.
    Exit(Option<&'a str>),
    /// A caller that does not own the actor asks for its end.
    EndAsked,
    /// It is time for the periodic method of this number.
    Tick(u16),
}

/// A periodic method of an actor.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    pub(super) name: &'static str,
    pub(super) exclusive: bool,
}

impl Timer {
    /// The timer of a method that takes `&self`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            exclusive: false,
        }
    }

    /// The same, taking `&mut self`.
    #[must_use]
    pub const fn exclusive(self) -> Self {
        Self {
            exclusive: true,
            ..self
        }
    }
}

/// An error of a method that nobody waits for: the method was told, or it is a periodic one.
///
/// The hook `#[on_error]` is given it. See [`actor`](macro@crate::actor).
///
/// # Examples
/// ```
/// fn line(error: &callboard::MethodError) -> String {
///     format!("{}: {}", error.method(), error.message())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodError {
    pub(super) method: &'static str,
    pub(super) message: String,
}

impl MethodError {
    /// The method's name.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// What the error says of itself and its causes; if it says nothing, its `Debug`; if it has
    /// not even that, its type.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` returned an error: {}", self.method, self.message)
    }
}

/// A call of a method that this actor does not have: a caller's program is another build, or lies.
///
/// The hook `#[on_unhandled]` is given it; the caller has been told
/// [`UnknownMethod`](crate::CallError::UnknownMethod). See [`actor`](macro@crate::actor).
///
/// # Examples
/// ```
/// fn line(call: &callboard::UnknownCall) -> String {
///     format!("somebody called method {}", call.number())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCall {
    pub(super) number: u16,
    pub(super) told: bool,
}

impl UnknownCall {
    /// The number under which it was called: the place that the method would have among this
    /// actor's.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether it was told, so that its caller does not hear of the mistake.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told
    }
}

impl fmt::Display for UnknownCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no method with the number {}", self.number)
    }
}

/// What a call means that is none of the actor's methods.
pub(super) enum Meant<'a> {
    Tick(u16),
    Error(&'a MethodError),
    Unhandled(&'a UnknownCall),
    Enter,
    Exit(Option<String>),
    EndAsked,
}

impl<'a> Meant<'a> {
    /// None: it is a call of a method that there is not.
    pub(super) fn of<A: Actor>(work: &'a Work) -> Option<Self> {
        match work.job() {
            Some(Job::Tick { timer, .. }) => Some(Self::Tick(*timer)),
            Some(Job::Error(error)) => Some(Self::Error(error)),
            Some(Job::Unhandled(call)) => Some(Self::Unhandled(call)),
            None => match moment::<A>(work)? {
                // A scope that cannot say why it ended has ended all the same.
                Moment::Exit => Some(Self::Exit(
                    codec::decode::<(Option<String>,)>(&work.body).map_or(None, |(error,)| error),
                )),
                Moment::EndAsked => Some(Self::EndAsked),
                _ => Some(Self::Enter),
            },
        }
    }

    fn hook(&self) -> Hook<'_> {
        match self {
            Self::Tick(timer) => Hook::Tick(*timer),
            Self::Error(error) => Hook::Error(error),
            Self::Unhandled(call) => Hook::Unhandled(call),
            Self::Enter => Hook::Enter,
            Self::Exit(error) => Hook::Exit(error.as_deref()),
            Self::EndAsked => Hook::EndAsked,
        }
    }
}

/// The turn that a call announces: of a scope, or of a wish.
fn moment<A: Actor>(work: &Work) -> Option<Moment> {
    let moment = match work.head.method {
        ENTER => Moment::Enter,
        EXIT => Moment::Exit,
        ASK => Moment::EndAsked,
        _ => return None,
    };
    A::HOOKS.has(moment).then_some(moment)
}

/// Whether a call that no method has is to be run as a hook.
#[inline]
pub(super) fn is_meant<A: Actor>(work: &Work) -> bool {
    if !const { has_own::<A>() } {
        return false;
    }
    work.job().is_some() || moment::<A>(work).is_some()
}

/// Whether such a call runs alone.
#[inline]
pub(super) fn is_exclusive<A: Actor>(work: &Work) -> bool {
    if !const { has_own::<A>() } {
        return false;
    }
    match work.job() {
        Some(Job::Tick { timer, .. }) => A::TIMERS
            .get(usize::from(*timer))
            .is_some_and(|timer| timer.exclusive),
        Some(Job::Error(_)) => A::HOOKS.is_exclusive(Moment::Error),
        Some(Job::Unhandled(_)) => A::HOOKS.is_exclusive(Moment::Unhandled),
        None => moment::<A>(work).is_some_and(|moment| A::HOOKS.is_exclusive(moment)),
    }
}

/// Whether an actor is called by anything but its methods' callers.
pub(super) const fn has_own<A: Actor>() -> bool {
    calls_itself::<A>()
        || A::HOOKS.has(Moment::Enter)
        || A::HOOKS.has(Moment::Exit)
        || A::HOOKS.has(Moment::EndAsked)
}

/// Whether an actor calls itself.
pub(super) const fn calls_itself<A: Actor>() -> bool {
    !A::TIMERS.is_empty() || has_notes::<A>()
}

/// Whether an actor is told of calls that went wrong.
pub(super) const fn has_notes<A: Actor>() -> bool {
    A::HOOKS.has(Moment::Error) || A::HOOKS.has(Moment::Unhandled)
}

/// Runs what a call that no method has means to an actor whose hooks and timers take `&mut self`.
#[doc(hidden)]
pub async fn run_exclusive<A: Actor>(actor: &mut A, call: Incoming<'_>) -> Answer {
    let Some(meant) = Meant::of::<A>(call.work()) else {
        return call.unknown();
    };
    let result = actor.hook(meant.hook()).await;
    answer::<A>(call, &meant, result)
}

/// The same for those that take `&self`.
#[doc(hidden)]
pub async fn run_shared<A: Actor>(actor: &A, call: Incoming<'_>) -> Answer {
    let Some(meant) = Meant::of::<A>(call.work()) else {
        return call.unknown();
    };
    let result = actor.hook_shared(meant.hook()).await;
    answer::<A>(call, &meant, result)
}

fn answer<A: Actor>(call: Incoming<'_>, meant: &Meant<'_>, result: Result<(), String>) -> Answer {
    match (meant, result) {
        (Meant::Enter | Meant::Exit(_), Ok(())) => call.answer(Kind::Reply, &()),
        (Meant::EndAsked, Ok(())) => call.ask(),
        // It says no: nobody else is told.
        (Meant::Enter | Meant::Exit(_) | Meant::EndAsked, Err(error)) => {
            call.answer(Kind::Failure, &error)
        }
        (_, Ok(())) => Answer(None),
        (Meant::Tick(timer), Err(message)) => {
            let timer = A::TIMERS.get(usize::from(*timer));
            let method = timer.map_or("?", |timer| timer.name);
            tracing::warn!(
                method,
                error = message,
                "a periodic method returned its error"
            );
            if A::HOOKS.has(Moment::Error) {
                call.note(Job::Error(MethodError { method, message }));
            }
            Answer(None)
        }
        (_, Err(error)) => {
            tracing::error!(error, "a hook returned an error");
            Answer(None)
        }
    }
}

/// Why an actor did not start although it was constructed.
pub(super) enum NotStarted {
    /// Its hook returned an error, which said this.
    Error(String),
    Panicked(PanicReport),
}

/// Runs the hooks before the first call.
///
/// # Errors
/// [`NotStarted`] when one of them fails.
pub(super) async fn start<A: Actor>(
    actor: &mut A,
    legacy: Option<&Legacy>,
) -> Result<(), NotStarted> {
    if A::HOOKS.has(Moment::Restart)
        && let Some(left) = legacy.and_then(Legacy::take)
    {
        succeed(caught(actor.hook(Hook::Restart(Left(&left)))).await)?;
    }
    if !A::HOOKS.has(Moment::Start) {
        return Ok(());
    }
    crate::sys::failpoint::at("hook.start.before");
    let started = caught(actor.hook(Hook::Start)).await;
    crate::sys::failpoint::at("hook.start.after");
    succeed(started)
}

fn succeed(run: Result<Result<(), String>, PanicReport>) -> Result<(), NotStarted> {
    match run {
        Ok(result) => result.map_err(NotStarted::Error),
        Err(report) => Err(NotStarted::Panicked(report)),
    }
}

/// Runs the hook after the last call.
///
/// # Errors
/// What it panicked with.
pub(super) async fn stop<A: Actor>(
    actor: &mut A,
    legacy: Option<&Legacy>,
) -> Result<(), PanicReport> {
    if !A::HOOKS.has(Moment::Stop) {
        return Ok(());
    }
    crate::sys::failpoint::at("hook.stop.before");
    let stopped = caught(actor.hook(Hook::Stop(Heir(legacy)))).await;
    crate::sys::failpoint::at("hook.stop.after");
    stopped.map(|result| {
        if let Err(error) = result {
            tracing::error!(error, "`on_stop` returned an error");
        }
    })
}

/// Runs the hook after a panic; whatever becomes of it, the actor ends.
pub(super) async fn fail<A: Actor>(actor: &mut A, report: &PanicReport, legacy: Option<&Legacy>) {
    if !A::HOOKS.has(Moment::Failure) {
        return;
    }
    let hook = caught(actor.hook(Hook::Failure(report, Heir(legacy))));
    match timeout(FAILURE_MAX, hook).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(error, "`on_failure` returned an error"),
        Ok(Err(panic)) => tracing::error!(%panic, "`on_failure` panicked"),
        Err(_) => tracing::error!(after = ?FAILURE_MAX, "`on_failure` was given up"),
    }
}

/// Does what is to be done before the actor is dropped; one that failed does not take long over it.
pub(super) async fn before_end(end: &End, last: impl Future<Output = ()>) {
    if matches!(end, End::Panicked(_)) {
        if timeout(FAILURE_MAX, last).await.is_err() {
            tracing::error!(after = ?FAILURE_MAX, "what an actor had started was left behind");
        }
    } else {
        last.await;
    }
}

/// Drops the actor.
///
/// # Errors
/// What that panicked with.
pub(super) fn end<A: Actor>(actor: A) -> Result<(), PanicReport> {
    caught_now(|| drop(actor))
}
