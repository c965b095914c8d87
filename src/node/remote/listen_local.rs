//! How an actor that is a task of this process listens for callers of other programs.

use super::connect::ConnectError;
use crate::node::local::Local;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;

/// A task may be called from outside like any process; see the functions of the same name of
/// [`Spawn`](crate::Spawn).
impl<P, Args, E> Local<P, Args, E> {
    /// Has the actor [listen](crate::Spawn::listen) for callers of other programs.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::AuthKey;
    /// use callboard::prelude::*;
    ///
    /// pub struct Counter(u64);
    ///
    /// #[actor]
    /// impl Counter {
    ///     pub fn new() -> Self { Self(0) }
    ///     pub fn add(&mut self, by: u64) -> u64 { self.0 += by; self.0 }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let key = AuthKey::random()?;
    ///     let counter = Counter::local().listen("tcp://127.0.0.1:0").authkey(&key).await?;
    ///     let address = counter.address().expect("it listens");
    ///     let remote = Counter::connect(address, &key).await?;
    ///     assert_eq!(remote.add(5).await?, 5);
    ///     counter.shutdown().await
    /// }
    /// ```
    pub fn listen<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.listen(address);
        self
    }

    /// Has it listen at a further address with [keys of its own](crate::Spawn::listen_with).
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let [ours, theirs] = [AuthKey::random()?, AuthKey::random()?];
    /// let echo = Echo::local()
    ///     .listen_with("tcp://127.0.0.1:0", [&ours])
    ///     .listen_with("tcp://127.0.0.1:0", [&theirs])
    ///     .await?;
    /// let [first, second] = echo.addresses() else { panic!("it listens at two") };
    /// assert!(Echo::connect(first, &ours).await.is_ok());
    /// assert!(Echo::connect(first, &theirs).await.is_err());
    /// assert!(Echo::connect(second, &theirs).await.is_ok());
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn listen_with<A, K>(mut self, address: A, keys: impl IntoIterator<Item = K>) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
        K: Into<AuthKey>,
    {
        self.options.listening.listen_with(address, keys);
        self
    }

    /// What callers of other programs [must have](crate::Spawn::authkey).
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let key = AuthKey::random()?;
    /// let echo = Echo::local().listen("tcp://127.0.0.1:0").authkey(&key).await?;
    /// let remote = Echo::connect(echo.address().expect("it listens"), &key).await?;
    /// # assert_eq!(remote, echo);
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.set_key(key.into());
        self
    }

    /// A [further](crate::Spawn::or_authkey) key by which they are let in.
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let [new, old] = [AuthKey::random()?, AuthKey::random()?];
    /// let echo = Echo::local().listen("tcp://127.0.0.1:0").authkey(&new).or_authkey(&old).await?;
    /// let remote = Echo::connect(echo.address().expect("it listens"), &old).await?;
    /// # assert_eq!(remote, echo);
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn or_authkey(mut self, key: impl Into<AuthKey>) -> Self {
        self.options.listening.keys.push(key.into());
        self
    }

    /// The address that the actor [tells](crate::Spawn::advertise) others.
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let echo = Echo::local().listen("tcp://0.0.0.0:0").advertise("tcp://node-7:0").await?;
    /// let address = echo.address().expect("it listens");
    /// assert_eq!(address.host(), Some("node-7"));
    /// assert_ne!(address.port(), Some(0));
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn advertise<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        self.options.listening.advertise(address);
        self
    }

    /// How many callers of other programs it has [at most](crate::Spawn::connections).
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let key = AuthKey::random()?;
    /// let echo = Echo::local().listen("tcp://127.0.0.1:0").authkey(&key).connections(1).await?;
    /// let address = echo.address().expect("it listens");
    /// let first = Echo::connect(address, &key).await?;
    /// let second = Echo::connect(address, &key).await;
    /// assert!(matches!(second, Err(callboard::ConnectError::Busy { .. })));
    /// # assert_eq!(first, echo);
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn connections(mut self, most: u32) -> Self {
        self.options.listening.connections_max = most;
        self
    }

    /// How many bytes of blobs may have come from [one of them](crate::Spawn::blob_limit) and be in
    /// use.
    ///
    /// # Examples
    /// ```standalone_crate
    /// # use callboard::{AuthKey, prelude::*};
    /// # pub struct Echo;
    /// # #[actor]
    /// # impl Echo { pub fn new() -> Self { Self } }
    /// # #[callboard::main]
    /// # async fn main() -> callboard::Result<()> {
    /// let key = AuthKey::random()?;
    /// let echo = Echo::local().listen("tcp://127.0.0.1:0").authkey(&key);
    /// let echo = echo.blob_limit(64 << 20).await?;
    /// # echo.shutdown().await
    /// # }
    /// ```
    pub fn blob_limit(mut self, bytes: u64) -> Self {
        self.options.listening.blob_limit = bytes;
        self
    }
}
