//! What `#[actor(mailbox = .., ..)]` says of every start of a type, of processes and of tasks.

use std::path::PathBuf;
use std::time::Duration;

use super::heartbeat::Heartbeat;
use super::limits::Limits;
use super::local::Local;
use super::output::Output;
use super::remote::connect::ConnectError;
use super::spawn::Spawn;
use crate::actor::mailbox::Mailbox;
use crate::cpu::Cores;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;
use crate::transport::idle::Idle;
use crate::transport::link_kind::LinkKind;

/// A start that is told what its type says. What means nothing to a task, a task is not told.
#[doc(hidden)]
pub trait Settings: Sized {
    #[must_use]
    fn with_mailbox(self, mailbox: impl Into<Mailbox>) -> Self;

    #[must_use]
    fn with_idle(self, idle: Idle) -> Self;

    #[must_use]
    fn with_grace(self, grace: Duration) -> Self;

    #[must_use]
    fn with_process_name(self, name: impl Into<String>) -> Self;

    #[must_use]
    fn with_listen<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>;

    #[must_use]
    fn with_advertise<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>;

    #[must_use]
    fn with_authkey(self, key: impl Into<AuthKey>) -> Self;

    #[must_use]
    fn with_listen_with<A, K, I>(self, place: (A, I)) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        I: IntoIterator<Item = K>,
        K: Into<AuthKey>;

    #[must_use]
    fn with_connections(self, most: u32) -> Self;

    #[must_use]
    fn with_blob_limit(self, bytes: u64) -> Self;

    #[must_use]
    fn with_stdout(self, output: Output) -> Self {
        let _ = output;
        self
    }

    #[must_use]
    fn with_stderr(self, output: Output) -> Self {
        let _ = output;
        self
    }

    #[must_use]
    fn with_current_dir(self, dir: impl Into<PathBuf>) -> Self {
        let _ = dir;
        self
    }

    #[must_use]
    fn with_greet_within(self, within: Duration) -> Self {
        let _ = within;
        self
    }

    #[must_use]
    fn with_link(self, kind: LinkKind) -> Self {
        let _ = kind;
        self
    }

    #[must_use]
    fn with_pin(self, cores: impl Into<Cores>) -> Self {
        let _ = cores;
        self
    }

    #[must_use]
    fn with_limits(self, limits: Limits) -> Self {
        let _ = limits;
        self
    }

    #[must_use]
    fn with_heartbeat(self, heartbeat: impl Into<Heartbeat>) -> Self {
        let _ = heartbeat;
        self
    }
}

impl<P, Args, E> Settings for Spawn<P, Args, E> {
    fn with_mailbox(self, mailbox: impl Into<Mailbox>) -> Self {
        self.mailbox(mailbox)
    }

    fn with_idle(self, idle: Idle) -> Self {
        self.idle(idle)
    }

    fn with_grace(self, grace: Duration) -> Self {
        self.grace(grace)
    }

    fn with_process_name(self, name: impl Into<String>) -> Self {
        self.name(name)
    }

    fn with_listen<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.listen(address)
    }

    fn with_advertise<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.advertise(address)
    }

    fn with_authkey(self, key: impl Into<AuthKey>) -> Self {
        self.authkey(key)
    }

    fn with_listen_with<A, K, I>(self, (address, keys): (A, I)) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        I: IntoIterator<Item = K>,
        K: Into<AuthKey>,
    {
        self.listen_with(address, keys)
    }

    fn with_connections(self, most: u32) -> Self {
        self.connections(most)
    }

    fn with_blob_limit(self, bytes: u64) -> Self {
        self.blob_limit(bytes)
    }

    fn with_stdout(self, output: Output) -> Self {
        self.stdout(output)
    }

    fn with_stderr(self, output: Output) -> Self {
        self.stderr(output)
    }

    fn with_current_dir(self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir(dir)
    }

    fn with_greet_within(self, within: Duration) -> Self {
        self.greet_within(within)
    }

    fn with_link(self, kind: LinkKind) -> Self {
        self.link(kind)
    }

    fn with_pin(self, cores: impl Into<Cores>) -> Self {
        self.pin(cores)
    }

    fn with_limits(self, limits: Limits) -> Self {
        self.limits(limits)
    }

    fn with_heartbeat(self, heartbeat: impl Into<Heartbeat>) -> Self {
        self.heartbeat(heartbeat)
    }
}

impl<P, Args, E> Settings for Local<P, Args, E> {
    fn with_mailbox(self, mailbox: impl Into<Mailbox>) -> Self {
        self.mailbox(mailbox)
    }

    fn with_idle(self, idle: Idle) -> Self {
        self.idle(idle)
    }

    fn with_grace(self, grace: Duration) -> Self {
        self.grace(grace)
    }

    fn with_process_name(self, name: impl Into<String>) -> Self {
        self.name(name)
    }

    fn with_listen<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.listen(address)
    }

    fn with_advertise<A>(self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.advertise(address)
    }

    fn with_authkey(self, key: impl Into<AuthKey>) -> Self {
        self.authkey(key)
    }

    fn with_listen_with<A, K, I>(self, (address, keys): (A, I)) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        I: IntoIterator<Item = K>,
        K: Into<AuthKey>,
    {
        self.listen_with(address, keys)
    }

    fn with_connections(self, most: u32) -> Self {
        self.connections(most)
    }

    fn with_blob_limit(self, bytes: u64) -> Self {
        self.blob_limit(bytes)
    }
}
