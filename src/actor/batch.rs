//! Calls of one method that run together: gathered, opened, and each answered by itself.
//!
//! ```text
//!  a  a  a  b  a     what is queued, from the front on
//!  └──┬──┘
//!   [a a a] ─> one run ─> an answer for each     then b, then a
//! ```
//!
//! Nothing is waited for, and nothing is overtaken: the run ends before the first call of another
//! method.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::Actor;
use super::inbox::{Inbox, Until};
use super::incoming::Incoming;
use super::own::Own;
use super::port::is_wanted;
use super::replies::Answer;
use super::server::Work;
use crate::wire::chain::Chain;
use crate::wire::codec::{self, DecodeError, Message};
use crate::wire::report::Refusal;

/// At how many bytes of arguments no further call is added.
const BYTES_MAX: usize = 1 << 20;

/// The calls that run together with another one.
#[derive(Debug)]
pub(super) struct Beside {
    calls: Vec<Work>,
    /// Those who wait for one of them or for the first.
    chain: Option<Chain>,
    /// How many are answered, with the first one and in their order.
    answered: AtomicUsize,
}

impl Beside {
    /// Until when somebody waits for one of them, or for the first, which has `deadline`.
    pub(super) fn deadline(&self, deadline: Option<u64>) -> Option<u64> {
        let all = self.calls.iter().map(|work| work.head.deadline);
        // None is no deadline, and no deadline is later than any.
        all.fold(deadline, |latest, deadline| Some(latest?.max(deadline?)))
    }

    pub(super) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// Keeps what they left to do, and their memory.
    pub(super) fn end<A: Actor>(self, own: &mut Own) {
        for mut work in self.calls {
            own.heed::<A>(&mut work);
            codec::recycle(work.body);
        }
    }
}

/// The calls that ran as `work`, but for those that are answered.
pub(super) fn unanswered(work: &Work) -> impl Iterator<Item = &Work> {
    let beside = work.beside.as_deref();
    // Relaxed: the thread that answers is the one that asks.
    let answered = beside.map_or(0, |beside| beside.answered.load(Ordering::Relaxed));
    all(work).skip(answered)
}

fn all(work: &Work) -> impl Iterator<Item = &Work> {
    let beside = work.beside.iter().flat_map(|beside| &beside.calls);
    std::iter::once(work).chain(beside)
}

/// Adds to `work` the calls of its method that come next, if that takes several at once.
pub(super) async fn collect<A: Actor>(work: &mut Work, inbox: &mut Inbox<'_>) {
    let Some(method) = work.method::<A>().filter(|method| method.batch_max > 0) else {
        return;
    };
    let mut gathering = Gathering {
        method: work.head.method,
        left: usize::from(method.batch_max) - 1,
        bytes: work.body.len(),
        beside: Beside {
            calls: Vec::new(),
            chain: work.chain().cloned(),
            answered: AtomicUsize::new(0),
        },
    };
    poll_fn(|cx| {
        gathering.gather(inbox, cx);
        Poll::Ready(())
    })
    .await;
    work.beside = Some(Box::new(gathering.beside));
}

/// Calls that are being gathered.
struct Gathering {
    method: u16,
    /// How many more there may be.
    left: usize,
    bytes: usize,
    beside: Beside,
}

impl Gathering {
    /// Takes the calls that are queued now. What goes wrong meanwhile is told by the next look.
    fn gather(&mut self, inbox: &mut Inbox<'_>, cx: &mut Context<'_>) {
        if inbox.held.sorts() {
            let _ = inbox.take_in(cx, Until::Full);
        }
        while self.goes_on() && self.take_held(inbox) {}
        let mut work = Work::new();
        while self.goes_on() && !inbox.held.is_used() {
            match inbox.take(&mut work) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    inbox.main.break_off(&error);
                    break;
                }
            }
            if let Err(error) = work.check() {
                inbox.main.break_off(&error);
                break;
            }
            match self.join(&work) {
                Some(chain) => self.add(work.take(), chain),
                None => inbox.put_back(work.take()),
            }
        }
        codec::recycle(work.body);
    }

    fn goes_on(&self) -> bool {
        self.left > 0 && self.bytes < BYTES_MAX
    }

    /// Takes the next call from the mailbox, if it is one of these.
    fn take_held(&mut self, inbox: &mut Inbox<'_>) -> bool {
        let post = inbox.post();
        let wanted = |work: &Work| is_wanted(&work.head, work.board(post));
        let mut chain = None;
        let taken = inbox.held.take_if(|work| {
            chain = self.join(work);
            chain.is_some() || !wanted(work)
        });
        let Some(work) = taken else {
            return false;
        };
        let begins = inbox.begin(&work);
        // Cancelled after it was taken out: looked at in this order, a cancel is never missed.
        match chain.filter(|_| begins && wanted(&work)) {
            Some(chain) => self.add(work, chain),
            None => codec::recycle(work.body),
        }
        true
    }

    /// Who waits if this call is added; none: it is not one of these.
    fn join(&self, work: &Work) -> Option<Option<Chain>> {
        if work.head.method != self.method || work.job().is_some() {
            return None;
        }
        match (&self.beside.chain, work.chain()) {
            (None, None) => Some(None),
            (Some(chain), None) | (None, Some(chain)) => Some(Some(chain.clone())),
            (Some(chain), Some(other)) => chain.join(other).map(Some),
        }
    }

    fn add(&mut self, work: Work, chain: Option<Chain>) {
        self.left -= 1;
        self.bytes = self.bytes.saturating_add(work.body.len());
        self.beside.chain = chain;
        self.beside.calls.push(work);
    }
}

