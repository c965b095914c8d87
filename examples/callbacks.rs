//! U08: one method of one actor as a value, called within a program and from another one.
//!
//! In two terminals:
//!
//! ```text
//! cargo run --example callbacks -- server tcp://127.0.0.1:7000
//! cargo run --example callbacks -- client tcp://127.0.0.1:7000
//! ```
//!
//! Without arguments both run here, as two programs.

mod programs;

use callboard::prelude::*;
use callboard::{Address, AuthKey, Callback, credentials};

use programs::Program;

/// What both programs have. A real one lies in a file: see `callboard authkey`.
fn key() -> AuthKey {
    AuthKey::from([7; 32])
}

/// Knows nothing of who listens to it but one method of each.
pub struct Bell {
    listeners: Vec<Callback<String, u32>>,
}

#[actor]
impl Bell {
    pub fn new() -> Self {
        Self {
            listeners: Vec::new(),
        }
    }

    pub fn subscribe(&mut self, listener: Callback<String, u32>) {
        // Listeners of other programs have their key.
        for address in listener.actor().addresses() {
            credentials().add(address, key()).expect("it is an address");
        }
        self.listeners.push(listener);
    }

    /// Tells all, and gives how often each has heard something by now; who is gone is left out.
    pub async fn ring(&self, word: String) -> Vec<u32> {
        let mut heard = Vec::new();
        for listener in &self.listeners {
            heard.extend(listener.call(word.clone()).await);
        }
        heard
    }
}

/// Listens.
pub struct Ear {
    heard: u32,
}

#[actor]
impl Ear {
    pub fn new() -> Self {
        Self { heard: 0 }
    }

    pub fn hear(&mut self, word: String) -> u32 {
        self.heard += 1;
        println!("process {} hears {word:?}", std::process::id());
        self.heard
    }
}

async fn server(address: &str) -> callboard::Result<()> {
    let bell = Bell::spawn().listen(address).authkey(key()).await?;
    let address = bell.address().map(Address::to_string);
    println!("{}", address.unwrap_or_default());
    // One of its own family, over shared memory.
    let ear = Ear::spawn().await?;
    bell.subscribe(ear.callback().hear()).await?;
    assert_eq!(bell.ring("ding".into()).await?, [1]);
    bell.end_asked().await;
    bell.shutdown().await?;
    ear.shutdown().await
}

async fn client(address: &str) -> callboard::Result<()> {
    let bell = Bell::connect(address, key()).await?;
    let ear = Ear::spawn()
        .listen("tcp://127.0.0.1:0")
        .authkey(key())
        .await?;
    bell.subscribe(ear.callback().hear()).await?;
    let heard = bell.ring("dong".into()).await?;
    println!("{heard:?}");
    assert_eq!(heard.last(), Some(&1));
    bell.shutdown().await?;
    ear.shutdown().await
}

/// Runs both sides, each as a program of its own.
async fn both() -> callboard::Result<()> {
    let mut server = Program::start(&["server", "tcp://127.0.0.1:0"])?;
    let address = server.line().await?;
    Program::start(&["client", &address])?.end().await?;
    server.end().await?;
    Ok(())
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => both().await,
        ["server", address] => server(address).await,
        ["client", address] => client(address).await,
        _ => {
            eprintln!("usage: callbacks [server|client ADDRESS]");
            Ok(())
        }
    }
}
