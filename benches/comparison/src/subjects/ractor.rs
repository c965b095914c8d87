//! ractor: an actor as a task of the same thread.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, concurrency};

use super::current_thread;
use crate::meter::{Flow, Meter};
use crate::stage::Stage;
use crate::subject::{Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct Ractor;

impl Subject for Ractor {
    fn name(&self) -> &'static str {
        "ractor"
    }

    fn package(&self) -> Option<&'static str> {
        Some("ractor")
    }

    fn standing(&self) -> Standing {
        Standing::Actors
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        let is_meant = !matches!(case, Case::Idle | Case::IdlePause | Case::TellLarge);
        is_meant.then_some(Waiting::OneThread)
    }

    fn round(&self, case: Case, _stage: &Stage, meter: &mut Meter) -> Outcome {
        match case {
            Case::HotKib => measure::<LARGE>(case, meter),
            _ => measure::<SMALL>(case, meter),
        }
    }
}

fn measure<const N: usize>(case: Case, meter: &mut Meter) -> Outcome {
    current_thread()?.block_on(async {
        let (actor, running) = Actor::spawn(None, Echo::<N>, ()).await?;
        let outcome = talk(case, &actor, meter).await;
        actor.stop(None);
        running.await?;
        outcome
    })
}

async fn talk<const N: usize>(
    case: Case,
    actor: &ActorRef<Message<N>>,
    meter: &mut Meter,
) -> Outcome {
    let call = async || -> Outcome {
        let answer = actor.call(|reply| Message::Echo([7; N], reply), None).await;
        answer
            .map_err(|_| "the actor has stopped")?
            .success_or("no answer")?;
        Ok(())
    };
    match case {
        Case::Pipelined => {
            let start = async || {
                let (sender, answer) = concurrency::oneshot();
                let sent = actor.cast(Message::Echo([7; N], sender.into()));
                sent.map_err(|_| "the actor has stopped")?;
                Ok(answer)
            };
            meter.pipelined(start).await
        }
        Case::Tell => {
            let tell = async || {
                let sent = actor.cast(Message::Take([7; N]));
                sent.map_err(|_| "the actor has stopped".into())
            };
            meter.tells(Flow::Bursts, tell, call).await
        }
        _ => meter.round_trips(call).await,
    }
}

struct Echo<const N: usize>;

enum Message<const N: usize> {
    Echo([u8; N], RpcReplyPort<[u8; N]>),
    Take([u8; N]),
}

impl<const N: usize> Actor for Echo<N> {
    type Msg = Message<N>;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message<N>>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Message<N>>,
        message: Message<N>,
        taken: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // A caller that has gone needs no answer.
            Message::Echo(payload, reply) => drop(reply.send(payload)),
            Message::Take(payload) => *taken = taken.wrapping_add(u64::from(payload[0])),
        }
        Ok(())
    }
}
