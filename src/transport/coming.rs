//! A stream that is still to come: what is to go over it waits where it is.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::carried::Carried;
use super::unreached::GivenUp;

/// A stream once it has come. Until then it gives nothing and takes nothing; dropped, whoever was
/// to give it is the end.
#[derive(Debug)]
pub(crate) enum Coming<S> {
    Here(S),
    Awaited(oneshot::Receiver<S>),
    Never,
}

impl<S: Unpin> Coming<S> {
    /// A stream for whoever has it one day to give.
    pub(crate) fn later() -> (Self, oneshot::Sender<S>) {
        let (give, awaited) = oneshot::channel();
        (Self::Awaited(awaited), give)
    }

    fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut S>>> {
        if let Self::Awaited(awaited) = self {
            *self = match ready!(Pin::new(awaited).poll(cx)) {
                Ok(stream) => Self::Here(stream),
                Err(_) => Self::Never,
            };
        }
        Poll::Ready(match self {
            Self::Here(stream) => Ok(Pin::new(stream)),
            Self::Awaited(_) | Self::Never => Err(io::Error::other(GivenUp)),
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coming<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_here(cx))?.poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coming<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_here(cx))?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_here(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_here(cx))?.poll_shutdown(cx)
    }
}

impl<S: Carried> Carried for Coming<S> {
    fn attach(&mut self) -> io::Result<()> {
        match self {
            Self::Here(stream) => stream.attach(),
            Self::Awaited(_) | Self::Never => Ok(()),
        }
    }

    fn detach(&mut self) -> bool {
        match self {
            Self::Here(stream) => stream.detach(),
            Self::Awaited(_) | Self::Never => false,
        }
    }

    fn has_input(&self) -> bool {
        matches!(self, Self::Here(stream) if stream.has_input())
    }

    fn cut(&self) {
        if let Self::Here(stream) = self {
            stream.cut();
        }
    }

    fn poll_beat(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self {
            Self::Here(stream) => stream.poll_beat(cx),
            Self::Awaited(_) | Self::Never => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What is read and written waits for the stream, and then goes over it.
    #[tokio::test]
    async fn whoever_waits_goes_on() {
        let (near, mut far) = duplex(64);
        let (mut coming, give) = Coming::later();
        let asking = tokio::spawn(async move {
            coming.write_all(b"there?").await.unwrap();
            let mut answer = [0; 3];
            coming.read_exact(&mut answer).await.unwrap();
            answer
        });
        tokio::task::yield_now().await;
        assert!(!asking.is_finished());
        give.send(near).unwrap();
        let mut asked = [0; 6];
        far.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"there?");
        far.write_all(b"yes").await.unwrap();
        assert_eq!(&asking.await.unwrap(), b"yes");
    }

    /// Who waits for what never comes is told so.
    #[tokio::test]
    async fn giving_up_is_an_error() {
        let (mut coming, give) = Coming::<tokio::io::DuplexStream>::later();
        drop(give);
        for _ in 0..2 {
            let error = coming.read(&mut [0; 1]).await.unwrap_err();
            assert!(error.get_ref().is_some_and(|why| why.is::<GivenUp>()));
        }
    }
}
