//! tarpc: calls over a Unix socket with bincode, between two processes, each with a runtime of
//! one thread.

use std::path::Path;

use ::tarpc::client;
use ::tarpc::context::{self, Context};
use ::tarpc::serde_transport::unix;
use ::tarpc::server::{BaseChannel, Channel};
use ::tarpc::tokio_serde::formats::Bincode;
use futures_util::StreamExt;
use serde_bytes::ByteArray;

use super::current_thread;
use crate::meter::Meter;
use crate::stage::{Stage, ready};
use crate::subject::{Case, Outcome, SMALL, Standing, Subject, Waiting};

pub struct Tarpc;

#[::tarpc::service]
trait Echo {
    async fn echo(payload: ByteArray<SMALL>) -> ByteArray<SMALL>;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: Context, payload: ByteArray<SMALL>) -> ByteArray<SMALL> {
        payload
    }
}

impl Subject for Tarpc {
    fn name(&self) -> &'static str {
        "tarpc"
    }

    fn package(&self) -> Option<&'static str> {
        Some("tarpc")
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        matches!(case, Case::Idle | Case::IdlePause | Case::Pipelined).then_some(Waiting::Parks)
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        let path = stage.fresh_path();
        let argument = path
            .to_str()
            .ok_or("the folder for temporary files has an odd name")?;
        let second = stage.second(self, case, &[argument.to_owned()])?;
        meter.watch(second.pid());
        current_thread()?.block_on(measure(case, &path, meter))
    }

    fn serve(&self, _case: Case, arguments: &[String]) -> Outcome {
        let path = arguments
            .first()
            .ok_or("the path of the socket is missing")?;
        current_thread()?.block_on(async {
            let mut incoming = unix::listen(path, Bincode::default).await?;
            ready()?;
            while let Some(transport) = incoming.next().await {
                let channel = BaseChannel::with_defaults(transport?);
                let answers = channel.execute(Server.serve());
                answers
                    .for_each(|answer| async { drop(tokio::spawn(answer)) })
                    .await;
            }
            Ok(())
        })
    }
}

async fn measure(case: Case, path: &Path, meter: &mut Meter) -> Outcome {
    let transport = unix::connect(path, Bincode::default).await?;
    let client = EchoClient::new(client::Config::default(), transport).spawn();
    if case == Case::Pipelined {
        let start = async || {
            let client = client.clone();
            // The call is lazy; a task of its own sends it.
            let call = async move {
                client
                    .echo(context::current(), ByteArray::new([7; SMALL]))
                    .await
            };
            Ok(tokio::spawn(call))
        };
        return meter.pipelined(start).await;
    }
    let call = async || -> Outcome {
        client
            .echo(context::current(), ByteArray::new([7; SMALL]))
            .await?;
        Ok(())
    };
    meter.round_trips(call).await
}
