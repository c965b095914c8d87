//! Both ends of streams, joined by frames that are handed over at once or find no room.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Waker};

use futures_util::{StreamExt, stream};
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::inflow::{Inflow, Next};
use super::outflow::{Outflow, Written};
use super::parcel::{ItemKind, Parcel, put_value};
use super::table::{Crowded, Flows, Taken};
use super::{Finish, STREAMS_MAX, Sending, Way, Window, head};
use crate::transport::receiver::LinkError;
use crate::transport::sender::SendError;
use crate::wire::attached::Attached;
use crate::wire::codec::{self, Buffer};
use crate::wire::frame::{Head, Kind};

/// One end of a link whose frames arrive where they are sent.
#[derive(Default)]
struct Pipe {
    flows: Flows,
    peer: OnceLock<Weak<Self>>,
    /// Every so many frames there is no room for one.
    scarcity: AtomicU64,
    sent: AtomicU64,
    fault: Mutex<Option<LinkError>>,
}

fn pipes(scarcity: u64) -> (Arc<Pipe>, Arc<Pipe>) {
    let pipe = || {
        Arc::new(Pipe {
            scarcity: AtomicU64::new(scarcity),
            ..Pipe::default()
        })
    };
    let (one, other) = (pipe(), pipe());
    one.peer.set(Arc::downgrade(&other)).unwrap();
    other.peer.set(Arc::downgrade(&one)).unwrap();
    (one, other)
}

impl Pipe {
    fn note(&self, fault: LinkError) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    fn peer(&self) -> Arc<Self> {
        self.peer.get().and_then(Weak::upgrade).unwrap()
    }
}

impl Way for Pipe {
    fn flows(&self) -> &Flows {
        &self.flows
    }

    fn try_send(&self, head: &Head, body: &[u8], attached: &Attached) -> Result<(), SendError> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(self.scarcity.load(Ordering::Relaxed)) {
            return Err(SendError::Full);
        }
        let peer = self.peer();
        match peer
            .flows
            .take(*head, &mut codec::copy(body).into(), attached.clone())
        {
            Ok(Taken::In(waker)) => waker.into_iter().for_each(Waker::wake),
            Ok(Taken::Unknown) => {}
            Err(fault) => peer.note(fault),
        }
        Ok(())
    }

    fn send(self: Arc<Self>, head: Head, body: Buffer, attached: Attached) -> Sending {
        Box::pin(async move {
            while self.try_send(&head, &body, &attached) == Err(SendError::Full) {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }

    fn listen(self: Arc<Self>) {}

    fn unlisten(&self) {}

    fn hear(&self) {}
}

fn window(items: u32, bytes: u32) -> Window {
    Window { items, bytes }
}

fn inflow(way: &Arc<Pipe>, id: u64, window: Window) -> Result<Inflow, Crowded> {
    Inflow::open(Arc::clone(way) as Arc<dyn Way>, id, window, None)
}

fn outflow(way: &Arc<Pipe>, id: u64, credit: Window, len_max: usize) -> Outflow {
    Outflow::open(Arc::clone(way) as Arc<dyn Way>, id, Some(credit), len_max).unwrap()
}

async fn next(inflow: &mut Inflow) -> Next {
    std::future::poll_fn(|cx| inflow.poll_next(cx)).await
}

/// Reads at most `most` items, checks that they are the first ones, and tells how many there were.
async fn read(inflow: &mut Inflow, most: u64) -> (u64, Option<Finish>) {
    for expected in 0..most {
        match next(inflow).await {
            Next::Item => {
                let item = inflow.take(|kind, archive| {
                    assert_eq!(kind, ItemKind::Value);
                    codec::decode::<(u64, Vec<u8>)>(archive).unwrap()
                });
                assert_eq!(item.unwrap().0, expected);
            }
            Next::Finished(how, _) => return (expected, Some(how)),
            Next::Lost => panic!("the link is there"),
        }
    }
    (most, None)
}

proptest! {
    /// Whatever the windows, the room on the link and who drops his end when: items come whole,
    /// once and in order, the writer is never ahead by more than the window, and nothing is left.
    #[test]
    fn items_arrive_under_any_schedule(
        len in 0_u64..300,
        items in 1_u32..40,
        bytes in 1_u32..4000,
        item_len in 0_usize..200,
        read_most in 0_u64..400,
        scarcity in 2_u64..9,
        telling: bool,
    ) {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (near, far) = pipes(scarcity);
            let mut reader = inflow(&near, 7, window(items, bytes)).unwrap();
            let mut writer = outflow(&far, 7, window(items, bytes), 1 << 20);
            if telling {
                writer = writer.telling();
            }
            let produced = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&produced);
            let numbers = stream::iter((0..len).map(move |number| {
                counted.fetch_add(1, Ordering::Relaxed);
                (number, vec![7_u8; item_len])
            }));
            let writing = tokio::spawn(async move {
                writer.write(numbers, put_value).await
            });
            let (count, end) = read(&mut reader, read_most).await;
            let ahead = produced.load(Ordering::Relaxed) - count;
            assert!(ahead <= u64::from(items), "{ahead} beyond {count}");
            assert_eq!(count, len.min(read_most));
            if read_most > len {
                assert_eq!(end, Some(Finish::Done));
            }
            drop(reader);
            let written = writing.await.unwrap();
            assert!(matches!(written, Written::Done | Written::Closed), "{written:?}");
            // A close that found no room comes later.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            for end in [&near, &far] {
                assert_eq!(end.flows.len(), 0);
                assert!(!end.flows.is_starving());
                assert_eq!(*end.fault.lock().unwrap(), None);
            }
        });
    }
}

