//! The owner's side of an actor that others call: it is kept until somebody asks for its end.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::ending::ShutdownError;
use super::handle::Proxy;
use super::signals;

/// What owners of actors do that others call by address: keep them until somebody asks for their
/// end. Every proxy has it.
///
/// # Examples
/// ```
/// use callboard::ShutdownError;
/// use callboard::prelude::*;
///
/// async fn until_somebody_asks(actor: impl Proxy) -> Result<(), ShutdownError> {
///     actor.serve().await
/// }
/// ```
pub trait Serve: Proxy {
    /// [`end_asked`](Proxy::end_asked) for at most so long: whether somebody has asked, or the
    /// actor has ended. For an
    /// owner who does something else from time to time.
    ///
    /// # Cancel safety
    /// Nothing is lost: it can be asked again.
    ///
    /// # Examples
    /// ```
    /// use callboard::ShutdownError;
    /// use callboard::prelude::*;
    /// use std::time::Duration;
    ///
    /// async fn serve(actor: impl Proxy) -> Result<(), ShutdownError> {
    ///     while !actor.end_asked_within(Duration::from_secs(10)).await {
    ///         println!("{actor} is still there");
    ///     }
    ///     actor.stop().await
    /// }
    /// ```
    fn end_asked_within(&self, within: Duration) -> impl Future<Output = bool> + Send {
        let asked = self.end_asked();
        async move { timeout(within, asked).await.is_ok() }
    }

    /// Keeps the actor until somebody asks for its end, and then ends it in order: a
    /// [connected](crate::Connect) proxy, SIGINT (Ctrl-C), SIGTERM or SIGHUP. Also done when the
    /// actor has ended by itself. It is what the `main` of a server ends with.
    ///
    /// In [`callboard::main`](macro@crate::main) a signal ends all of `main` in the same way, with
    /// the exit code that it stands for; elsewhere what follows here runs then. A signal that the
    /// process ignores is ignored here, too. From the first call on signals end the program no
    /// longer by themselves, as `tokio::signal` has it.
    ///
    /// # Errors
    /// [`ShutdownError`] when the actor ended otherwise than in order.
    ///
    /// # Cancel safety
    /// Dropped before it was asked, the actor goes on; after that it ends all the same.
    ///
    /// # Examples
    /// ```standalone_crate
    /// use callboard::AuthKey;
    /// use callboard::prelude::*;
    ///
    /// pub struct Echo;
    ///
    /// #[actor]
    /// impl Echo {
    ///     pub fn new() -> Self { Self }
    ///     pub fn echo(&self, value: u64) -> u64 { value }
    /// }
    ///
    /// #[callboard::main]
    /// async fn main() -> callboard::Result<()> {
    ///     let key = AuthKey::random()?;
    ///     let echo = Echo::spawn().listen("tcp://127.0.0.1:0").authkey(&key).await?;
    ///     let address = echo.address().expect("it listens").clone();
    /// #   tokio::spawn(async move {
    /// #       let remote = Echo::connect(address, key).await.expect("it is there");
    /// #       remote.shutdown().await.expect("it hears");
    /// #   });
    ///     echo.serve().await?;            // until a client says so, or Ctrl-C
    ///     Ok(())
    /// }
    /// ```
    fn serve(&self) -> impl Future<Output = Result<(), ShutdownError>> + Send {
        async {
            let asked = pin!(self.end_asked());
            signals::or_signal(asked).await;
            self.stop().await
        }
    }
}

impl<P: Proxy> Serve for P {}
