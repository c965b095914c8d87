//! The reading end of a stream.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::runtime::Handle;
use tokio::task::coop;

use super::parcel::{ItemKind, Items};
use super::table::{Crowded, Starving};
use super::{Finish, Opening, StreamId, Way, Window, head, post};
use crate::sys::body::Body;
use crate::transport::receiver::LinkError;
use crate::wire::attached::Attached;
use crate::wire::codec::Buffer;
use crate::wire::frame::Kind;

/// What has come for one stream; filled by whoever takes frames in.
#[derive(Debug)]
pub(crate) struct Arrivals {
    arrived: Mutex<Arrived>,
    starving: Arc<Starving>,
}

#[derive(Debug)]
struct Arrived {
    /// Never more than was asked for.
    queue: VecDeque<Items>,
    /// What the writer may still send: so many items, and one more while this is positive.
    items_left: u64,
    bytes_left: i64,
    end: Option<End>,
    waker: Option<Waker>,
}

/// Why no more comes.
#[derive(Debug)]
enum End {
    Finished(Finish, Buffer),
    Lost,
}

impl Arrivals {
    /// Takes in `count` items. Gives the task to wake.
    ///
    /// # Errors
    /// [`LinkError`] when they are none, or nobody has asked for them.
    pub(super) fn items(
        &self,
        count: u16,
        body: Body,
        attached: Attached,
    ) -> Result<Option<Waker>, LinkError> {
        let read = Items::read(body, count, attached).map_err(|_| LinkError::Items);
        let (items, cost) = read?;
        crate::sys::failpoint::at("flow.items.read");
        let mut arrived = self.lock();
        if arrived.end.is_some() {
            return Err(LinkError::Items);
        }
        if items.is_empty() {
            return Ok(None);
        }
        let left = arrived.items_left.checked_sub(u64::from(count));
        let in_time = i64::try_from(cost.before_last).is_ok_and(|len| len < arrived.bytes_left);
        arrived.items_left = left.filter(|_| in_time).ok_or(LinkError::Credit)?;
        arrived.bytes_left = arrived.bytes_left.saturating_sub_unsigned(cost.whole);
        arrived.queue.push_back(items);
        Ok(self.take_waker(&mut arrived))
    }

    pub(super) fn finish(&self, how: Finish, body: Buffer) -> Option<Waker> {
        self.end(End::Finished(how, body))
    }

    pub(super) fn lose(&self) -> Option<Waker> {
        self.end(End::Lost)
    }

    fn end(&self, end: End) -> Option<Waker> {
        let mut arrived = self.lock();
        arrived.end.get_or_insert(end);
        self.take_waker(&mut arrived)
    }

    fn take_waker(&self, arrived: &mut Arrived) -> Option<Waker> {
        let waker = arrived.waker.take();
        if waker.is_some() {
            self.starving.end();
        }
        waker
    }

    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The items that came first, or why none will.
    fn next(&self) -> Option<Result<Items, End>> {
        let mut arrived = self.lock();
        if let Some(items) = arrived.queue.pop_front() {
            return Some(Ok(items));
        }
        match &mut arrived.end {
            // It is asked for once.
            Some(End::Finished(how, body)) => Some(Err(End::Finished(*how, std::mem::take(body)))),
            Some(End::Lost) => Some(Err(End::Lost)),
            None => None,
        }
    }

    /// Has the task woken by what comes. False: something has come.
    fn park(&self, cx: &Context<'_>) -> bool {
        let mut arrived = self.lock();
        if !arrived.queue.is_empty() || arrived.end.is_some() {
            return false;
        }
        if arrived.waker.replace(cx.waker().clone()).is_none() {
            self.starving.begin();
        }
        true
    }
}

/// What a reader is told.
#[derive(Debug)]
pub(crate) enum Next {
    /// There is an item to [take](Inflow::take).
    Item,
    /// There will be no more.
    Finished(Finish, Buffer),
    /// The link has ended, or the writer does not react.
    Lost,
}

/// The reading end of a stream. Dropped before the stream has ended, it ends it.
pub(crate) struct Inflow {
    way: Arc<dyn Way>,
    id: StreamId,
    arrivals: Arc<Arrivals>,
    items: Items,
    window: Window,
    /// Taken out since the writer was last given credit.
    used: (u64, u64),
    /// It has a place among the open streams.
    is_listed: bool,
    /// The writer knows that it has ended, or has never heard of it.
    is_over: bool,
    runtime: Option<Handle>,
}

