//! A call over TCP, beside the least that two programs of this machine can do: 64 bytes to another
//! process and back over a bare socket of tokio's, plain and sealed by the same cipher; 1 MiB,
//! beside the cipher alone, too; a connection with its handshake beside a bare one; and what a
//! thousand connections take of memory. Beside tarpc and tonic: `network` of benches/comparison.
//!
//! The goals: a call takes at most 1.15 of the bare sealed one's time and 1.4 of the bare plain
//! one's; a megabyte arrives at 0.8 of the bare sealed one's rate, and at 0.6 of the rate at which
//! one core seals it; a connection is there within 3 ms, and takes a bounded piece of memory. The
//! 0.6 is out of reach where the cipher is faster than the way: over loopback, three times.
//!
//! The caller runs on a runtime of one thread, and so does the bare server. All goes over the
//! loopback device: on a real network its latency comes on top, to all of them alike.

use std::future::Future;
use std::hint::black_box;
use std::io;
use std::thread;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Address, AuthKey};
use criterion::{Criterion, Throughput};
use snow::{Builder as Noise, TransportState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// What callboard seals with.
#[path = "../src/transport/cipher.rs"]
mod cipher;

/// The cipher that callboard asks for on this architecture.
const SUITE: &str = if cfg!(target_arch = "x86_64") {
    "Noise_NN_25519_AESGCM_BLAKE2s"
} else {
    "Noise_NN_25519_ChaChaPoly_BLAKE2s"
};

const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// The most that one sealed record holds.
const RECORD: usize = 65_535 - TAG;
const TAG: usize = 16;

/// Gives back what it gets; and has, in its process, a bare server that does the same.
pub struct Echo;

#[actor]
impl Echo {
    pub fn new() -> Self {
        Self
    }

    pub fn small(&self, payload: [u8; SMALL]) -> [u8; SMALL] {
        payload
    }

    pub fn large(&self, payload: &[u8]) -> usize {
        payload.len()
    }

    /// The port of a server that does as little as can be done.
    pub fn bare(&self) -> Result<u16, String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let listener = listener.map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?;
        thread::spawn(move || serve_bare(listener));
        Ok(port.port())
    }
}

/// What a bare client asks for, by its first byte.
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

fn serve_bare(listener: std::net::TcpListener) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // One that ends, ends its task.
            tokio::spawn(answer(stream));
        }
    })
}

/// Answers what is small with the same, and what is large with a byte.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let is_sealed = stream.read_u8().await? == SEALED;
    let mut noise = if is_sealed {
        Some(shake(&mut stream, false).await?)
    } else {
        None
    };
    let mut bytes = vec![0; LARGE];
    loop {
        let len = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
        read(&mut stream, noise.as_mut(), &mut bytes[..len]).await?;
        let answer = if len == SMALL { &bytes[..SMALL] } else { &[1] };
        write(&mut stream, noise.as_mut(), answer, false).await?;
    }
}

async fn shake(stream: &mut TcpStream, is_client: bool) -> io::Result<TransportState> {
    let noise = SUITE.parse().map_err(io::Error::other)?;
    let noise = Noise::with_resolver(noise, cipher::resolver());
    let state = if is_client {
        noise.build_initiator()
    } else {
        noise.build_responder()
    };
    let mut state = state.map_err(io::Error::other)?;
    for turn in 0..2 {
        let mut message = vec![0; 128];
        if (turn == 0) == is_client {
            let len = state.write_message(&[], &mut message);
            let len = len.map_err(io::Error::other)?;
            stream
                .write_u16(u16::try_from(len).unwrap_or(u16::MAX))
                .await?;
            stream.write_all(&message[..len]).await?;
        } else {
            let len = usize::from(stream.read_u16().await?);
            stream.read_exact(&mut message[..len]).await?;
            let read = state.read_message(&message[..len], &mut [0; 128]);
            read.map_err(io::Error::other)?;
        }
    }
    state.into_transport_mode().map_err(io::Error::other)
}

async fn read(
    stream: &mut TcpStream,
    noise: Option<&mut TransportState>,
    bytes: &mut [u8],
) -> io::Result<()> {
    let Some(noise) = noise else {
        stream.read_exact(bytes).await?;
        return Ok(());
    };
    let mut record = vec![0; RECORD + TAG];
    for piece in bytes.chunks_mut(RECORD) {
        let record = &mut record[..piece.len() + TAG];
        stream.read_exact(record).await?;
        noise
            .read_message(record, piece)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

async fn write(
    stream: &mut TcpStream,
    noise: Option<&mut TransportState>,
    bytes: &[u8],
    is_asked: bool,
) -> io::Result<()> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    if is_asked {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
    }
    match noise {
        None => out.extend_from_slice(bytes),
        Some(noise) => {
            for piece in bytes.chunks(RECORD) {
                let at = out.len();
                out.resize(at + piece.len() + TAG, 0);
                let sealed = noise.write_message(piece, &mut out[at..]);
                sealed.map_err(io::Error::other)?;
            }
        }
    }
    stream.write_all(&out).await
}

/// A bare client.
struct Bare {
    stream: TcpStream,
    noise: Option<TransportState>,
    answer: [u8; SMALL],
}

impl Bare {
    async fn connect(port: u16, how: u8) -> io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        stream.write_u8(how).await?;
        let noise = if how == SEALED {
            Some(shake(&mut stream, true).await?)
        } else {
            None
        };
        let answer = [0; SMALL];
        Ok(Self {
            stream,
            noise,
            answer,
        })
    }

    async fn ask(&mut self, bytes: &[u8]) -> io::Result<()> {
        write(&mut self.stream, self.noise.as_mut(), bytes, true).await?;
        let len = if bytes.len() == SMALL { SMALL } else { 1 };
        let answer = &mut self.answer[..len];
        read(&mut self.stream, self.noise.as_mut(), answer).await
    }
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(20)
        .configure_from_args();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has descriptors left");
    let _inside = runtime.enter();
    let key = AuthKey::random().expect("there are random bytes");
    let owned = runtime.block_on(async {
        let spawn = Echo::spawn().listen("tcp://127.0.0.1:0").authkey(&key);
        spawn.await.expect("the actor starts")
    });
    let address = owned.address().expect("it listens").clone();
    let port = runtime
        .block_on(owned.bare().into_future())
        .expect("there are ports");
    asks(&mut criterion, &runtime, (&address, &key), port);
    connects(&mut criterion, &runtime, (&address, &key), port);
    crowd(&runtime, (&address, &key), owned.process_id());
    let ended = runtime.block_on(owned.shutdown());
    ended.expect("the actor ends in order");
    criterion.final_summary();
}