/// So many items as one frame carries.
fn items(count: u64) -> (Head, Buffer) {
    let mut parcel = Parcel::new(1 << 20, None);
    for number in 0..count {
        put_value(&number, &mut parcel).unwrap();
    }
    (head(Kind::Items, parcel.count(), 7), parcel.take().0)
}

fn take(end: &Pipe, (head, body): (Head, Buffer)) -> Result<(), LinkError> {
    end.flows
        .take(head, &mut body.into(), Attached::default())
        .map(drop)
}

fn frame(kind: Kind, number: u16, body: &[u8]) -> (Head, Buffer) {
    (head(kind, number, 7), codec::copy(body))
}

/// A writer that sends more than it was asked for, in items or in bytes, breaks the rules.
#[test]
fn credit_is_kept_to() {
    let (near, _far) = pipes(1000);
    let reader = inflow(&near, 7, window(3, 1000)).unwrap();
    assert_eq!(take(&near, items(2)), Ok(()));
    assert_eq!(take(&near, items(2)), Err(LinkError::Credit));
    assert_eq!(take(&near, items(1)), Ok(()));
    assert_eq!(take(&near, items(1)), Err(LinkError::Credit));
    drop(reader);
    // An item of 8 bytes takes 32: two of them end beyond 33, and a third one begins there.
    let reader = inflow(&near, 7, window(100, 33)).unwrap();
    assert_eq!(take(&near, items(3)), Err(LinkError::Credit));
    assert_eq!(take(&near, items(2)), Ok(()));
    assert_eq!(take(&near, items(1)), Err(LinkError::Credit));
    assert_eq!(take(&near, items(0)), Ok(()), "nothing needs no credit");
    drop(reader);
}