impl Inflow {
    /// The reading end of stream `id`, whose writer is told of its first credit by others, or by
    /// [`Inflow::begin`].
    ///
    /// # Errors
    /// [`Crowded`] when too many streams are open on the link.
    pub(crate) fn open(
        way: Arc<dyn Way>,
        id: StreamId,
        window: Window,
        runtime: Option<Handle>,
    ) -> Result<Self, Crowded> {
        let arrivals = Arc::new(Arrivals {
            arrived: Mutex::new(Arrived {
                queue: VecDeque::new(),
                items_left: u64::from(window.items),
                bytes_left: i64::from(window.bytes),
                end: None,
                waker: None,
            }),
            starving: way.flows().starving(),
        });
        way.flows().read(id, Arc::clone(&arrivals))?;
        Arc::clone(&way).listen();
        Ok(Self {
            way,
            id,
            arrivals,
            items: Items::default(),
            window,
            used: (0, 0),
            is_listed: true,
            is_over: false,
            runtime,
        })
    }

    /// What goes with the call that opens the stream.
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            id: self.id,
            items: self.window.items,
            bytes: self.window.bytes,
        }
    }

    /// Asks for another window, while the writer knows of none.
    pub(crate) fn set_window(&mut self, change: impl FnOnce(Window) -> Window) {
        self.window = change(self.window);
        let mut arrived = self.arrivals.lock();
        arrived.items_left = self.window.items.into();
        arrived.bytes_left = self.window.bytes.into();
    }

    /// Gives the writer its first credit.
    pub(crate) fn begin(&self) {
        self.send_credit((self.window.items.into(), self.window.bytes.into()));
    }

    /// The writer has never heard of it: it need not be told of the end.
    pub(crate) fn forget(&mut self) {
        self.is_over = true;
    }

    /// What comes next.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if !self.items.is_empty() {
            return Poll::Ready(Next::Item);
        }
        std::mem::take(&mut self.items).recycle();
        self.give_credit();
        // A quick writer and its reader let others have their turn too.
        ready!(coop::poll_proceed(cx)).made_progress();
        loop {
            let mut next = self.arrivals.next();
            if next.is_none() {
                self.way.hear();
                next = self.arrivals.next();
            }
            match next {
                Some(Ok(items)) => {
                    self.items = items;
                    return Poll::Ready(Next::Item);
                }
                Some(Err(End::Finished(how, body))) => {
                    self.is_over = true;
                    self.leave();
                    return Poll::Ready(Next::Finished(how, body));
                }
                Some(Err(End::Lost)) => {
                    self.close();
                    return Poll::Ready(Next::Lost);
                }
                None if self.arrivals.park(cx) => return Poll::Pending,
                None => {}
            }
        }
    }

    /// The item that there is, given to `read`.
    pub(crate) fn take<R>(&mut self, read: impl FnOnce(ItemKind, &[u8]) -> R) -> Option<R> {
        let item = self.items.take()?;
        let read = item.attached.within(|| read(item.kind, item.archive));
        self.used.0 += 1;
        self.used.1 = self.used.1.saturating_add(item.cost);
        self.give_credit();
        Some(read)
    }

    /// Lets the writer go on when half of its window has been read: neither end waits for the other
    /// while both are quick, and few frames say so.
    fn give_credit(&mut self) {
        let (items, bytes) = self.used;
        let is_due = items >= u64::from(self.window.items.div_ceil(2))
            || bytes >= u64::from(self.window.bytes.div_ceil(2));
        if items == 0 || !is_due || self.is_over {
            return;
        }
        self.used = (0, 0);
        {
            // Before the writer knows of it, and may send more.
            let mut arrived = self.arrivals.lock();
            arrived.items_left += items;
            arrived.bytes_left = arrived.bytes_left.saturating_add_unsigned(bytes);
        }
        self.send_credit((items, bytes));
    }

    /// Gives up its place among the open streams.
    fn leave(&mut self) {
        if std::mem::take(&mut self.is_listed) {
            self.way.flows().remove(self.id);
            self.way.unlisten();
        }
    }

    /// Ends the stream, if its writer has not: one that does not react may go on later.
    fn close(&mut self) {
        self.leave();
        let mut arrived = self.arrivals.lock();
        self.arrivals.take_waker(&mut arrived);
        let has_ended = matches!(arrived.end, Some(End::Finished(..)));
        drop(arrived);
        if !std::mem::replace(&mut self.is_over, true) && !has_ended {
            let head = head(Kind::Close, 0, self.id);
            post(&self.way, self.runtime.as_ref(), head, &[]);
        }
    }

    fn send_credit(&self, (items, bytes): (u64, u64)) {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&items.to_le_bytes());
        body[8..].copy_from_slice(&bytes.to_le_bytes());
        // Not by whoever reads: one who waits for room, and is not polled, would hold up the rest.
        let head = head(Kind::Credit, 0, self.id);
        post(&self.way, self.runtime.as_ref(), head, &body);
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Inflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflow")
            .field("id", &self.id)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
