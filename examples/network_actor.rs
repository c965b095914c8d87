//! U40, U41, U42, U49: an actor that other programs call, on this machine or any other.
//!
//! In two terminals:
//!
//! ```text
//! cargo run --example network_actor -- server tcp://127.0.0.1:7000 /tmp/authkey
//! cargo run --example network_actor -- client tcp://127.0.0.1:7000 /tmp/authkey
//! ```
//!
//! The server makes the key file if there is none; for a client on another machine, copy it there.
//! Without arguments both run here, as two programs.

mod programs;

use callboard::prelude::*;
use callboard::{Address, AuthKey, ConnectError};

use programs::{Folder, Program, key_of};

/// An actor that remembers who has greeted it.
pub struct Guestbook {
    names: Vec<String>,
}

#[actor]
impl Guestbook {
    pub fn new() -> Self {
        Self { names: Vec::new() }
    }

    pub fn sign(&mut self, name: String) -> usize {
        self.names.push(name);
        self.names.len()
    }

    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}

async fn server(address: &str, key: &str) -> callboard::Result<()> {
    let key = key_of(key)?;
    let book = Guestbook::spawn().listen(address).authkey(&key).await?;
    let address = book.address().map(Address::to_string);
    println!("{}", address.unwrap_or_default());
    // Until a client asks, or Ctrl-C.
    book.end_asked().await;
    println!("signed by {}", book.names().await?.join(", "));
    book.shutdown().await
}

async fn client(address: &str, key: &str) -> callboard::Result<()> {
    let key = AuthKey::from_file(key)?;
    let book = Guestbook::connect(address, &key).await?;
    println!("connected to {book}, the key's id is {}", key.id());
    let place = book.sign(format!("process {}", std::process::id())).await?;
    println!("we are number {place}");

    // Without the key nobody gets in.
    match Guestbook::connect(address, AuthKey::random()?).await {
        Err(error @ ConnectError::Auth { .. }) => println!("with another key: {error}"),
        other => panic!("let in without the key, or not heard: {other:?}"),
    }

    // It is not ours: this asks whoever started it to end it.
    book.shutdown().await?;
    let end = book.exited().await;
    println!("the server's actor ended with {end}");
    assert!(matches!(book.names().await, Err(CallError::Stopped { .. })));
    Ok(())
}

/// Runs both sides, each as a program of its own.
async fn both() -> callboard::Result<()> {
    let folder = Folder::new("network-actor")?;
    let key = folder.file("authkey");
    let mut server = Program::start(&["server", "tcp://127.0.0.1:0", &key])?;
    let address = server.line().await?;
    Program::start(&["client", &address, &key])?.end().await?;
    server.end().await?;
    Ok(())
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => both().await,
        ["server", address, key] => server(address, key).await,
        ["client", address, key] => client(address, key).await,
        _ => {
            eprintln!("usage: network_actor [server|client ADDRESS KEYFILE]");
            Ok(())
        }
    }
}