/// 64 bytes there and back, and a megabyte there.
fn asks(criterion: &mut Criterion, runtime: &Runtime, whom: (&Address, &AuthKey), port: u16) {
    let (address, key) = whom;
    let connecting = Echo::connect(address, key).into_future();
    let echo = runtime.block_on(connecting).expect("it is there");
    let large = vec![7; LARGE];
    for len in [SMALL, LARGE] {
        let mut group = criterion.benchmark_group(format!("network_{len}B"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("call", |bencher| {
            bencher.iter(|| {
                if len == SMALL {
                    let call = echo.small(black_box([7; SMALL]));
                    black_box(done(runtime, call.into_future()));
                } else {
                    done(runtime, echo.large(black_box(&large)).into_future());
                }
            });
        });
        for (name, how) in [("bare", PLAIN), ("bare_sealed", SEALED)] {
            let bare = runtime.block_on(Bare::connect(port, how));
            let mut bare = bare.expect("it is there");
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let asked = bare.ask(black_box(&large[..len]));
                    runtime.block_on(asked).expect("it answers");
                });
            });
        }
        if len == LARGE {
            let mut cipher = Cipher::new();
            group.bench_function("seal", |bencher| {
                bencher.iter(|| cipher.seal(black_box(&large)));
            });
        }
        group.finish();
    }
}

/// The sealing alone, without any socket.
struct Cipher {
    noise: TransportState,
    record: Vec<u8>,
}

impl Cipher {
    fn new() -> Self {
        let build = || {
            let suite = SUITE.parse().expect("there is such a suite");
            Noise::with_resolver(suite, cipher::resolver())
        };
        let mut ends = [build().build_initiator(), build().build_responder()]
            .map(|end| end.expect("there are random bytes"));
        for turn in 0..2 {
            let mut message = [0; 128];
            let len = ends[turn].write_message(&[], &mut message);
            let len = len.expect("it is its turn");
            let read = ends[1 - turn].read_message(&message[..len], &mut [0; 128]);
            read.expect("nobody has changed it");
        }
        let [end, _] = ends;
        let noise = end
            .into_transport_mode()
            .expect("that was the last message");
        let record = vec![0; RECORD + TAG];
        Self { noise, record }
    }

    fn seal(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(RECORD) {
            let sealed = self.noise.write_message(piece, &mut self.record);
            black_box(sealed.expect("it fits"));
        }
    }
}

/// From nothing to the first answer.
fn connects(criterion: &mut Criterion, runtime: &Runtime, whom: (&Address, &AuthKey), port: u16) {
    let (address, key) = whom;
    let mut group = criterion.benchmark_group("network_connect");
    group.bench_function("call", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let echo = Echo::connect(address, key).await.expect("it is there");
                echo.small([7; SMALL]).await.expect("it answers")
            })
        });
    });
    for (name, how) in [("bare", PLAIN), ("bare_sealed", SEALED)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut bare = Bare::connect(port, how).await.expect("it is there");
                    bare.ask(&[7; SMALL]).await.expect("it answers");
                });
            });
        });
    }
    group.finish();
}

/// What a thousand connections, each of which has made its calls, take of memory on either side.
fn crowd(runtime: &Runtime, whom: (&Address, &AuthKey), actor: u32) {
    const COUNT: u32 = 1000;
    let (address, key) = whom;
    let processes = [("caller", std::process::id()), ("actor", actor)];
    let before = processes.map(|(_, pid)| resident(pid));
    let crowd = runtime.block_on(async {
        let mut crowd = Vec::new();
        for _ in 0..COUNT {
            let echo = Echo::connect(address, key).await.expect("it is there");
            for _ in 0..10 {
                echo.small([7; SMALL]).await.expect("it answers");
            }
            crowd.push(echo);
        }
        crowd
    });
    for ((side, pid), before) in processes.into_iter().zip(before) {
        let each = resident(pid).saturating_sub(before) / u64::from(COUNT);
        println!("network_crowd/{side}: {each} KiB for each of {COUNT} connections");
    }
    drop(crowd);
}

/// How much memory a process has in use, in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.expect("there is such a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    number
        .and_then(|number| number.parse().ok())
        .expect("the kernel says")
}

fn done<T, E: std::fmt::Debug>(runtime: &Runtime, call: impl Future<Output = Result<T, E>>) -> T {
    runtime.block_on(call).expect("it answers")
}
