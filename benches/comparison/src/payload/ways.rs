//! The ways: a bare copy, callboard's arguments and blobs, iceoryx2 with loans, ipc-channel with
//! shared memory.

use std::hint::black_box;

use ::callboard::prelude::*;
use ::callboard::{Blob, Idle};
use ::ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender, IpcSharedMemory};
use bytes::Bytes;
use iceoryx2::prelude::*;

use super::{COPIED_MAX, MIB, Trip, Way};
use crate::meter::Meter;
use crate::stage::{Second, Stage, pin, ready};
use crate::subject::{Case, Outcome, Standing, Subject, Waiting};
use crate::subjects::iceoryx2::node;
use crate::subjects::{blocking, current_thread};

/// The places of some in the list.
pub const COPY: usize = 0;
pub const EMPTY_CALL: usize = 1;
pub const ARGUMENT: usize = 2;
pub const BLOB: usize = 3;
pub const LOAN: usize = 5;

/// All of them.
pub fn all() -> Vec<Box<dyn Way>> {
    vec![
        Box::new(Copy),
        Box::new(Callboard(Kind::Nothing)),
        Box::new(Callboard(Kind::Argument)),
        Box::new(Callboard(Kind::Blob)),
        Box::new(Callboard(Kind::NewBlob)),
        Box::new(Iceoryx2),
        Box::new(IpcChannel),
    ]
}

/// The bytes that are brought.
fn source(len: usize) -> Vec<u8> {
    vec![7; len]
}

/// What everybody does with a payload.
fn look(payload: &[u8]) -> usize {
    payload.last().map_or(0, |last| usize::from(*last))
}

/// Within one process: the least that moving bytes can cost. Back again is a second copy.
struct Copy;

impl Way for Copy {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn round(&self, len: usize, trip: Trip, _stage: &Stage, meter: &mut Meter) -> Outcome {
        let (mut bytes, mut other) = (source(len), vec![0; len]);
        blocking(meter.round_trips(async || {
            black_box(&mut other[..]).copy_from_slice(black_box(&bytes));
            if trip == Trip::Echo {
                black_box(&mut bytes[..]).copy_from_slice(black_box(&other));
            }
            Ok(())
        }))
    }
}

/// How callboard is given the payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not at all: what a call costs.
    Nothing,
    /// As bytes of the call and of its result.
    Argument,
    /// As a blob that is there.
    Blob,
    /// As a blob that is made for each call.
    NewBlob,
}

struct Callboard(Kind);

/// What arguments and results may lie in.
const ARENA: u64 = 256 << 20;

/// Takes payloads, and gives others of the same size back.
pub struct Sink {
    back: Bytes,
}

#[actor]
impl Sink {
    /// The actor moves itself to the second core, if that is decided.
    pub fn new(core: Option<u32>, back: usize) -> Self {
        if let Some(core) = core {
            pin(core as usize).expect("the second core is one of those we may use");
        }
        Self {
            back: source(back).into(),
        }
    }

    pub fn nothing(&self) {}

    pub fn bytes(&self, payload: &[u8]) -> usize {
        look(payload)
    }

    /// Its copy into the memory from which the caller reads it is the only one.
    pub fn bytes_back(&self, payload: &[u8]) -> Bytes {
        black_box(look(payload));
        self.back.clone()
    }

    pub fn blob(&self, payload: Blob) -> usize {
        look(&payload)
    }

    pub fn blob_back(&self, payload: Blob) -> Blob {
        payload
    }

    pub fn pid(&self) -> i32 {
        std::process::id().cast_signed()
    }
}

