//! What a link goes over.

use std::fmt;

/// What a link goes over.
///
/// # Examples
/// ```standalone_crate
/// use callboard::LinkKind;
/// use callboard::prelude::*;
///
/// pub struct Echo;
///
/// #[actor]
/// impl Echo {
///     pub fn new() -> Self { Self }
///     pub fn echo(&self, text: String) -> String { text }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let echo = Echo::spawn().link(LinkKind::Socket).await?;
///     assert_eq!(echo.link(), LinkKind::Socket);
///     assert_eq!(echo.echo("hello".into()).await?, "hello");
///     echo.shutdown().await
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkKind {
    /// Rings in shared memory: a call of two processes that are awake makes no system call.
    SharedMemory,
    /// A Unix stream socket: the same guarantees, some ten microseconds slower per call.
    Socket,
    /// Rings in this process's own memory: that of a [local](crate::Local) actor. To another
    /// process it means shared memory.
    Local,
    /// A connection that was made by address and key: TCP, or a Unix socket with a name. What goes
    /// over it is sealed. To an actor that is started it means a socket.
    Network,
}

impl LinkKind {
    /// The number that travels in the hello.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::SharedMemory | Self::Local => 0,
            Self::Socket | Self::Network => 1,
        }
    }

    /// The kind of a number, if there is one.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::SharedMemory),
            1 => Some(Self::Socket),
            _ => None,
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedMemory => "shared memory",
            Self::Socket => "a socket",
            Self::Local => "memory of one process",
            Self::Network => "a network",
        })
    }
}
