//! Whose turn it is: what the owner's task reads, and what the links' task takes over from it.

use std::future::poll_fn;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::sys::body::Body;
use crate::sys::sealed::BlobBuilder;
use crate::transport::auth_key::AuthKey;
use crate::transport::board::Geometry;
use crate::transport::net::Wire;
use crate::transport::noise::{self, Suite};
use crate::transport::sealed_stream::Sealed;
use crate::transport::stream::{OnEnd, drive_remote, lay_out_remote};
use crate::transport::unix::pumps;
use crate::transport::{Link, kinds};
use crate::wire::attached::{Attached, Beside};
use crate::wire::frame::{Head, Kind};
use crate::wire::holding::Memory;
use crate::wire::id::CallId;

/// A guard against tests that hang.
const LONG: Duration = Duration::from_secs(60);

/// One end of a connection, and who carries it.
struct End<S> {
    link: Link,
    conduit: Arc<Conduit<S>>,
    /// Dropped, it ends the connection.
    _end: oneshot::Sender<OnEnd>,
}

impl<S: Carried> End<S> {
    fn new(stream: S, side: Side, (links, owner): (&Handle, &Handle)) -> Self {
        let geometry = Geometry::new(128 * 1024, 64).unwrap();
        let (conduit, laid) = lay_out_remote(stream, (geometry, side), (0, u64::MAX));
        let (end, ended) = oneshot::channel();
        owner.spawn(attend(Arc::clone(&conduit)));
        let driving = drive_remote(Arc::clone(&conduit), ended, Box::new(|_| {}));
        links.spawn(driving);
        Self {
            link: laid.connect(1 << 20),
            conduit,
            _end: end,
        }
    }

    fn carrier(&self) -> Carrier {
        self.conduit.lock().turns.carrier()
    }

    fn send(&self, number: u64) {
        let head = Head::new(Kind::Call, 0, call(number));
        self.link.sender.try_send(&head, &[7; 64]).unwrap();
    }

    /// The next frame, waiting as the link's owner does.
    async fn next(&mut self) -> CallId {
        let mut body = Body::new();
        let next = async {
            loop {
                if let Some(head) = self.link.receiver.try_recv(&mut body).unwrap() {
                    return head.call;
                }
                if self.link.receiver.doze() {
                    poll_fn(|cx| self.link.ear.poll_rung(cx)).await.unwrap();
                }
            }
        };
        timeout(LONG, next).await.expect("it comes")
    }
}

fn call(number: u64) -> CallId {
    CallId::new(number, 0)
}

/// Both ends of a sealed connection; the server's owner is `owner`.
fn ends(owner: &Handle) -> (End<Sealed<Wire>>, End<Sealed<Wire>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let (client, server) = noise::pair(&AuthKey::from([7; 32]), Suite::preferred());
    let links = pumps().unwrap();
    let _within = links.enter();
    let sealed = |stream, records| Sealed::new(Wire::tcp_from(stream).unwrap(), records);
    (
        End::new(sealed(near, client), Side::Caller, (&links, &links)),
        End::new(sealed(far, server), Side::Server, (&links, owner)),
    )
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits on this thread, which does nothing else.
fn wait_until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "it comes to that");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sends one frame after the other until the server's owner reads them itself. Gives the number of
/// the last one.
async fn until_owner_reads(caller: &End<Sealed<Wire>>, server: &mut End<Sealed<Wire>>) -> u64 {
    for number in 1.. {
        caller.send(number);
        assert_eq!(server.next().await, call(number));
        if server.carrier() == Carrier::Owner {
            return number;
        }
    }
    unreachable!("numbers do not end")
}

/// What is small comes to be read in the owner's runtime, and stays there.
#[test]
fn little_is_read_by_the_owner() {
    let runtime = runtime();
    let (caller, mut server) = ends(runtime.handle());
    runtime.block_on(async {
        let last = until_owner_reads(&caller, &mut server).await;
        for number in last + 1..last + 100 {
            caller.send(number);
            assert_eq!(server.next().await, call(number));
        }
    });
}

/// An owner that computes reads nothing itself: what comes is taken in all the same.
#[test]
fn who_computes_is_told_of_cancels() {
    let runtime = runtime();
    let (caller, mut server) = ends(runtime.handle());
    let last = runtime.block_on(until_owner_reads(&caller, &mut server));
    // It does not come back to its runtime any more.
    let next = call(last + 1);
    caller.send(last + 1);
    caller.link.board.cancel(next);
    wait_until(|| server.link.board.is_cancelled(next));
    assert_eq!(server.carrier(), Carrier::Links);
    // Later it goes on where it was.
    let again = async {
        assert_eq!(server.next().await, call(last + 1));
        caller.send(last + 2);
        assert_eq!(server.next().await, call(last + 2));
    };
    runtime.block_on(again);
}

