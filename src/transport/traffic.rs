//! What is read and written of a stream at one end: the pump, and what is half-way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::bell::Chime;
use super::board::Side;
use super::carried::Carried;
use super::carrier::Turns;
use super::pump::Pump;
use super::receiver::LinkError;
use super::unreached::Unreached;
use crate::wire::id::CallId;

/// How much is read at once, and a frame more.
const INPUT_LEN: usize = 64 * 1024;

/// One end of a stream, as it is at one time.
pub(super) struct State<S> {
    pub(super) pump: Pump,
    /// Until the end.
    pub(super) stream: Option<S>,
    pub(super) input: Box<[u8]>,
    pub(super) filled: usize,
    pub(super) output: Vec<u8>,
    /// How much of `output` the stream has taken.
    pub(super) written: usize,
    /// The peer takes nothing any more.
    pub(super) is_unheard: bool,
    /// The stream takes nothing now: what is to go out stays in the ring.
    pub(super) is_held: bool,
    /// How the stream ended, once it has.
    pub(super) lost: Unreached,
    /// Whose turn it is to carry on.
    pub(super) turns: Turns,
    /// To be called when the caller has told that all is out.
    pub(super) settled: Option<Box<dyn FnOnce() + Send>>,
}

/// What a look into the stream has shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetched {
    /// So many bytes.
    Some(usize),
    Nothing,
    End,
}

impl<S> State<S> {
    pub(super) fn new(stream: S, pump: Pump) -> Self {
        Self {
            input: vec![0; INPUT_LEN + pump.frame_len_max()].into(),
            filled: 0,
            output: Vec::new(),
            written: 0,
            is_unheard: false,
            is_held: false,
            pump,
            stream: Some(stream),
            lost: Unreached::Closed,
            turns: Turns::default(),
            settled: None,
        }
    }
}

impl<S: Carried> State<S> {
    /// Has the peer see that it was cut, when the stream is closed.
    pub(super) fn cut(&self) {
        if let Some(stream) = &self.stream {
            stream.cut();
        }
    }

    /// Ends our half of the stream.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Reads once, and takes in what has come.
    pub(super) fn fetch(
        &mut self,
        cx: &mut Context<'_>,
        cancel: impl FnMut(CallId),
    ) -> Result<Fetched, LinkError> {
        let Some(stream) = &mut self.stream else {
            return Ok(Fetched::End);
        };
        let mut room = ReadBuf::new(&mut self.input[self.filled..]);
        let len = match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Pending => return Ok(Fetched::Nothing),
            Poll::Ready(Ok(())) => room.filled().len(),
            // What came before it was read; more will not come.
            Poll::Ready(Err(error)) => {
                self.lost = Unreached::of(&error);
                0
            }
        };
        if len == 0 {
            return Ok(Fetched::End);
        }
        crate::sys::failpoint::at("pump.fetched");
        self.filled += len;
        let taken = self.pump.take_in(&self.input[..self.filled], cancel)?;
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        Ok(Fetched::Some(len))
    }

    /// Writes what is to go out, as far as there is room.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>, owner: &Chime) -> Result<(), LinkError> {
        loop {
            let Some(stream) = self.stream.as_mut().filter(|_| !self.is_unheard) else {
                return Ok(());
            };
            if self.written == self.output.len() {
                // Of a stream that is still to come, nothing was sent.
                let ready = Pin::new(&mut *stream).poll_flush(cx);
                self.is_held = ready.is_pending();
                self.is_unheard = matches!(ready, Poll::Ready(Err(_)));
                if self.is_held || self.is_unheard {
                    return Ok(());
                }
                self.written = 0;
                self.output.clear();
                self.pump.put_out(&mut self.output)?;
                if self.pump.freed() {
                    owner.ring();
                }
                if self.output.is_empty() {
                    return Ok(());
                }
            }
            crate::sys::failpoint::at("pump.write.before");
            match Pin::new(stream).poll_write(cx, &self.output[self.written..]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(len)) if len > 0 => self.written += len,
                // The peer is gone, or going. What it had sent can still be read.
                Poll::Ready(_) => {
                    self.is_unheard = true;
                    return Ok(());
                }
            }
            crate::sys::failpoint::at("pump.written");
        }
    }

    /// Begins to write a piece of a blob, if all is out that came before. True: it is there to be
    /// flushed.
    pub(super) fn begin_piece(&mut self) -> bool {
        if self.is_done() || self.is_held || self.written < self.output.len() {
            return false;
        }
        self.written = 0;
        self.output.clear();
        self.pump.put_out_piece(&mut self.output);
        !self.output.is_empty()
    }

    /// Whether a piece of a blob could be written now.
    pub(super) fn has_piece(&self) -> bool {
        !self.is_done()
            && !self.is_held
            && self.written == self.output.len()
            && self.pump.has_pieces()
    }

    /// Whether nothing can be done before somebody wakes the task or kicks. (Pieces of blobs are
    /// for the task to write.)
    pub(super) fn rests(&mut self) -> bool {
        self.is_done() || self.is_held || self.written < self.output.len() || self.pump.doze()
    }

    /// Whether the actor at the other end has ended in order. (That ours has is only said here:
    /// what is on its way shall arrive.)
    pub(super) fn is_parted_from(&self) -> bool {
        self.pump.side() == Side::Caller && self.pump.is_parted()
    }

    pub(super) fn is_done(&self) -> bool {
        self.stream.is_none() || self.is_unheard
    }

    /// Whether the stream takes no more just now.
    pub(super) fn is_full(&self) -> bool {
        !self.is_done() && (self.is_held || self.written < self.output.len())
    }

    /// Whether nothing is half-way: neither in the stream nor of a blob.
    pub(super) fn is_at_rest(&self) -> bool {
        self.filled == 0 && !self.is_done() && !self.is_full() && self.pump.is_light()
    }

    /// Whether something is still to go out that can.
    pub(super) fn has_to_flush(&self) -> bool {
        !self.is_held && !self.is_flushed()
    }

    /// How much has gone out.
    pub(super) fn progress(&self) -> (u64, usize) {
        (self.pump.sent(), self.written)
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.is_done() || (self.written == self.output.len() && self.pump.is_empty())
    }
}