/// Calls of one method whose arguments were taken out, and which are answered together.
#[doc(hidden)]
#[derive(Debug)]
pub struct Batch<'a> {
    first: Incoming<'a>,
    /// Of each call, whether its arguments could be read.
    opened: Vec<Result<(), DecodeError>>,
}

impl<'a> Incoming<'a> {
    /// How many calls run together.
    #[must_use]
    pub fn count(self) -> usize {
        all(self.work()).count()
    }

    /// Gives the arguments of each call that runs together with this one to `take`, in their order.
    ///
    /// # Errors
    /// None could be read, and the callers are told.
    pub async fn open_batch<Args: Message>(
        self,
        mut take: impl FnMut(Args),
    ) -> Result<Batch<'a>, Answer> {
        let opened = all(self.work())
            .map(|work| codec::decode(&work.body).map(&mut take))
            .collect();
        let batch = Batch {
            first: self,
            opened,
        };
        if batch.opened.iter().any(Result::is_ok) {
            Ok(batch)
        } else {
            Err(batch.answer(Vec::new(), |call, ()| call.reply(&())).await)
        }
    }
}

impl Batch<'_> {
    /// Answers all calls of a method that gives nothing.
    pub async fn reply_nothing(self) -> Answer {
        let results = self.opened.iter().filter(|opened| opened.is_ok());
        let results = results.map(|_| ()).collect();
        self.answer(results, |call, ()| call.reply(&())).await
    }

    /// Answers each call with its result.
    pub async fn reply<T: Message>(self, results: Vec<T>) -> Answer {
        self.answer(results, |call, result| call.reply(&result))
            .await
    }

    /// Answers each call with its result, or its own error. Of a tell, the error is logged.
    pub async fn reply_result<T: Message, E: Message>(
        self,
        results: Vec<Result<T, E>>,
        text: fn(&E) -> String,
    ) -> Answer {
        let reply = |call: Incoming<'_>, result| call.reply_result(&result, text);
        self.answer(results, reply).await
    }

    /// The same for an actor that is told of errors which nobody else is told of.
    pub async fn reply_result_noted<T: Message, E: Message>(
        self,
        results: Vec<Result<T, E>>,
        text: fn(&E) -> String,
        method: &'static str,
    ) -> Answer {
        let reply = |call: Incoming<'_>, result| call.reply_result_noted(&result, text, method);
        self.answer(results, reply).await
    }

    /// Answers in the order of the calls; one that finds no room keeps the others behind it.
    async fn answer<T>(self, results: Vec<T>, reply: impl Fn(Incoming<'_>, T) -> Answer) -> Answer {
        let count = self.opened.iter().filter(|opened| opened.is_ok()).count();
        let refusal = (results.len() != count).then(|| self.wrong_len(results.len(), count));
        let mut results = results.into_iter();
        let work = self.first.work();
        for (work, opened) in all(work).zip(&self.opened) {
            let call = self.first.beside(work);
            let answer = match (opened, &refusal) {
                (Err(error), _) => call.unreadable(error),
                (Ok(()), Some(refusal)) => call.refuse(refusal),
                (Ok(()), None) => match results.next() {
                    Some(result) => reply(call, result),
                    None => Answer(None),
                },
            };
            if let Some(beside) = &self.first.work().beside {
                // Relaxed: the thread that answers is the one that asks.
                beside.answered.fetch_add(1, Ordering::Relaxed);
            }
            call.finish(answer).await;
        }
        Answer(None)
    }

    #[cold]
    fn wrong_len(&self, given: usize, count: usize) -> Refusal {
        let method = self.first.method();
        tracing::error!(
            method,
            given,
            count,
            "a batch was given a wrong number of results"
        );
        Refusal::Result(format!(
            "the method gave {given} results for a batch of {count} calls"
        ))
    }
}
