//! The writing end of a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

use futures_util::Stream;
use tokio::runtime::Handle;

use super::parcel::{Parcel, Put};
use super::table::{Crowded, Starving};
use super::{Finish, StreamId, Way, Window, head, post};
use crate::transport::receiver::LinkError;
use crate::transport::sender::SendError;
use crate::wire::attached::Attached;
use crate::wire::codec::{self, Buffer, EncodeError};
use crate::wire::frame::Kind;

/// What the writer of a stream may send; filled by whoever takes frames in.
#[derive(Debug)]
pub(crate) struct Account {
    credit: Mutex<Credit>,
    starving: Arc<Starving>,
}

#[derive(Debug)]
struct Credit {
    items: u64,
    /// While this is positive one more item may be sent, however long it is.
    bytes: i64,
    closed: Option<Closed>,
    /// The writer waits for more.
    is_used_up: bool,
    waker: Option<Waker>,
}

/// Why nothing may be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    /// The reader said so, or the writer's owner.
    Told,
    /// The link has ended, or the reader does not react: it may go on later, and wait.
    Lost,
}

impl Account {
    /// Takes in more credit. Gives the task to wake.
    ///
    /// # Errors
    /// [`LinkError`] when it is none.
    pub(super) fn credit(&self, body: &[u8]) -> Result<Option<Waker>, LinkError> {
        let (items, bytes) = body.split_first_chunk().ok_or(LinkError::Credit)?;
        let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| LinkError::Credit)?;
        let mut credit = self.lock();
        credit.items = credit.items.saturating_add(u64::from_le_bytes(*items));
        let more = u64::from_le_bytes(bytes);
        credit.bytes = credit.bytes.saturating_add_unsigned(more);
        Ok(self.take_waker(&mut credit))
    }

    /// Nobody reads it any more.
    pub(super) fn close(&self) -> Option<Waker> {
        self.end(Closed::Told)
    }

    /// Nothing comes from the reader any more.
    pub(super) fn lose(&self) -> Option<Waker> {
        self.end(Closed::Lost)
    }

    fn end(&self, closed: Closed) -> Option<Waker> {
        let mut credit = self.lock();
        credit.closed.get_or_insert(closed);
        self.take_waker(&mut credit)
    }

    fn take_waker(&self, credit: &mut Credit) -> Option<Waker> {
        self.note_used_up(credit, false);
        credit.waker.take()
    }

    fn note_used_up(&self, credit: &mut Credit, is_used_up: bool) {
        match (credit.is_used_up, is_used_up) {
            (false, true) => self.starving.begin(),
            (true, false) => self.starving.end(),
            _ => {}
        }
        credit.is_used_up = is_used_up;
    }

    /// What may be sent now. The task is woken by what changes that.
    fn poll(&self, cx: &Context<'_>) -> Result<(u64, i64), Closed> {
        let mut credit = self.lock();
        if let Some(closed) = credit.closed {
            return Err(closed);
        }
        // Also with credit left: the stream may be closed while it waits for its own news.
        match &mut credit.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let is_used_up = credit.items == 0 || credit.bytes <= 0;
        self.note_used_up(&mut credit, is_used_up);
        Ok((credit.items, credit.bytes))
    }

    fn spend(&self, items: u16, bytes: u64) {
        let mut credit = self.lock();
        credit.items = credit.items.saturating_sub(items.into());
        credit.bytes = credit.bytes.saturating_sub_unsigned(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Credit> {
        self.credit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the items of a stream were gathered no further.
enum Step {
    /// There are some to send, and more may follow.
    Flush,
    /// The stream has ended.
    Done,
    /// Nobody reads it any more.
    Closed(Closed),
    /// An item could not be written.
    Unsent(EncodeError),
}

/// How a stream's writing has ended.
#[derive(Debug)]
pub(crate) enum Written {
    /// All of it was sent, with its end.
    Done,
    /// Nobody reads it any more, or the link has ended.
    Closed,
    /// An item could not be written; the reader is to be told.
    Unsent(EncodeError),
}

/// The writing end of a stream.
pub(crate) struct Outflow {
    way: Arc<dyn Way>,
    id: StreamId,
    account: Arc<Account>,
    /// Items that are not sent yet.
    parcel: Parcel,
    /// The reader waits for it already: it may be gone meanwhile, and then answers even to no
    /// items.
    greets: bool,
    /// Dropped before its end, it tells the reader so; else others do.
    tells: bool,
    runtime: Option<Handle>,
}

impl Outflow {
    /// The writing end of stream `id` with its first credit.
    ///
    /// # Errors
    /// [`Crowded`] when too many streams are open on the link.
    pub(crate) fn open(
        way: Arc<dyn Way>,
        id: StreamId,
        credit: Option<Window>,
        item_len_max: usize,
    ) -> Result<Self, Crowded> {
        let account = Arc::new(Account {
            credit: Mutex::new(Credit {
                items: credit.map_or(0, |window| window.items.into()),
                bytes: credit.map_or(0, |window| window.bytes.into()),
                closed: None,
                is_used_up: false,
                waker: None,
            }),
            starving: way.flows().starving(),
        });
        way.flows().write(id, Arc::clone(&account))?;
        Arc::clone(&way).listen();
        let parcel = Parcel::new(item_len_max, way.room());
        Ok(Self {
            way,
            id,
            account,
            parcel,
            greets: credit.is_some(),
            tells: false,
            runtime: Handle::try_current().ok(),
        })
    }

    /// The same, which tells its reader when it is dropped before its end.
    pub(crate) fn telling(mut self) -> Self {
        self.tells = true;
        self
    }

    /// Sends the items of `stream` as there is credit for them, and its end. A stream is polled
    /// only while there is credit, so it is ahead of its reader by a window at most.
    ///
    /// # Cancel safety
    /// Dropped, the stream is dropped where it is.
    pub(crate) async fn write<S: Stream>(&mut self, stream: S, put: Put<S::Item>) -> Written {
        let mut stream = pin!(stream);
        let mut is_quiet = !self.greets;
        loop {
            let step = poll_fn(|cx| {
                let gathered = self.gather(cx, stream.as_mut(), put);
                if gathered.is_pending() && !mem::replace(&mut is_quiet, true) {
                    return Poll::Ready(Step::Flush);
                }
                gathered
            })
            .await;
            if self.parcel.count() > 0 || matches!(step, Step::Flush) {
                is_quiet = true;
                if self.send().await.is_err() {
                    return Written::Closed;
                }
            }
            match step {
                // Others have their turn, and bring the news of more credit.
                Step::Flush => yield_once().await,
                Step::Done => {
                    self.finish(Finish::Done, Buffer::new()).await;
                    return Written::Done;
                }
                Step::Closed(closed) => {
                    // A reader that goes on later is told.
                    self.tells &= closed == Closed::Lost;
                    return Written::Closed;
                }
                Step::Unsent(error) => return Written::Unsent(error),
            }
        }
    }

    /// Gathers items until there are enough for one frame, or the stream has no more now.
    fn gather<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut S>,
        put: Put<S::Item>,
    ) -> Poll<Step> {
        let (items, bytes) = match self.account.poll(cx) {
            Ok(credit) => credit,
            Err(closed) => return Poll::Ready(Step::Closed(closed)),
        };
        let parcel = &mut self.parcel;
        loop {
            let cost = i64::try_from(parcel.cost()).unwrap_or(i64::MAX);
            let has_credit = u64::from(parcel.count()) < items && cost < bytes;
            if parcel.is_full() || !has_credit {
                break;
            }
            match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => {
                    if let Err(error) = put(&item, parcel) {
                        return Poll::Ready(Step::Unsent(error));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(Step::Done),
                Poll::Pending => break,
            }
        }
        if parcel.count() > 0 {
            Poll::Ready(Step::Flush)
        } else {
            Poll::Pending
        }
    }

    async fn send(&mut self) -> Result<(), SendError> {
        let parcel = &mut self.parcel;
        self.account.spend(parcel.count(), parcel.cost());
        let large = parcel.take_large();
        // Nothing is sent too: it greets.
        if parcel.count() > 0 || large.is_none() {
            let head = head(Kind::Items, parcel.count(), self.id);
            match self.way.try_send(&head, parcel.bytes(), parcel.attached()) {
                Err(SendError::Full) => {
                    let (bytes, attached) = parcel.take();
                    Arc::clone(&self.way).send(head, bytes, attached).await?;
                }
                settled => {
                    parcel.clear();
                    settled?;
                }
            }
        }
        if let Some((large, attached)) = large {
            let head = large.address(head(Kind::Items, 1, self.id));
            // Once it is sent, it is the reader's; before that, its room is free again.
            match self.way.try_send(&head, &[], &attached) {
                Err(SendError::Full) => {
                    let alone = Buffer::new();
                    Arc::clone(&self.way).send(head, alone, attached).await?;
                }
                settled => settled?,
            }
        }
        crate::sys::failpoint::at("flow.items.sent");
        Ok(())
    }

    /// Tells the reader why no more comes, behind the items that there were.
    pub(crate) async fn finish(&mut self, how: Finish, body: Buffer) {
        self.tells = false;
        if self.parcel.count() > 0 && self.send().await.is_err() {
            return;
        }
        let head = head(Kind::Finish, how as u16, self.id);
        let alone = Attached::default();
        if self.way.try_send(&head, &body, &alone) == Err(SendError::Full) {
            // A link that has ended needs to know nothing any more.
            let _ = Arc::clone(&self.way).send(head, body, alone).await;
        } else {
            codec::recycle(body.into());
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.way.flows().remove(self.id);
        self.way.unlisten();
        let mut credit = self.account.lock();
        self.account.take_waker(&mut credit);
        drop(credit);
        if self.tells {
            let head = head(Kind::Finish, Finish::Dropped as u16, self.id);
            post(&self.way, self.runtime.as_ref(), head, &[]);
        }
    }
}

impl fmt::Debug for Outflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outflow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Lets other tasks run.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