impl Way for Callboard {
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Nothing => "callboard empty call",
            Kind::Argument => "callboard argument",
            Kind::Blob => "callboard blob",
            Kind::NewBlob => "callboard new blob",
        }
    }

    fn takes(&self, len: usize, _trip: Trip) -> bool {
        match self.0 {
            Kind::Nothing | Kind::Blob => true,
            Kind::NewBlob => len <= COPIED_MAX,
            // A message has a limit.
            Kind::Argument => len <= 64 * MIB,
        }
    }

    fn round(&self, len: usize, trip: Trip, stage: &Stage, meter: &mut Meter) -> Outcome {
        let core = stage.cores.there().map(u32::try_from).transpose()?;
        let kind = self.0;
        let bytes = match kind {
            // It needs no source of that size beside it.
            Kind::Nothing | Kind::Blob => Vec::new(),
            Kind::Argument | Kind::NewBlob => source(len),
        };
        current_thread()?.block_on(async {
            let back = if kind == Kind::Argument {
                answer_len(len, trip)
            } else {
                0
            };
            // The longest arguments do not fit into the usual arena.
            let spawn = Sink::spawn(core, back).idle(Idle::Adaptive).arena(ARENA);
            let sink = spawn.await?;
            meter.watch(nix::unistd::Pid::from_raw(sink.pid().await?));
            let blob = Blob::alloc(if kind == Kind::Blob { len } else { 0 })?.seal()?;
            let payload = || match kind {
                Kind::NewBlob => Blob::copy_from(&bytes),
                _ => Ok(blob.clone()),
            };
            let outcome = meter
                .round_trips(async || -> Outcome {
                    match (kind, trip) {
                        (Kind::Nothing, _) => sink.nothing().await?,
                        (Kind::Argument, Trip::OneWay) => {
                            black_box(sink.bytes(&bytes).await?);
                        }
                        (Kind::Argument, Trip::Echo) => {
                            black_box(look(&sink.bytes_back(&bytes).view().await?));
                        }
                        (_, Trip::OneWay) => {
                            black_box(sink.blob(payload()?).await?);
                        }
                        (_, Trip::Echo) => {
                            black_box(look(&sink.blob_back(payload()?).await?));
                        }
                    }
                    Ok(())
                })
                .await;
            sink.shutdown().await.map_err(|error| error.to_string())?;
            outcome
        })
    }
}

/// Publish-subscribe of slices, loaned and polled; what comes back is published by the other side.
struct Iceoryx2;

/// Its second process.
pub struct Iceoryx2Peer;

impl Way for Iceoryx2 {
    fn name(&self) -> &'static str {
        "iceoryx2 loan"
    }

    fn round(&self, len: usize, trip: Trip, stage: &Stage, meter: &mut Meter) -> Outcome {
        let places = [
            stage.fresh_path().display().to_string(),
            stage.shared_prefix(),
        ];
        let node = node(&places)?;
        let back = answer_len(len, trip);
        let (there, here) = (Pipe::open(&node, "there")?, Pipe::open(&node, "here")?);
        let (publisher, subscriber) = (there.publisher(len)?, here.subscriber()?);
        let [root, prefix] = places;
        let arguments = [root, prefix, back.to_string()];
        let second = stage.second(&Iceoryx2Peer, Case::Hot, &arguments)?;
        meter.watch(second.pid());
        let bytes = source(len);
        blocking(meter.round_trips(async || {
            publisher
                .loan_slice_uninit(len)?
                .write_from_slice(&bytes)
                .send()?;
            loop {
                if let Some(answer) = subscriber.receive()? {
                    black_box(look(answer.payload()));
                    return Ok(());
                }
            }
        }))
    }
}

fn answer_len(len: usize, trip: Trip) -> usize {
    match trip {
        Trip::OneWay => 8,
        Trip::Echo => len,
    }
}

type Publisher = iceoryx2::port::publisher::Publisher<iceoryx2::service::ipc::Service, [u8], ()>;
type Subscriber = iceoryx2::port::subscriber::Subscriber<iceoryx2::service::ipc::Service, [u8], ()>;

/// One direction.
struct Pipe(
    iceoryx2::service::port_factory::publish_subscribe::PortFactory<
        iceoryx2::service::ipc::Service,
        [u8],
        (),
    >,
);

