//! U17, U45, U46, U48: proxies that are handed on, within a program and to another one.
//!
//! In two terminals:
//!
//! ```text
//! cargo run --example proxy_forwarding -- server tcp://127.0.0.1:7000 tcp://0.0.0.0:7001
//! cargo run --example proxy_forwarding -- client tcp://127.0.0.1:7000
//! ```
//!
//! Without arguments both run here, as two programs.

mod programs;

use callboard::prelude::*;
use callboard::{Address, AuthError, AuthKey, LinkKind};

use programs::Program;

/// The secrets of a library and of its catalogue. Real ones lie in files: see `callboard authkey`.
fn keys() -> (AuthKey, AuthKey) {
    (AuthKey::from([1; 32]), AuthKey::from([2; 32]))
}

/// What a library has, and whoever it hands its proxy to.
pub struct Catalogue {
    titles: Vec<String>,
}

#[actor]
impl Catalogue {
    pub fn new() -> Self {
        Self { titles: Vec::new() }
    }

    pub fn enter(&mut self, title: String) -> usize {
        self.titles.push(title);
        self.titles.len()
    }

    pub fn titles(&self) -> Vec<String> {
        self.titles.clone()
    }
}

/// An actor that starts another one, and hands its proxy on.
pub struct Library {
    catalogue: CatalogueProxy,
}

#[actor]
impl Library {
    pub async fn new(place: String) -> Self {
        let (_, key) = keys();
        let catalogue = Catalogue::spawn().listen(place).authkey(key).await;
        Self {
            catalogue: catalogue.expect("it can listen there"),
        }
    }

    pub fn catalogue(&self) -> CatalogueProxy {
        self.catalogue.clone()
    }

    /// Has somebody else fill the catalogue.
    pub async fn fill_by(&self, clerk: ClerkProxy) -> usize {
        let filled = clerk.fill(self.catalogue.clone()).await;
        filled.expect("the clerk is there")
    }
}

/// Works with whatever catalogue it is given: directly, nobody stands between the two.
pub struct Clerk;

#[actor]
impl Clerk {
    pub fn new() -> Self {
        Self
    }

    pub async fn fill(&self, catalogue: CatalogueProxy) -> usize {
        // It has a key of its own, which its family has to know, too.
        if let (Err(CallError::Auth { .. }), Some(address)) =
            (catalogue.titles().await, catalogue.address())
        {
            let (_, key) = keys();
            callboard::credentials()
                .add(address, key)
                .expect("it is an address");
        }
        let entered = catalogue.enter("The Tempest".into()).await;
        assert_eq!(catalogue.link(), LinkKind::SharedMemory);
        entered.expect("the catalogue is there")
    }
}

async fn server(address: &str, place: &str) -> callboard::Result<()> {
    let (key, _) = keys();
    let library = Library::spawn(place.to_owned())
        .listen(address)
        .authkey(key);
    let library = library.await?;
    let address = library.address().map(Address::to_string);
    println!("{}", address.unwrap_or_default());
    let clerk = Clerk::spawn().await?;
    // A clone, for what goes away in a message keeps nobody alive.
    let entered = library.fill_by(clerk.clone()).await?;
    println!("the clerk has entered {entered} title, over a link of its own");
    library.end_asked().await;
    library.shutdown().await
}

async fn client(address: &str) -> callboard::Result<()> {
    let (key, catalogues_key) = keys();
    let library = Library::connect(address, key).await?;
    let catalogue = library.catalogue().await?;

    // Its key is not known here, and the error says where it listens.
    let place = match catalogue.titles().await {
        Err(CallError::Auth {
            why: AuthError::NoKey { address },
            ..
        }) => address,
        other => panic!("let in without a key, or not heard: {other:?}"),
    };
    println!("no key is known for {place}");

    // It listens everywhere; from here it is reached where the library is.
    let host = library
        .address()
        .and_then(Address::host)
        .unwrap_or("localhost");
    let reachable = Address::tcp(host, place.port().unwrap_or_default())?;
    let connected = Catalogue::connect(&reachable, catalogues_key)
        .capture([&place])
        .await?;
    drop(connected);

    // The same proxy, by the key that the connection has brought; over shared memory if both
    // programs are on one machine, and else over the network.
    let number = catalogue.enter("Twelfth Night".into()).await?;
    println!("title {number} of {:?}", catalogue.titles().await?);
    println!("called over {}", catalogue.link());
    library.shutdown().await
}

/// Runs both sides, each as a program of its own.
async fn both() -> callboard::Result<()> {
    let mut server = Program::start(&["server", "tcp://127.0.0.1:0", "tcp://0.0.0.0:0"])?;
    let address = server.line().await?;
    server.line().await?;
    let said = Program::start(&["client", &address])?.end().await?;
    assert_eq!(
        said.last().map(String::as_str),
        Some("called over shared memory")
    );
    server.end().await?;
    Ok(())
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => both().await,
        ["server", address, place] => server(address, place).await,
        ["client", address] => client(address).await,
        _ => {
            eprintln!("usage: proxy_forwarding [server ADDRESS PLACE|client ADDRESS]");
            Ok(())
        }
    }
}
