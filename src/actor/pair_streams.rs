//! A caller that breaks the rules of streams, or is about to.

use futures_util::stream;
use tokio::task::{JoinHandle, spawn_local};

use super::Actor;
use super::context::Context;
use super::incoming::{Incoming, Rejected};
use super::mailbox::Mailbox;
use super::pair::{MESSAGE_LEN_MAX, arrive, note, ran, run, server_of, settle};
use super::replies::Answer;
use super::server::End;
use super::signals::Signals;
use super::streamed::StreamError;
use crate::flow::parcel::{Parcel, put_value};
use crate::flow::{Feed, Finish, Opening, STREAMS_MAX, Window};
use crate::sys::body::Body;
use crate::transport::Link;
use crate::transport::board::Geometry;
use crate::transport::idle::Idle;
use crate::transport::loopback;
use crate::transport::receiver::LinkError;
use crate::wire::codec::{self, Arguments};
use crate::wire::frame::{Head, Kind};
use crate::wire::id::CallId;
use crate::wire::interface::{Interface, Method};

const COUNT: u16 = 0;
const SUM: u16 = 1;
const GET: u16 = 2;
const SUM_ALONE: u16 = 3;

const INTERFACE: Interface = Interface {
    name: "Streamer",
    instance: None,
    constructors: &[Method::new("new", 0)],
    methods: &[
        Method::new("count", 0).waits(),
        Method::new("sum", 0).waits(),
        Method::new("get", 0),
        Method::new("sum_alone", 0).waits().exclusive(),
    ],
    parts: &[],
};

/// Gives streams and takes them.
struct Streamer;

impl Actor for Streamer {
    type Proxy = ();

    const INTERFACE: Interface = INTERFACE;

    async fn construct(_: u16, _: &[u8], _: Context) -> Result<Self, Rejected> {
        Ok(Self)
    }

    fn run_shared(&self, call: Incoming<'_>) -> Answer {
        call.reply(&7_u64)
    }

    fn run_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        call.unknown_noted()
    }

    async fn await_exclusive(&mut self, call: Incoming<'_>) -> Answer {
        sum_of(call).await
    }

    async fn await_shared(&self, call: Incoming<'_>) -> Answer {
        match call.method() {
            COUNT => match call.open::<((u64,), Option<Opening>)>() {
                Ok(((len,), opening)) => {
                    call.stream(opening, stream::iter(0..len), put_value).await
                }
                Err(refused) => refused,
            },
            _ => sum_of(call).await,
        }
    }
}

/// Adds a stream up, and notes how it ends.
async fn sum_of(call: Incoming<'_>) -> Answer {
    let feed = match call.open::<(Feed,)>() {
        Ok((feed,)) => feed,
        Err(refused) => return refused,
    };
    let mut numbers = call.streamed::<u64>(feed);
    let mut sum = 0;
    while let Some(number) = numbers.next().await {
        match number {
            Ok(number) => sum += number,
            Err(StreamError::TooMany) => note(1),
            Err(StreamError::Decode { .. }) => note(2),
            Err(_) => note(3),
        }
    }
    call.reply(&sum)
}

/// The caller's end of a link in the hands of somebody who sends what he likes.
struct Hostile {
    link: Link,
    server: JoinHandle<End>,
    signals: Signals,
    calls: u64,
}

/// Both ends of a link.
fn link() -> (Link, Link) {
    let geometry = Geometry::new(1 << 16, 1024).unwrap();
    loopback::pair(geometry, MESSAGE_LEN_MAX as u64)
}

impl Hostile {
    async fn new() -> Self {
        let (link, far) = link();
        let (signals, mailbox) = (Signals::default(), Mailbox::default());
        let served = server_of::<Streamer>(far, Idle::Park, signals.clone(), mailbox);
        let mut hostile = Self {
            link,
            server: spawn_local(served),
            signals,
            calls: 0,
        };
        hostile.call(Kind::Construct, 0, &());
        assert_eq!(hostile.told().await, [(Kind::Reply, 0)]);
        hostile
    }

    fn call<Args: Arguments>(&mut self, kind: Kind, method: u16, args: &Args) {
        self.calls += 1;
        let slot = usize::try_from(self.calls % 1000).unwrap();
        let head = Head::new(kind, method, CallId::new(self.calls, slot));
        let body = codec::encode(args, MESSAGE_LEN_MAX, codec::copy).unwrap();
        self.link.sender.try_send(&head, &body).unwrap();
    }

    fn count(&mut self, len: u64, id: u64, window: Window) {
        let Window { items, bytes } = window;
        let opening = Some(Opening { id, items, bytes });
        self.call(Kind::Call, COUNT, &((len,), opening));
    }