/// An owner whose runtime has ended holds up nothing.
#[test]
fn runtimes_may_end() {
    let runtime = runtime();
    let (caller, mut server) = ends(runtime.handle());
    let last = runtime.block_on(until_owner_reads(&caller, &mut server));
    drop(runtime);
    assert_eq!(server.carrier(), Carrier::Links);
    caller.link.board.cancel(call(last));
    wait_until(|| server.link.board.is_cancelled(call(last)));
    server.send(1);
    wait_until(|| !caller.link.receiver.is_empty());
}

/// A stream within one process that any runtime may carry.
struct Anywhere(DuplexStream);

impl AsyncRead for Anywhere {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Anywhere {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl Carried for Anywhere {
    fn detach(&mut self) -> bool {
        true
    }
}

/// Two that have nothing to say stay connected also where it is the owners' turn.
#[tokio::test(start_paused = true)]
async fn the_beat_is_kept() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (client, server) = noise::pair(&AuthKey::from([7; 32]), Suite::preferred());
    let here = Handle::current();
    let end = |stream, records, side| {
        End::new(Sealed::new(Anywhere(stream), records), side, (&here, &here))
    };
    let mut caller = end(near, client, Side::Caller);
    let mut server = end(far, server, Side::Server);
    for number in 1..10 {
        caller.send(number);
        assert_eq!(server.next().await, call(number));
        server.send(number);
        assert_eq!(caller.next().await, call(number));
    }
    assert_eq!(
        (caller.carrier(), server.carrier()),
        (Carrier::Owner, Carrier::Owner)
    );
    sleep(Duration::from_secs(3600)).await;
    caller.send(10);
    assert_eq!(server.next().await, call(10));
}

/// A blob of so many bytes, all of them this one; none: no blob.
fn blob(len: usize, byte: u8) -> Attached {
    if len == 0 {
        return Attached::default();
    }
    let mut builder = BlobBuilder::alloc(len).unwrap();
    builder.as_mut_slice().fill(byte);
    let memory = Memory::enter(builder.into_sealed().unwrap());
    std::iter::once(Beside::Here(memory.hold())).collect()
}

/// Sends frames with and without blobs over this end, and expects the same from the other one.
async fn give_and_take(link: Link) {
    const COUNT: u8 = 120;
    let len = |number: u8| [0, 10, 0, 100_000, 32 * 1024, 0, 1 << 20][usize::from(number) % 7];
    let Link {
        sender,
        mut receiver,
        mut ear,
        ..
    } = link;
    let giving = async {
        for number in 0..COUNT {
            let head = Head::new(Kind::Call, 0, call(number.into()));
            let attached = blob(len(number), number);
            let sent = sender.send_with(&head, &[number; 8], &attached).await;
            sent.unwrap();
            // Nobody uses it here any more, which is said.
            drop(attached);
            sender.say_due();
        }
    };
    let mut body = Body::new();
    let taking = async {
        for number in 0..COUNT {
            let head = poll_fn(|cx| {
                loop {
                    let found = receiver.try_recv(&mut body).unwrap();
                    if receiver.freed() {
                        sender.ring();
                    }
                    sender.say_due();
                    if let Some(head) = found {
                        return Poll::Ready(head);
                    }
                    if receiver.doze() {
                        if ear.poll_rung(cx).is_pending() {
                            return Poll::Pending;
                        }
                        sender.room_freed();
                    }
                }
            });
            assert_eq!(head.await.call, call(number.into()));
            assert_eq!(body.to_vec(), [number; 8]);
            let attached = receiver.take_attached();
            let came = attached.holds().next().and_then(|hold| hold.sealed());
            let came = came.map_or(&[][..], |sealed| sealed.bytes());
            assert!(came.len() == len(number) && came.iter().all(|byte| *byte == number));
        }
    };
    tokio::join!(giving, taking);
}

/// Blobs and what is small go both ways, whole and in order, over ends that change hands whenever
/// nothing is half-way.
#[tokio::test]
async fn blobs_go_whoever_carries() {
    for make in [kinds::tcp_restless, kinds::unix_restless] {
        let (caller, server) = make(Geometry::new(128 * 1024, 64).unwrap());
        let both = async { tokio::join!(give_and_take(caller), give_and_take(server)) };
        timeout(LONG, both).await.expect("all of it comes");
    }
}
