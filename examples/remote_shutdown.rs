//! U15, U49: a client asks for the end of a server; the server's actor and its owner have a say.
//!
//! In two terminals:
//!
//! ```text
//! cargo run --example remote_shutdown -- server unix:/tmp/library /tmp/library.key
//! cargo run --example remote_shutdown -- client unix:/tmp/library /tmp/library.key
//! ```
//!
//! The server makes the key file if there is none. Without arguments both run here, as two
//! programs.

mod programs;

use std::time::Duration;

use callboard::prelude::*;
use callboard::{Address, AuthKey, ShutdownError};

use programs::{Folder, Program, key_of};

/// Lends books, and does not close while one is lent.
pub struct Library {
    lent: u32,
}

#[actor]
impl Library {
    pub fn new() -> Self {
        Self { lent: 0 }
    }

    pub fn borrow(&mut self) {
        self.lent += 1;
    }

    pub fn give_back(&mut self) {
        self.lent -= 1;
    }

    /// Runs for whoever asks and does not own the actor. An error says no.
    #[on_end_asked]
    fn close(&mut self) -> Result<(), String> {
        match self.lent {
            0 => Ok(()),
            lent => Err(format!("{lent} lent")),
        }
    }
}

async fn server(address: &str, key: &str) -> callboard::Result<()> {
    let library = Library::spawn().listen(address).authkey(key_of(key)?);
    let library = library.await?;
    let address = library.address().map(Address::to_string);
    println!("{}", address.unwrap_or_default());
    // `library.serve().await` does the same, and hears Ctrl-C in programs with a `main` of their
    // own; so there is time for something else.
    while !library.end_asked_within(Duration::from_secs(10)).await {
        println!("{library} is open");
    }
    println!("closed");
    library.shutdown().await
}

async fn client(address: &str, key: &str) -> callboard::Result<()> {
    let library = Library::connect(address, AuthKey::from_file(key)?).await?;
    library.borrow().await?;
    match library.stop().await {
        Err(ShutdownError::Refused { reason }) => println!("not yet: {reason}"),
        other => panic!("closed while a book is lent: {other:?}"),
    }
    library.give_back().await?;
    library.shutdown().await?;
    println!("the server's actor ended with {}", library.exited().await);
    assert!(matches!(
        library.borrow().await,
        Err(CallError::Stopped { .. })
    ));
    Ok(())
}

/// Runs both sides, each as a program of its own.
async fn both() -> callboard::Result<()> {
    let folder = Folder::new("remote-shutdown")?;
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
            eprintln!("usage: remote_shutdown [server|client ADDRESS KEYFILE]");
            Ok(())
        }
    }
}