    fn sum(&mut self, id: u64) {
        self.call(Kind::Call, SUM, &(Feed { id },));
    }

    fn send(&self, kind: Kind, number: u16, id: u64, body: &[u8]) {
        let head = Head::new(kind, number, CallId::from_bits(id));
        self.link.sender.try_send(&head, body).unwrap();
    }

    /// Sends so many numbers for stream `id`, as many to a frame as fit.
    fn items(&self, count: u64, id: u64) {
        for begin in (0..count).step_by(128) {
            let mut parcel = Parcel::new(64, None);
            for number in begin..count.min(begin + 128) {
                put_value(&number, &mut parcel).unwrap();
            }
            self.send(Kind::Items, parcel.count(), id, parcel.bytes());
        }
    }

    /// What has come since the last look: kinds, with the ids of streams.
    async fn told(&mut self) -> Vec<(Kind, u64)> {
        settle().await;
        let mut told = Vec::new();
        while let Some(head) = self.link.receiver.try_recv(&mut Body::new()).unwrap() {
            let id = head.kind.is_flow().then_some(head.call.bits());
            told.push((head.kind, id.unwrap_or(0)));
        }
        if self.link.receiver.freed() {
            self.link.sender.ring();
        }
        told
    }

    /// That it is answered as anybody is.
    async fn is_served(&mut self) {
        self.call(Kind::Call, GET, &());
        assert_eq!(self.told().await, [(Kind::Reply, 0)]);
    }

