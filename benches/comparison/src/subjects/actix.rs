//! actix: an actor in the same arbiter, and so in the same thread.

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, System};

use crate::meter::{Flow, Meter};
use crate::stage::Stage;
use crate::subject::{BURST, Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct Actix;

impl Subject for Actix {
    fn name(&self) -> &'static str {
        "actix"
    }

    fn package(&self) -> Option<&'static str> {
        Some("actix")
    }

    fn standing(&self) -> Standing {
        Standing::Actors
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        let is_meant = !matches!(case, Case::Idle | Case::IdlePause | Case::TellLarge);
        is_meant.then_some(Waiting::OneThread)
    }

    fn round(&self, case: Case, _stage: &Stage, meter: &mut Meter) -> Outcome {
        System::new().block_on(async {
            let actor = Echo { taken: 0 }.start();
            match case {
                Case::HotKib => measure::<LARGE>(case, &actor, meter).await,
                _ => measure::<SMALL>(case, &actor, meter).await,
            }
        })
    }
}

async fn measure<const N: usize>(case: Case, actor: &Addr<Echo>, meter: &mut Meter) -> Outcome {
    let call = async || -> Outcome {
        actor.send(Ask([7; N])).await?;
        Ok(())
    };
    match case {
        // `send` hands the message over at once unless the mailbox is full.
        Case::Pipelined => meter.pipelined(async || Ok(actor.send(Ask([7; N])))).await,
        Case::Tell => {
            let tell = async || {
                actor.do_send(Take([7; N]));
                Ok(())
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

impl<const N: usize> Message for Ask<N> {
    type Result = [u8; N];
}

impl<const N: usize> Message for Take<N> {
    type Result = ();
}

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(BURST + 24);
    }
}

impl<const N: usize> Handler<Ask<N>> for Echo {
    type Result = MessageResult<Ask<N>>;

    fn handle(&mut self, message: Ask<N>, _: &mut Context<Self>) -> MessageResult<Ask<N>> {
        MessageResult(message.0)
    }
}

impl<const N: usize> Handler<Take<N>> for Echo {
    type Result = ();

    fn handle(&mut self, message: Take<N>, _: &mut Context<Self>) {
        self.taken = self.taken.wrapping_add(u64::from(message.0[0]));
    }
}
