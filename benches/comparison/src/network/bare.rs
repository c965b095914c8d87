//! A bare socket of tokio's: nothing but the bytes, and both sides know how many come.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{ANSWER, Exchange};
use crate::meter::Meter;
use crate::subject::Outcome;

pub(super) async fn serve(listener: TcpListener, len: usize) -> Outcome {
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let mut bytes = vec![0; len];
    loop {
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&bytes[..ANSWER]).await?;
    }
}

pub(super) async fn measure(port: u16, exchange: Exchange, meter: &mut Meter) -> Outcome {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let payload = exchange.payload();
    let mut answer = [0; ANSWER];
    let call = async || -> Outcome {
        stream.write_all(&payload).await?;
        stream.read_exact(&mut answer).await?;
        Ok(())
    };
    meter.round_trips(call).await
}
