//! Actors that fall together.

use futures_util::FutureExt as _;
use tokio::task::AbortHandle;

use crate::node::being::Being;
use crate::node::handle::Proxy;
use crate::node::monitor::{DownReason, Monitor};

/// Two actors that share their fate; from [`link`]. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Link(AbortHandle);

impl Link {
    /// From now on each has a fate of its own.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Proxy;
    /// fn for_a_while<P: Proxy>(one: &P, other: &P) {
    ///     let link = callboard::supervision::link(one, other);
    ///     link.unlink();
    /// }
    /// # let _ = for_a_while::<callboard::AnyProxy>;
    /// ```
    pub fn unlink(&self) {
        self.0.abort();
    }
}

/// Links two actors: when one of them dies, the other is killed. One that ends in order takes
/// nobody with it, and ends the link.
///
/// The link keeps nobody alive. Of a [supervised](super::Supervisor) actor, its next life is
/// linked, too.
///
/// # Panics
/// Outside a tokio runtime.
///
/// # Examples
/// ```standalone_crate
/// use callboard::prelude::*;
/// use callboard::supervision::link;
///
/// pub struct Twin;
///
/// #[actor]
/// impl Twin {
///     pub fn new() -> Self { Self }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let (one, other) = (Twin::spawn().await?, Twin::spawn().await?);
///     link(&one, &other);
///     let mut monitor = other.monitor();
///     one.kill().await;
///     monitor.down().await;
///     assert!(!other.is_alive());
///     Ok(())
/// }
/// ```
pub fn link(one: &impl Proxy, other: &impl Proxy) -> Link {
    let (mut one, mut other) = (Linked::new(one), Linked::new(other));
    let fate = tokio::spawn(async move {
        loop {
            let (reason, survivor) = tokio::select! {
                reason = one.monitor.down() => (reason, &mut other),
                reason = other.monitor.down() => (reason, &mut one),
            };
            match reason {
                Some(DownReason::Died(_)) => survivor.fall().await,
                Some(DownReason::Stopped) | None => return,
            }
        }
    });
    Link(fate.abort_handle())
}

/// One of the two.
struct Linked {
    monitor: Monitor,
    being: Being,
}

impl Linked {
    fn new(proxy: &impl Proxy) -> Self {
        Self {
            monitor: proxy.monitor(),
            being: proxy.__handle().life().being.clone(),
        }
    }

    /// Ends its present life, unless that has ended by itself. Its end is no other's then.
    async fn fall(&mut self) {
        if self.monitor.down().now_or_never().is_none() {
            self.being.strike();
            self.monitor.down().await;
        }
    }
}
