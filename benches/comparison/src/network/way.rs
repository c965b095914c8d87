//! The ways, and the second processes of those that have one.

use tokio::net::TcpListener;

use super::{Exchange, bare, callboard, tarpc, tonic};
use crate::meter::Meter;
use crate::stage::{Stage, say};
use crate::subject::{Case, Outcome, Standing, Subject, Waiting};
use crate::subjects::current_thread;

/// One way of asking another process over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Of tokio's, without frames: both sides know how many bytes come. The reference.
    Bare,
    Callboard,
    Tarpc,
    Tonic,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Bare, Self::Callboard, Self::Tarpc, Self::Tonic];

    pub fn protection(self) -> &'static str {
        match self {
            Self::Callboard => "encrypted, authenticated",
            Self::Bare | Self::Tarpc | Self::Tonic => "plain",
        }
    }

    /// Sets up both sides, lets the meter run one round, and takes both sides down.
    pub fn call(self, exchange: Exchange, stage: &Stage, meter: &mut Meter) -> Outcome {
        if self == Self::Callboard {
            let core = stage.cores.there();
            return current_thread()?.block_on(callboard::measure(core, exchange, meter));
        }
        let arguments = [exchange.len().to_string()];
        // A case has to be named, and says nothing to these servers.
        let mut second = stage.second_unready(&self, Case::Idle, &arguments)?;
        let port: u16 = second.hear()?.parse()?;
        meter.watch(second.pid());
        current_thread()?.block_on(async {
            match self {
                Self::Bare => bare::measure(port, exchange, meter).await,
                Self::Callboard => Err("an actor has its own process".into()),
                Self::Tarpc => tarpc::measure(port, exchange, meter).await,
                Self::Tonic => tonic::measure(port, exchange, meter).await,
            }
        })
    }
}

/// Its second process, which says its port once it can be called.
impl Subject for Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Bare => "bare-tcp",
            Self::Callboard => "callboard-tcp",
            Self::Tarpc => "tarpc-tcp",
            Self::Tonic => "tonic",
        }
    }

    fn package(&self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::Callboard => None,
            Self::Tarpc => Some("tarpc"),
            Self::Tonic => Some("tonic"),
        }
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, _case: Case) -> Option<Waiting> {
        None
    }

    fn round(&self, _case: Case, _stage: &Stage, _meter: &mut Meter) -> Outcome {
        Err("it is measured by its exchanges".into())
    }

    fn serve(&self, _case: Case, arguments: &[String]) -> Outcome {
        let len = arguments.first().ok_or("the length is missing")?.parse()?;
        current_thread()?.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            say(&listener.local_addr()?.port().to_string())?;
            match self {
                Self::Bare => bare::serve(listener, len).await,
                Self::Callboard => Err("an actor has its own process".into()),
                Self::Tarpc => tarpc::serve(listener).await,
                Self::Tonic => tonic::serve(listener).await,
            }
        })
    }
}

/// The second processes of this comparison, for the list of all subjects.
pub fn peers() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(Way::Bare),
        Box::new(Way::Tarpc),
        Box::new(Way::Tonic),
    ]
}
