//! tarpc over TCP with bincode, plain.

use ::tarpc::client;
use ::tarpc::context::{self, Context};
use ::tarpc::serde_transport::Transport;
use ::tarpc::server::{BaseChannel, Channel};
use ::tarpc::tokio_serde::formats::Bincode;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::net::{TcpListener, TcpStream};

use super::{ANSWER, Exchange, check};
use crate::meter::Meter;
use crate::subject::Outcome;

#[::tarpc::service]
trait Replier {
    async fn reply(payload: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Server;

impl Replier for Server {
    async fn reply(self, _: Context, payload: Bytes) -> Bytes {
        payload.slice(..ANSWER.min(payload.len()))
    }
}

pub(super) async fn serve(listener: TcpListener) -> Outcome {
    let (stream, _) = listener.accept().await?;
    // Its own `tcp::listen` leaves this to its users.
    stream.set_nodelay(true)?;
    let transport = Transport::from((stream, Bincode::default()));
    let answers = BaseChannel::with_defaults(transport).execute(Server.serve());
    answers
        .for_each(|answer| async { drop(tokio::spawn(answer)) })
        .await;
    Ok(())
}

pub(super) async fn measure(port: u16, exchange: Exchange, meter: &mut Meter) -> Outcome {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let transport = Transport::from((stream, Bincode::default()));
    let client = ReplierClient::new(client::Config::default(), transport).spawn();
    let payload = Bytes::from(exchange.payload());
    let call = async || -> Outcome {
        // A further handle on the same bytes.
        let payload = payload.clone();
        check(&client.reply(context::current(), payload).await?)
    };
    meter.round_trips(call).await
}
