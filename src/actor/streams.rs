//! Streams of a call, as the generated code sees them.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;

use super::incoming::Incoming;
use super::panic::{caught, pass_on};
use super::replies::{Answer, Back};
use super::streamed::Streamed;
use crate::flow::outflow::{Outflow, Written};
use crate::flow::parcel::Put;
use crate::flow::{Feed, Finish, Opening, Way, Window};
use crate::proxy::ambient::{Serving, within_async};
use crate::proxy::feeding::refuse_item;
use crate::wire::codec::{self, Message};
use crate::wire::frame::Kind;
use crate::wire::report::{PanicReport, Refusal};

/// A stream that a method gives, in a form that moves.
type Boxed<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

impl Incoming<'_> {
    /// Answers that the stream is there, and writes it to its end beside the other `&self` calls.
    pub async fn stream<S: Stream>(
        self,
        opening: Option<Opening>,
        stream: S,
        put: Put<S::Item>,
    ) -> Answer {
        let (mut outflow, Answer(late)) = match self.open_stream(opening) {
            Ok(opened) => opened,
            Err(refused) => return refused,
        };
        if let Some(late) = late {
            late.send(self.back().sender()).await;
        }
        // How long the call may take bounds its beginning, and who waited for that waits no more.
        let serving = Serving {
            actor: self.post().actor,
            exclusive: false,
            deadline: None,
        };
        let written = within_async(serving, None, outflow.write(stream, put));
        match caught(written).await {
            Ok(Written::Done | Written::Closed) => {}
            Ok(Written::Unsent(error)) => refuse_item(&mut outflow, &error).await,
            Err(report) => {
                tell_panic(&mut outflow, &report).await;
                // It may have left the actor half changed: it ends as by any panic.
                pass_on(report);
            }
        }
        Answer(None)
    }

    /// Answers that the stream is there, and writes it in a task of its own: it has nothing of the
    /// actor's.
    pub fn stream_apart<S>(self, opening: Option<Opening>, stream: S, put: Put<S::Item>) -> Answer
    where
        S: Stream<Item: 'static> + Send + 'static,
    {
        let (outflow, answer) = match self.open_stream(opening) {
            Ok(opened) => opened,
            Err(refused) => return refused,
        };
        let stream: Boxed<S::Item> = Box::pin(stream);
        self.post().signals.spawn(write_apart(outflow, stream, put));
        answer
    }

    fn open_stream(self, opening: Option<Opening>) -> Result<(Outflow, Answer), Answer> {
        let work = self.work();
        let Some(opening) = opening else {
            let reason = "the call has no room for a stream".to_owned();
            return Err(self.refuse(&Refusal::Arguments(reason)));
        };
        if work.head.kind == Kind::Tell {
            return Err(Answer(None));
        }
        let way = Arc::clone(self.back()) as Arc<dyn Way>;
        let window = Window {
            items: opening.items,
            bytes: opening.bytes,
        };
        let limit = self.message_len_max();
        let outflow = Outflow::open(way, opening.id, Some(window), limit)
            .map_err(|_| self.refuse(&Refusal::Crowded))?;
        // From now on it hears when nobody reads it; here, whether that has been said already.
        if work.board(self.post()).is_cancelled(work.head.call) {
            return Err(Answer(None));
        }
        Ok((outflow, self.reply(&())))
    }

    /// A stream that the call has brought.
    pub fn streamed<T: Message>(self, feed: Feed) -> Streamed<T> {
        Streamed::new(Arc::clone(self.back()) as Arc<dyn Way>, feed)
    }

    fn back(&self) -> &Arc<Back> {
        match self.work().line() {
            Some(line) => &line.back,
            None => self.post().back,
        }
    }
}

/// Writes a stream that has nothing of the actor's: its panic is its own.
async fn write_apart<T>(mut outflow: Outflow, stream: Boxed<T>, put: Put<T>) {
    match caught(outflow.write(stream, put)).await {
        Ok(Written::Done | Written::Closed) => {}
        Ok(Written::Unsent(error)) => refuse_item(&mut outflow, &error).await,
        Err(report) => tell_panic(&mut outflow, &report).await,
    }
}

async fn tell_panic(outflow: &mut Outflow, report: &PanicReport) {
    let body = codec::encode(report, usize::MAX, codec::copy).unwrap_or_default();
    outflow.finish(Finish::Panicked, body).await;
}
