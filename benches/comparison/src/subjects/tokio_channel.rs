//! What an actor crate in one process is made of: tokio's `mpsc` there and its `oneshot` back.
//!
//! In the idle cases the task runs in a second thread on the second core; otherwise caller and
//! task share one thread.

use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::current_thread;
use crate::meter::{Flow, Meter};
use crate::stage::{Stage, pin};
use crate::subject::{BURST, Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct TokioChannel;

/// What goes to the task: something to send back, or something to take.
enum Message<const N: usize> {
    Echo([u8; N], oneshot::Sender<[u8; N]>),
    Take([u8; N]),
}

impl Subject for TokioChannel {
    fn name(&self) -> &'static str {
        "tokio-channels"
    }

    fn package(&self) -> Option<&'static str> {
        Some("tokio")
    }

    fn standing(&self) -> Standing {
        Standing::Floor
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        match case {
            Case::Idle | Case::IdlePause => Some(Waiting::Parks),
            Case::TellLarge => None,
            _ => Some(Waiting::OneThread),
        }
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        match case {
            Case::HotKib => measure::<LARGE>(case, stage, meter),
            _ => measure::<SMALL>(case, stage, meter),
        }
    }
}

fn measure<const N: usize>(case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
    let (sender, receiver) = mpsc::channel(BURST + 24);
    let runtime = current_thread()?;
    let other = match case {
        Case::Idle | Case::IdlePause => Some(spawn_thread::<N>(stage, receiver)),
        _ => {
            runtime.spawn(run(receiver));
            None
        }
    };
    let outcome = runtime.block_on(talk(case, sender, meter));
    // The sender is gone, so the task has ended.
    if let Some(thread) = other {
        thread.join().map_err(|_| "the second thread panicked")?;
    }
    outcome
}

fn spawn_thread<const N: usize>(
    stage: &Stage,
    receiver: mpsc::Receiver<Message<N>>,
) -> thread::JoinHandle<()> {
    let core = stage.cores.there();
    thread::spawn(move || {
        if let Some(core) = core {
            pin(core).expect("the second core is one of those we may use");
        }
        current_thread()
            .expect("the first thread has a runtime too")
            .block_on(run(receiver));
    })
}

async fn talk<const N: usize>(
    case: Case,
    sender: mpsc::Sender<Message<N>>,
    meter: &mut Meter,
) -> Outcome {
    let start = async || -> Outcome<oneshot::Receiver<[u8; N]>> {
        let (reply, answer) = oneshot::channel();
        sender
            .send(Message::Echo([7; N], reply))
            .await
            .map_err(|_| "the task has ended")?;
        Ok(answer)
    };
    let call = async || -> Outcome {
        start().await?.await?;
        Ok(())
    };
    match case {
        Case::Pipelined => meter.pipelined(start).await,
        Case::Tell => {
            let tell = async || -> Outcome {
                let message = Message::Take([7; N]);
                Ok(sender
                    .send(message)
                    .await
                    .map_err(|_| "the task has ended")?)
            };
            meter.tells(Flow::Bursts, tell, call).await
        }
        _ => meter.round_trips(call).await,
    }
}

async fn run<const N: usize>(mut receiver: mpsc::Receiver<Message<N>>) {
    let mut taken = 0_u64;
    while let Some(message) = receiver.recv().await {
        match message {
            // A caller that has gone needs no answer.
            Message::Echo(payload, reply) => drop(reply.send(payload)),
            Message::Take(payload) => taken = taken.wrapping_add(u64::from(payload[0])),
        }
    }
    std::hint::black_box(taken);
}
