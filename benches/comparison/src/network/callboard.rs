//! callboard over TCP: an actor that listens, called by its address and a key. Everything on the
//! wire is encrypted, and both sides have shown that they have the key.

use ::callboard::AuthKey;
use ::callboard::cpu::Core;
use ::callboard::prelude::*;
use nix::unistd::Pid;

use super::{ANSWER, Exchange, check};
use crate::meter::Meter;
use crate::subject::Outcome;

pub struct Replier;

#[actor]
impl Replier {
    pub fn new() -> Self {
        Self
    }

    /// The first bytes of the payload.
    pub fn reply(&self, payload: &[u8]) -> [u8; ANSWER] {
        payload.first_chunk().copied().unwrap_or([0; ANSWER])
    }
}

pub(super) async fn measure(core: Option<usize>, exchange: Exchange, meter: &mut Meter) -> Outcome {
    let key = AuthKey::random()?;
    let mut spawn = Replier::spawn().listen("tcp://127.0.0.1:0").authkey(&key);
    if let Some(core) = core {
        spawn = spawn.pin(Core(u32::try_from(core)?));
    }
    let owned = spawn.await?;
    meter.watch(Pid::from_raw(owned.process_id().cast_signed()));
    let address = owned.address().ok_or("it listens nowhere")?;
    let replier = Replier::connect(address, &key).await?;
    let payload = exchange.payload();
    let call = async || -> Outcome { check(&replier.reply(&payload).await?) };
    let outcome = meter.round_trips(call).await;
    drop(replier);
    owned.shutdown().await.map_err(|error| error.to_string())?;
    outcome
}