/// Frames that are none, of the wrong direction or behind the end, break the rules; those of no
/// stream mean nothing.
#[test]
fn made_up_frames_are_refused() {
    let (near, _far) = pipes(1000);
    assert_eq!(take(&near, items(2)), Ok(()), "there is no such stream");
    let reader = inflow(&near, 7, Window::USUAL).unwrap();
    let (_, body) = items(2);
    for count in [0, 1, 3] {
        assert_eq!(
            take(&near, frame(Kind::Items, count, &body)),
            Err(LinkError::Items)
        );
    }
    assert_eq!(
        take(&near, frame(Kind::Credit, 0, &[0; 16])),
        Err(LinkError::Unexpected)
    );
    assert_eq!(
        take(&near, frame(Kind::Close, 0, &[])),
        Err(LinkError::Unexpected)
    );
    assert_eq!(
        take(&near, frame(Kind::Finish, 4, &[])),
        Err(LinkError::Items)
    );
    assert_eq!(take(&near, frame(Kind::Finish, 0, &[])), Ok(()));
    assert_eq!(take(&near, items(1)), Err(LinkError::Items));
    drop(reader);
    let writer = outflow(&near, 7, window(1, 1), 64);
    for len in [0, 8, 15, 17] {
        let short = frame(Kind::Credit, 0, &[1; 17][..len]);
        assert_eq!(take(&near, short), Err(LinkError::Credit));
    }
    assert_eq!(take(&near, frame(Kind::Credit, 0, &[0xFF; 16])), Ok(()));
    assert_eq!(take(&near, frame(Kind::Credit, 0, &[0xFF; 16])), Ok(()));
    assert_eq!(take(&near, items(1)), Err(LinkError::Unexpected));
    drop(writer);
}

/// A number is one stream's, and the places are limited; who leaves makes room.
#[test]
fn places_are_limited() {
    let (near, _far) = pipes(1000);
    let mut readers: Vec<_> = (1..=STREAMS_MAX as u64)
        .map(|id| inflow(&near, id, Window::USUAL).unwrap())
        .collect();
    assert!(inflow(&near, 1000, Window::USUAL).is_err());
    readers.pop();
    assert!(inflow(&near, 1, Window::USUAL).is_err(), "it is taken");
    assert!(inflow(&near, 1000, Window::USUAL).is_ok());
}

/// An item that cannot be sent ends the stream behind those before it, and its reader is told.
#[tokio::test]
async fn unsendable_items_are_told() {
    let (near, far) = pipes(1000);
    let mut reader = inflow(&near, 7, Window::USUAL).unwrap();
    let mut writer = outflow(&far, 7, Window::USUAL, 64);
    let lens = stream::iter([1, 2, 1000, 3].map(|len| vec![7_u8; len]));
    let written = writer.write(lens, put_value).await;
    assert!(matches!(written, Written::Unsent(_)), "{written:?}");
    writer.finish(Finish::Unsent, Buffer::new()).await;
    for len in [1, 2] {
        assert!(matches!(next(&mut reader).await, Next::Item));
        let item = reader.take(|_, archive| codec::decode::<Vec<u8>>(archive).unwrap());
        assert_eq!(item.unwrap().len(), len);
    }
    let end = next(&mut reader).await;
    assert!(matches!(end, Next::Finished(Finish::Unsent, _)), "{end:?}");
}

/// The end of the link reaches both ends of its streams, behind what had come.
#[tokio::test]
async fn the_end_of_the_link_is_told() {
    let (near, far) = pipes(1000);
    let mut reader = inflow(&near, 7, Window::USUAL).unwrap();
    let mut writer = outflow(&far, 7, Window::USUAL, 64);
    let numbers = stream::iter(0..3_u64).chain(stream::pending());
    let mut writing = Box::pin(writer.write(numbers, put_value));
    // Each poll sends what there is, and lets others have their turn.
    for _ in 0..3 {
        let polled = writing
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    near.flows.lose_all();
    far.flows.lose_all();
    assert!(matches!(writing.await, Written::Closed));
    assert_eq!(read_numbers(&mut reader).await, [0, 1, 2]);
    assert!(matches!(next(&mut reader).await, Next::Lost));
}

async fn read_numbers(inflow: &mut Inflow) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < 3 && matches!(next(inflow).await, Next::Item) {
        let number = inflow.take(|_, archive| codec::decode::<u64>(archive).unwrap());
        numbers.push(number.unwrap());
    }
    numbers
}
