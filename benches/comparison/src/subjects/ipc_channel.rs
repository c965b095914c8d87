//! ipc-channel: typed channels over Unix sockets, between two processes.
//!
//! In the hot case both sides call `try_recv` again and again; otherwise they block in `recv`.

use ::ipc_channel::TryRecvError;
use ::ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};
use serde_bytes::ByteArray;

use super::blocking;
use crate::meter::Meter;
use crate::stage::Stage;
use crate::subject::{Case, LARGE, Outcome, SMALL, Standing, Subject, Waiting};

pub struct IpcChannel;

/// The second process makes both channels and sends these ends to the first.
type Ends<const N: usize> = (IpcSender<ByteArray<N>>, IpcReceiver<ByteArray<N>>);

impl Subject for IpcChannel {
    fn name(&self) -> &'static str {
        "ipc-channel"
    }

    fn package(&self) -> Option<&'static str> {
        Some("ipc-channel")
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        match case {
            Case::Hot | Case::HotKib => Some(Waiting::Polls),
            Case::Idle | Case::IdlePause => Some(Waiting::Parks),
            Case::Pipelined | Case::Tell | Case::TellLarge => None,
        }
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        match case {
            Case::HotKib => measure::<LARGE>(self, case, stage, meter),
            _ => measure::<SMALL>(self, case, stage, meter),
        }
    }

    fn serve(&self, case: Case, arguments: &[String]) -> Outcome {
        let name = arguments
            .first()
            .ok_or("the name of the server is missing")?;
        match case {
            Case::HotKib => echo::<LARGE>(case, name),
            _ => echo::<SMALL>(case, name),
        }
    }
}

fn measure<const N: usize>(
    subject: &IpcChannel,
    case: Case,
    stage: &Stage,
    meter: &mut Meter,
) -> Outcome {
    let (server, name) = IpcOneShotServer::<Ends<N>>::new()?;
    let second = stage.second_unready(subject, case, &[name])?;
    meter.watch(second.pid());
    let (_, (requests, replies)) = server.accept()?;
    let outcome = blocking(meter.round_trips(async || {
        requests.send(ByteArray::new([7; N]))?;
        receive(case, &replies)?;
        Ok(())
    }));
    // Before our ends, or it would complain that they are gone.
    drop(second);
    outcome
}

fn echo<const N: usize>(case: Case, name: &str) -> Outcome {
    let (request_sender, requests) = ipc::channel()?;
    let (replies, reply_receiver) = ipc::channel()?;
    IpcSender::<Ends<N>>::connect(name.to_owned())?.send((request_sender, reply_receiver))?;
    loop {
        replies.send(receive::<N>(case, &requests)?)?;
    }
}

fn receive<const N: usize>(
    case: Case,
    receiver: &IpcReceiver<ByteArray<N>>,
) -> Outcome<ByteArray<N>> {
    if !matches!(case, Case::Hot | Case::HotKib) {
        return Ok(receiver.recv()?);
    }
    loop {
        match receiver.try_recv() {
            Err(TryRecvError::Empty) => {}
            outcome => return Ok(outcome?),
        }
    }
}
