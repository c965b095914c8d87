//! U50, U51, U52: a registry, at which programs register their actors, and others find one.
//!
//! In three terminals:
//!
//! ```text
//! cargo run --example registry -- registry tcp://127.0.0.1:5000 /tmp/authkey
//! cargo run --example registry -- workers tcp://127.0.0.1:5000 /tmp/authkey
//! cargo run --example registry -- client tcp://127.0.0.1:5000 /tmp/authkey
//! ```
//!
//! The registry makes the key file if there is none. Further terminals may have further workers,
//! which end with Ctrl-C. Without arguments all of it runs here, as programs of their own.

mod programs;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::process::id;

use callboard::prelude::*;
use callboard::{Address, AuthKey, credentials};

use programs::{Folder, Program, key_of};

/// Workers by their names. It calls none of them: proxies are values, like others.
pub struct Registry {
    workers: BTreeMap<String, WorkerProxy>,
    /// Who was picked last.
    last: String,
}

#[actor]
impl Registry {
    pub fn new() -> Self {
        Self {
            workers: BTreeMap::new(),
            last: String::new(),
        }
    }

    /// Tells who has that name now; how many there are.
    pub fn register(&mut self, name: String, worker: WorkerProxy) -> usize {
        self.workers.insert(name, worker);
        self.workers.len()
    }

    /// Whether there was one.
    pub fn unregister(&mut self, name: &str) -> bool {
        self.workers.remove(name).is_some()
    }

    pub fn lookup(&self, name: &str) -> Option<WorkerProxy> {
        self.workers.get(name).cloned()
    }

    /// The next one in turn; none: there are none.
    pub fn pick(&mut self) -> Option<(String, WorkerProxy)> {
        let behind = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let next = self.workers.range::<str, _>(behind).next();
        let (name, worker) = next.or_else(|| self.workers.first_key_value())?;
        self.last.clone_from(name);
        Some((name.clone(), worker.clone()))
    }

    pub fn names(&self) -> Vec<String> {
        self.workers.keys().cloned().collect()
    }
}

/// What is registered.
pub struct Worker {
    name: String,
}

#[actor]
impl Worker {
    pub fn new(name: String) -> Self {
        Self { name }
    }

    pub fn work(&self, on: &str) -> String {
        format!("{on}, done by {} in process {}", self.name, id())
    }
}

async fn registry(address: &str, key: &str) -> callboard::Result<()> {
    let registry = Registry::spawn().listen(address).authkey(key_of(key)?);
    let registry = registry.await?;
    let address = registry.address().map(Address::to_string);
    println!("{}", address.unwrap_or_default());
    // Until a client asks, or Ctrl-C.
    registry.serve().await?;
    Ok(())
}

async fn workers(address: &str, key: &str) -> callboard::Result<()> {
    let key = AuthKey::from_file(key)?;
    let registry = Registry::connect(address, &key).await?;
    let mut workers = Vec::new();
    for number in 1..=3 {
        let name = format!("{}/{number}", id());
        // For callers on other machines: "tcp://0.0.0.0:0", and the name of this one as
        // `advertise("tcp://NAME:0")`.
        let worker = Worker::spawn(name.clone()).listen("tcp://127.0.0.1:0");
        let worker = worker.authkey(&key).await?;
        let count = registry.register(name.clone(), worker.clone()).await?;
        println!("{name} is one of {count}");
        workers.push((name, worker));
    }
    for (name, worker) in workers {
        // Until somebody asks, or Ctrl-C.
        worker.serve().await?;
        registry.unregister(&name).await?;
    }
    Ok(())
}

async fn client(address: &str, key: &str) -> callboard::Result<()> {
    let key = AuthKey::from_file(key)?;
    let registry = Registry::connect(address, &key).await?;
    let names = registry.names().await?;
    // Everybody twice, in turn.
    for number in 0..2 * names.len() {
        let Some((name, worker)) = registry.pick().await? else {
            break;
        };
        // A proxy knows where its actor is reached, and brings no key with it.
        for address in worker.addresses() {
            credentials().add(address, &key)?;
        }
        match worker.work(&format!("piece {number}")).await {
            Ok(done) => println!("{done}"),
            // A program that was killed has unregistered nobody.
            Err(error) => {
                println!("{name} is gone: {error}");
                registry.unregister(&name).await?;
            }
        }
    }
    println!("{} are registered", registry.names().await?.len());
    Ok(())
}

/// Those that are registered, of one program or of all, each called once.
async fn found(
    registry: &RegistryProxy,
    key: &AuthKey,
    program: Option<u32>,
) -> callboard::Result<Vec<WorkerProxy>> {
    let mut found = Vec::new();
    for name in registry.names().await? {
        if program.is_some_and(|id| !name.starts_with(&format!("{id}/"))) {
            continue;
        }
        if let Some(worker) = registry.lookup(&name).await? {
            credentials().add(worker.address().expect("it listens"), key)?;
            worker.work("nothing").await?;
            found.push(worker);
        }
    }
    Ok(found)
}

/// Runs the registry, two programs with workers, and clients.
async fn all() -> callboard::Result<()> {
    let folder = Folder::new("registry")?;
    let key = folder.file("authkey");
    let mut server = Program::start(&["registry", "tcp://127.0.0.1:0", &key])?;
    let address = server.line().await?;

    let said = Program::start(&["client", &address, &key])?.end().await?;
    assert_eq!(said, ["0 are registered"]);

    let mut programs = Vec::new();
    for _ in 0..2 {
        let mut program = Program::start(&["workers", &address, &key])?;
        for _ in 0..3 {
            program.line().await?;
        }
        programs.push(program);
    }
    let said = Program::start(&["client", &address, &key])?.end().await?;
    assert_eq!(said.len(), 13, "six workers, twice each");
    for program in &programs {
        let by = format!("by {}/", program.id().expect("it runs"));
        assert_eq!(said.iter().filter(|line| line.contains(&by)).count(), 6);
    }

    // Who is killed takes nobody out; the next client does.
    let secret = AuthKey::from_file(&key)?;
    let registry = Registry::connect(address.as_str(), &secret).await?;
    let killed = programs.remove(0);
    let theirs = found(&registry, &secret, killed.id()).await?;
    assert_eq!(theirs.len(), 3);
    killed.kill().await?;
    for worker in theirs {
        println!("{worker} ended: {}", worker.exited().await);
    }
    let said = Program::start(&["client", &address, &key])?.end().await?;
    assert_eq!(said.last().expect("it counts them"), "3 are registered");

    // The others are asked to end, by whoever finds them.
    for worker in found(&registry, &secret, None).await? {
        worker.shutdown().await?;
    }
    for program in programs {
        program.end().await?;
    }
    assert!(registry.pick().await?.is_none());
    registry.shutdown().await?;
    server.end().await?;
    Ok(())
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => all().await,
        ["registry", address, key] => registry(address, key).await,
        ["workers", address, key] => workers(address, key).await,
        ["client", address, key] => client(address, key).await,
        _ => {
            eprintln!("usage: registry [registry|workers|client ADDRESS KEYFILE]");
            Ok(())
        }
    }
}
