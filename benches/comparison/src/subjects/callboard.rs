//! callboard: an actor in its own process, once for each way of waiting.

use ::callboard::Idle;
use ::callboard::prelude::*;

use super::current_thread;
use crate::meter::{Flow, Meter};
use crate::stage::{Stage, pin};
use crate::subject::{Case, IN_PLACE, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct Callboard(pub Idle);

pub struct Echo {
    taken: u64,
}

#[actor]
impl Echo {
    /// The actor moves itself to the second core, if that is decided.
    pub fn new(core: Option<u32>) -> Self {
        if let Some(core) = core {
            pin(core as usize).expect("the second core is one of those we may use");
        }
        Self { taken: 0 }
    }

    pub fn echo(&self, payload: [u8; SMALL]) -> [u8; SMALL] {
        payload
    }

    pub fn echo_kib(&self, payload: [u8; LARGE]) -> [u8; LARGE] {
        payload
    }

    pub fn take(&mut self, payload: [u8; SMALL]) {
        self.taken = self.taken.wrapping_add(u64::from(payload[0]));
    }

    pub fn take_bytes(&mut self, payload: &[u8]) {
        self.taken = self.taken.wrapping_add(u64::from(payload[1]));
    }

    pub fn pid(&self) -> i32 {
        std::process::id().cast_signed()
    }
}

/// The same actor as a task of the caller's thread.
pub struct Local;

impl Subject for Local {
    fn name(&self) -> &'static str {
        "callboard-local"
    }

    fn standing(&self) -> Standing {
        Standing::OursInProcess
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        let is_meant = !matches!(case, Case::Idle | Case::IdlePause | Case::TellLarge);
        is_meant.then_some(Waiting::OneThread)
    }

    fn round(&self, case: Case, _stage: &Stage, meter: &mut Meter) -> Outcome {
        current_thread()?.block_on(async {
            let actor = Echo::local(None).await?;
            let outcome = measure(case, &actor, meter).await;
            actor.shutdown().await.map_err(|error| error.to_string())?;
            outcome
        })
    }
}

impl Subject for Callboard {
    fn name(&self) -> &'static str {
        match self.0 {
            Idle::Park => "callboard-park",
            Idle::Busy => "callboard-busy",
            _ => "callboard",
        }
    }

    fn standing(&self) -> Standing {
        Standing::Ours
    }

    /// Back to back, one that adapts never parks, and one that parks is never hot.
    fn waiting(&self, case: Case) -> Option<Waiting> {
        match (self.0, case) {
            (Idle::Park, Case::Idle | Case::IdlePause | Case::Pipelined) => Some(Waiting::Parks),
            (Idle::Busy, Case::Hot | Case::HotKib) => Some(Waiting::Polls),
            (Idle::Park | Idle::Busy, _) | (_, Case::Idle) => None,
            _ => Some(Waiting::Adapts),
        }
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        let core = stage.cores.there().map(u32::try_from).transpose()?;
        current_thread()?.block_on(async {
            let actor = Echo::spawn(core).idle(self.0).await?;
            meter.watch(nix::unistd::Pid::from_raw(actor.pid().await?));
            let outcome = measure(case, &actor, meter).await;
            actor.shutdown().await.map_err(|error| error.to_string())?;
            outcome
        })
    }
}

async fn measure(case: Case, actor: &EchoProxy, meter: &mut Meter) -> Outcome {
    let call = async || -> Outcome {
        actor.echo([7; SMALL]).await?;
        Ok(())
    };
    match case {
        Case::HotKib => {
            let call = async || -> Outcome {
                actor.echo_kib([7; LARGE]).await?;
                Ok(())
            };
            meter.round_trips(call).await
        }
        Case::Pipelined => {
            meter
                .pipelined(async || Ok(actor.echo([7; SMALL]).start()))
                .await
        }
        Case::Tell => {
            let tell = async || -> Outcome { Ok(actor.take([7; SMALL]).tell().await?) };
            meter.tells(Flow::Stream, tell, call).await
        }
        Case::TellLarge => {
            let payload = vec![7; IN_PLACE];
            let tell = async || -> Outcome { Ok(actor.take_bytes(&payload).tell().await?) };
            meter.tells(Flow::Stream, tell, call).await
        }
        _ => meter.round_trips(call).await,
    }
}
