//! kameo: an actor as a task of the same thread.

use std::convert::Infallible;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};

use super::current_thread;
use crate::meter::{Flow, Meter};
use crate::stage::Stage;
use crate::subject::{BURST, Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct Kameo;

impl Subject for Kameo {
    fn name(&self) -> &'static str {
        "kameo"
    }

    fn package(&self) -> Option<&'static str> {
        Some("kameo")
    }

    fn standing(&self) -> Standing {
        Standing::Actors
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        let is_meant = !matches!(case, Case::Idle | Case::IdlePause | Case::TellLarge);
        is_meant.then_some(Waiting::OneThread)
    }

    fn round(&self, case: Case, _stage: &Stage, meter: &mut Meter) -> Outcome {
        current_thread()?.block_on(async {
            let actor = Echo::spawn_with_mailbox(Echo { taken: 0 }, mailbox::bounded(BURST + 24));
            let outcome = match case {
                Case::HotKib => measure::<LARGE>(case, &actor, meter).await,
                _ => measure::<SMALL>(case, &actor, meter).await,
            };
            actor.stop_gracefully().await?;
            actor.wait_for_shutdown().await;
            outcome
        })
    }
}

async fn measure<const N: usize>(case: Case, actor: &ActorRef<Echo>, meter: &mut Meter) -> Outcome {
    let call = async || -> Outcome {
        actor
            .ask(Ask([7; N]))
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    };
    match case {
        Case::Pipelined => {
            let start = async || {
                let pending = actor.ask(Ask([7; N])).enqueue().await;
                pending.map_err(|error| error.to_string().into())
            };
            meter.pipelined(start).await
        }
        Case::Tell => {
            let tell = async || -> Outcome {
                Ok(actor
                    .tell(Take([7; N]))
                    .await
                    .map_err(|error| error.to_string())?)
            };
            meter.tells(Flow::Bursts, tell, call).await
        }
        _ => meter.round_trips(call).await,
    }
}

struct Echo {
    taken: u64,
}

struct Ask<const N: usize>([u8; N]);

struct Take<const N: usize>([u8; N]);

impl Actor for Echo {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(args: Self, _actor: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(args)
    }
}

impl<const N: usize> Message<Ask<N>> for Echo {
    type Reply = [u8; N];

    async fn handle(&mut self, message: Ask<N>, _: &mut Context<Self, [u8; N]>) -> [u8; N] {
        message.0
    }
}

impl<const N: usize> Message<Take<N>> for Echo {
    type Reply = ();

    async fn handle(&mut self, message: Take<N>, _: &mut Context<Self, ()>) {
        self.taken = self.taken.wrapping_add(u64::from(message.0[0]));
    }
}