impl Pipe {
    fn open(node: &Node<iceoryx2::service::ipc::Service>, name: &str) -> Outcome<Self> {
        let service = node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<[u8]>()
            .open_or_create()?;
        Ok(Self(service))
    }

    fn publisher(&self, len: usize) -> Outcome<Publisher> {
        let builder = self.0.publisher_builder();
        Ok(builder.initial_max_slice_len(len).create()?)
    }

    fn subscriber(&self) -> Outcome<Subscriber> {
        Ok(self.0.subscriber_builder().create()?)
    }
}

impl Subject for Iceoryx2Peer {
    fn name(&self) -> &'static str {
        "payload-iceoryx2"
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, _case: Case) -> Option<Waiting> {
        None
    }

    fn round(&self, _case: Case, _stage: &Stage, _meter: &mut Meter) -> Outcome {
        Err("it is measured by its payloads".into())
    }

    fn serve(&self, _case: Case, arguments: &[String]) -> Outcome {
        let (places, back) = arguments.split_at(arguments.len().min(2));
        let back: usize = back.first().ok_or("the length is missing")?.parse()?;
        let node = node(places)?;
        let (there, here) = (Pipe::open(&node, "there")?, Pipe::open(&node, "here")?);
        let (subscriber, publisher) = (there.subscriber()?, here.publisher(back)?);
        let bytes = source(back);
        ready()?;
        loop {
            if let Some(payload) = subscriber.receive()? {
                black_box(look(payload.payload()));
                publisher
                    .loan_slice_uninit(back)?
                    .write_from_slice(&bytes)
                    .send()?;
            }
        }
    }
}

/// Its shared memory, made anew for each message, as its users do.
struct IpcChannel;

/// Its second process.
pub struct IpcChannelPeer;

/// The second process makes both channels and sends these ends to the first.
type Ends = (IpcSender<IpcSharedMemory>, IpcReceiver<IpcSharedMemory>);

impl Way for IpcChannel {
    fn name(&self) -> &'static str {
        "ipc-channel memory"
    }

    fn round(&self, len: usize, trip: Trip, stage: &Stage, meter: &mut Meter) -> Outcome {
        let (server, name) = IpcOneShotServer::<Ends>::new()?;
        let arguments = [name, answer_len(len, trip).to_string()];
        let second: Second = stage.second_unready(&IpcChannelPeer, Case::Hot, &arguments)?;
        meter.watch(second.pid());
        let (_, (payloads, answers)) = server.accept()?;
        let bytes = source(len);
        let outcome = blocking(meter.round_trips(async || {
            payloads.send(IpcSharedMemory::from_bytes(&bytes))?;
            black_box(look(&answers.recv()?));
            Ok(())
        }));
        // Before our ends, or it would complain that they are gone.
        drop(second);
        outcome
    }
}

impl Subject for IpcChannelPeer {
    fn name(&self) -> &'static str {
        "payload-ipc-channel"
    }

    fn standing(&self) -> Standing {
        Standing::Processes
    }

    fn waiting(&self, _case: Case) -> Option<Waiting> {
        None
    }

    fn round(&self, _case: Case, _stage: &Stage, _meter: &mut Meter) -> Outcome {
        Err("it is measured by its payloads".into())
    }

    fn serve(&self, _case: Case, arguments: &[String]) -> Outcome {
        let [name, back] = arguments else {
            return Err("the name of the server and the length are missing".into());
        };
        let back: usize = back.parse()?;
        let (payload_sender, payloads) = ipc::channel::<IpcSharedMemory>()?;
        let (answers, answer_receiver) = ipc::channel()?;
        IpcSender::<Ends>::connect(name.clone())?.send((payload_sender, answer_receiver))?;
        let bytes = source(back);
        loop {
            black_box(look(&payloads.recv()?));
            answers.send(IpcSharedMemory::from_bytes(&bytes))?;
        }
    }
}
