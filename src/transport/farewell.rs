//! How this side ends a connection to a remote peer: what it had sent goes out first.
//!
//! ```text
//!  hang up ─> all is out ──> our end of the stream ─> the peer's end ─> closed
//!           └ the peer takes nothing for as long as a call may take: reset
//! ```
//!
//! A plain close would throw away what the socket had not taken yet; and one with bytes unread has
//! the system throw away also what it had. The end of a program waits a while for those that it
//! has hung up.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How long the peer may take nothing of what was sent: as long as a call usually may take. A peer
/// that is gone is given up sooner, by its silence.
pub(super) const STALLED_WITHIN: Duration = Duration::from_secs(30);

/// How long the peer may take to close its end when it has seen ours.
pub(super) const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// How long the end of a program waits for what it has hung up: as long as an actor has to end.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// How many connections are hung up and not yet closed.
static GOING: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// A connection that is hung up; dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Farewell(());

impl Farewell {
    pub(crate) fn begin() -> Self {
        GOING.send_modify(|going| *going += 1);
        Self(())
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        GOING.send_modify(|going| *going -= 1);
    }
}

/// Waits until all connections are closed that this process has hung up, or it is time to go
/// without.
///
/// # Cancel safety
/// Nothing is lost.
pub(crate) async fn all_are_gone() {
    let mut going = GOING.subscribe();
    let gone = timeout(GONE_WITHIN, going.wait_for(|going| *going == 0)).await;
    if gone.is_err() {
        tracing::warn!("what was sent last over a network does not go out, and is lost");
    }
}

/// Drives `go`, which takes as long as it makes progress: whether it has come to its end.
pub(super) async fn while_it_goes<P: PartialEq>(
    within: Duration,
    progress: impl Fn() -> P,
    mut go: impl Future + Unpin,
) -> bool {
    let mut before = progress();
    while timeout(within, &mut go).await.is_err() {
        let now = progress();
        if now == before {
            return false;
        }
        before = now;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf, duplex};
    use tokio::runtime::Handle;
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::transport::Link;
    use crate::transport::board::{Geometry, Side};
    use crate::transport::carried::Carried;
    use crate::transport::stream::{Pumping, Runtimes, lay_remote};
    use crate::wire::frame::{Head, Kind};
    use crate::wire::id::CallId;

    /// A stream that notes whether it was cut.
    struct Noting(DuplexStream, Arc<AtomicBool>);

    impl Carried for Noting {
        fn cut(&self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    impl AsyncRead for Noting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Noting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    /// A caller's link with more in it than its stream takes, the stream's other end, and whether
    /// it was cut.
    fn full() -> (Link, Pumping, DuplexStream, Arc<AtomicBool>) {
        let (near, far) = duplex(64);
        let was_cut = Arc::new(AtomicBool::new(false));
        let stream = Noting(near, Arc::clone(&was_cut));
        let geometry = Geometry::new(4096, 8).unwrap();
        let here = &Handle::current();
        let (links, owner) = (here, here);
        let told = (Runtimes { links, owner }, Box::new(|_| {}) as _);
        let (laid, pumping) = lay_remote(stream, (geometry, Side::Caller), (0, u64::MAX), told);
        let link = laid.connect(1 << 20);
        let head = Head::new(Kind::Tell, 7, CallId::new(1, 0));
        let mut count = 0_u8;
        while link.sender.try_send(&head, &[count; 100]).is_ok() {
            count += 1;
        }
        assert!(count > 10);
        (link, pumping, far, was_cut)
    }

    /// A peer that takes little at a time, and rarely, gets all that was sent, then the end, and
    /// closes its own: only then is the connection gone.
    #[tokio::test(start_paused = true)]
    async fn what_was_sent_goes_out_first() {
        let (link, pumping, mut far, was_cut) = full();
        let (then, gone) = oneshot::channel();
        pumping.finish(Box::new(move || then.send(()).unwrap()));
        let began = Instant::now();
        let mut got = Vec::new();
        let mut piece = [0; 64];
        loop {
            sleep(STALLED_WITHIN / 2).await;
            match far.read(&mut piece).await.unwrap() {
                0 => break,
                len => got.extend_from_slice(&piece[..len]),
            }
        }
        assert!(began.elapsed() > 10 * STALLED_WITHIN);
        let last = got.iter().rposition(|byte| *byte != 0).unwrap();
        assert!(
            got[last - 99..=last].iter().all(|byte| *byte == got[last]),
            "it is whole"
        );
        assert!(got[last] >= 10 && !was_cut.load(Ordering::Relaxed));
        drop(far);
        gone.await.unwrap();
        drop(link);
    }

    /// One that takes nothing is cut when its time is over; what is left is thrown away.
    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut() {
        let (_link, pumping, _far, was_cut) = full();
        let began = Instant::now();
        let (then, gone) = oneshot::channel();
        pumping.finish(Box::new(move || then.send(()).unwrap()));
        gone.await.unwrap();
        assert!(was_cut.load(Ordering::Relaxed));
        assert!((STALLED_WITHIN..2 * STALLED_WITHIN + CLOSED_WITHIN).contains(&began.elapsed()));
    }

    /// The end of a program waits for those that it has hung up, and not for ever.
    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_while() {
        let farewell = Farewell::begin();
        let began = Instant::now();
        all_are_gone().await;
        assert_eq!(began.elapsed().as_secs(), GONE_WITHIN.as_secs());
        let ending = tokio::spawn(all_are_gone());
        sleep(GONE_WITHIN / 2).await;
        assert!(!ending.is_finished());
        drop(farewell);
        ending.await.unwrap();
        assert!(began.elapsed() < 2 * GONE_WITHIN);
    }
}