    async fn end(self) -> LinkError {
        match self.server.await.unwrap() {
            End::Corrupt(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

const WIDE: Window = Window {
    items: u32::MAX,
    bytes: u32::MAX,
};

/// More items than the method has asked for end the link, and so do those for which it has not
/// asked yet at all, for they lie in its memory.
#[test]
fn items_beyond_credit_are_refused() {
    run(async {
        let mut hostile = Hostile::new().await;
        hostile.sum(7);
        assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
        let most = u64::from(Window::USUAL.items);
        hostile.items(most / 4, 7);
        assert_eq!(hostile.told().await, []);
        hostile.items(most / 2, 7);
        assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
        // It was given a window and a half by now, and sent the half of that: this is one too many.
        hostile.items(most * 3 / 4 + 1, 7);
        assert_eq!(hostile.end().await, LinkError::Credit);
    });
}

/// Items that are none, or of the wrong direction, end the link.
#[test]
fn made_up_items_are_refused() {
    for (kind, number, body, expected) in [
        (Kind::Items, 1, &[0xFF; 64][..], LinkError::Items),
        (Kind::Items, 9, &[0; 16], LinkError::Items),
        (Kind::Finish, 99, &[], LinkError::Items),
        (Kind::Credit, 0, &[0; 16], LinkError::Unexpected),
        (Kind::Close, 0, &[], LinkError::Unexpected),
    ] {
        run(async {
            let mut hostile = Hostile::new().await;
            hostile.sum(7);
            assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
            hostile.send(kind, number, 7, body);
            assert_eq!(hostile.end().await, expected);
        });
    }
    for (kind, len, expected) in [
        (Kind::Items, 0, LinkError::Unexpected),
        (Kind::Finish, 0, LinkError::Unexpected),
        (Kind::Credit, 3, LinkError::Credit),
    ] {
        run(async {
            let mut hostile = Hostile::new().await;
            hostile.count(u64::MAX, 7, Window { items: 1, ..WIDE });
            let told = hostile.told().await;
            assert_eq!(told, [(Kind::Reply, 0), (Kind::Items, 7)]);
            hostile.send(kind, 0, 7, &[0; 3][..len]);
            assert_eq!(hostile.end().await, expected);
        });
    }
}

/// An archive that is no item is an error of its stream, and of nothing else.
#[test]
fn items_that_cannot_be_read_end_their_stream() {
    run(async {
        let mut hostile = Hostile::new().await;
        hostile.sum(7);
        assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
        let mut parcel = Parcel::new(64, None);
        put_value(&String::from("a text"), &mut parcel).unwrap();
        put_value(&(), &mut parcel).unwrap();
        hostile.send(Kind::Items, 2, 7, parcel.bytes());
        let told = hostile.told().await;
        assert_eq!(told, [(Kind::Reply, 0), (Kind::Close, 7)]);
        assert_eq!(ran(), [2]);
        hostile.is_served().await;
    });
}

/// Frames of streams that are not there mean nothing.
#[test]
fn unknown_streams_are_let_be() {
    run(async {
        let mut hostile = Hostile::new().await;
        for id in [0, 7, u64::MAX] {
            hostile.items(3, id);
            for kind in [Kind::Finish, Kind::Credit, Kind::Close, Kind::Items] {
                hostile.send(kind, u16::MAX, id, b"whatever");
            }
        }
        assert_eq!(hostile.told().await, []);
        hostile.is_served().await;
        // One that is over is not there either.
        hostile.count(2, 7, WIDE);
        let told = hostile.told().await;
        let whole = [(Kind::Reply, 0), (Kind::Items, 7), (Kind::Finish, 7)];
        assert_eq!(told, whole);
        hostile.send(Kind::Credit, 0, 7, b"whatever");
        hostile.is_served().await;
    });
}

/// Credit without measure is credit, and makes nobody faster than there is room.
#[test]
fn excess_credit_is_credit() {
    run(async {
        let mut hostile = Hostile::new().await;
        hostile.count(100_000, 7, WIDE);
        for _ in 0..5 {
            hostile.send(Kind::Credit, 0, 7, &[0xFF; 16]);
        }
        let mut kinds = Vec::new();
        while kinds.last() != Some(&(Kind::Finish, 7)) {
            kinds.extend(hostile.told().await);
        }
        assert_eq!(kinds[0], (Kind::Reply, 0));
        assert!(
            kinds[1..kinds.len() - 1]
                .iter()
                .all(|kind| *kind == (Kind::Items, 7))
        );
        hostile.is_served().await;
    });
}

/// A stream with another's number, or beyond the limit, is refused, whoever has to say so; it
/// neither ends the link nor the streams that are there.
#[test]
fn places_are_limited_to_whoever_asks() {
    run(async {
        let mut hostile = Hostile::new().await;
        let none = Window { items: 0, bytes: 0 };
        // It greets its reader, who may be gone, even with no items.
        hostile.count(1, 1, none);
        assert_eq!(hostile.told().await, [(Kind::Reply, 0), (Kind::Items, 1)]);
        hostile.count(1, 1, WIDE);
        assert_eq!(hostile.told().await, [(Kind::Refused, 0)]);
        hostile.sum(1);
        assert_eq!(hostile.told().await, [(Kind::Reply, 0)]);
        assert_eq!(ran(), [1]);
        for id in 2..=STREAMS_MAX as u64 {
            hostile.count(1, id, none);
            assert_eq!(hostile.told().await, [(Kind::Reply, 0), (Kind::Items, id)]);
        }
        hostile.count(1, 1000, WIDE);
        assert_eq!(hostile.told().await, [(Kind::Refused, 0)]);
        hostile.sum(1000);
        assert_eq!(hostile.told().await, [(Kind::Reply, 0)]);
        assert_eq!(ran(), [1]);
        hostile.is_served().await;
        hostile.send(Kind::Close, 0, 1, &[]);
        hostile.send(Kind::Credit, 0, 2, &[1; 16]);
        assert_eq!(hostile.told().await, [(Kind::Items, 2), (Kind::Finish, 2)]);
        hostile.count(1, 1000, WIDE);
        let whole = [(Kind::Reply, 0), (Kind::Items, 1000), (Kind::Finish, 1000)];
        assert_eq!(hostile.told().await, whole);
    });
}

/// A stream whose caller breaks it off in the middle is an error to its reader, at once.
#[test]
fn broken_off_streams_are_told() {
    for how in [Finish::Dropped, Finish::Panicked, Finish::Unsent] {
        run(async {
            let mut hostile = Hostile::new().await;
            hostile.sum(7);
            assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
            hostile.items(3, 7);
            hostile.send(Kind::Finish, how as u16, 7, b"no report");
            assert_eq!(hostile.told().await, [(Kind::Reply, 0)]);
            assert_eq!(ran(), [3]);
            hostile.is_served().await;
        });
    }
}

/// The stream of a further link ends with that, also where the method that waits for it has kept
/// the actor from reading what came before the end.
#[test]
fn closed_links_end_their_streams() {
    run(async {
        let mut hostile = Hostile::new().await;
        let (near, far) = link();
        let line = arrive(&hostile.signals, far, Idle::Park);
        let main = std::mem::replace(&mut hostile.link, near);
        hostile.call(Kind::Call, SUM_ALONE, &(Feed { id: 7 },));
        assert_eq!(hostile.told().await, [(Kind::Credit, 7)]);
        hostile.call(Kind::Call, GET, &());
        hostile.signals.close(&line);
        settle().await;
        assert_eq!(ran(), [3]);
        hostile.link = main;
        hostile.is_served().await;
    });
}
