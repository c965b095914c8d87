//! What a stream can do beside giving and taking bytes, where somebody carries a link over it.

use std::io;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream over which a link is carried.
///
/// One that is portable waits in one runtime and goes on in another. The others stay where they
/// are.
pub(crate) trait Carried: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Has it wait in the runtime in which this is called, if it waits in none.
    ///
    /// # Errors
    /// It cannot wait there.
    fn attach(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Takes it out of its runtime; whoever attaches it asks anew for what there is. False: it
    /// stays.
    fn detach(&mut self) -> bool {
        false
    }

    /// Whether something could be read that was not yet, the end included.
    fn has_input(&self) -> bool {
        false
    }

    /// When it is closed, what was not taken yet is thrown away, and the peer is told so. (On one
    /// machine, what was taken has arrived.)
    fn cut(&self) {}

    /// Does what the clock asks for, if there is one.
    ///
    /// # Errors
    /// The peer is gone without a word, or the stream.
    fn poll_beat(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
impl Carried for tokio::io::DuplexStream {}
