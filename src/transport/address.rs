//! Where an actor is reached: `tcp://host:port`, `unix:/path`. Pure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path that the system gives a socket, in bytes: 108 with the zero at its end.
const PATH_LEN_MAX: usize = 107;

/// The longest name of a machine, in bytes.
const HOST_LEN_MAX: usize = 253;

/// Where an actor is reached over a network, or over a socket of this machine.
///
/// # Examples
/// ```
/// use callboard::Address;
///
/// let address: Address = "tcp://localhost:7000".parse()?;
/// assert_eq!((address.host(), address.port()), (Some("localhost"), Some(7000)));
/// assert_eq!("tcp://[::1]:0".parse::<Address>()?.host(), Some("::1"));
/// assert_eq!("unix:/run/counter".parse::<Address>()?.to_string(), "unix:/run/counter");
/// let socket = Address::unix("/run/counter")?;
/// assert_eq!(socket.path(), Some(std::path::Path::new("/run/counter")));
/// assert!("http://localhost".parse::<Address>().is_err());
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Address {
    /// That of a machine, by name or number, and a port of it.
    ///
    /// # Errors
    /// [`ParseAddressError`] when it is no name.
    ///
    /// # Examples
    /// ```
    /// let address = callboard::Address::tcp("::1", 7000)?;
    /// assert_eq!(address.to_string(), "tcp://[::1]:7000");
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn tcp(host: impl Into<String>, port: u16) -> Result<Self, ParseAddressError> {
        let host = host.into();
        let is_name = |char: char| char.is_ascii_alphanumeric() || "-._:%".contains(char);
        if host.is_empty() || host.len() > HOST_LEN_MAX || !host.chars().all(is_name) {
            return Err(ParseAddressError::Host { host });
        }
        Ok(Self(Place::Tcp { host, port }))
    }

    /// That of a socket in this machine's file system.
    ///
    /// # Errors
    /// [`ParseAddressError::Path`] when it is empty, not absolute, or longer than the system's 107
    /// bytes.
    ///
    /// # Examples
    /// ```
    /// let address = callboard::Address::unix("/run/echo")?;
    /// assert_eq!(address.to_string(), "unix:/run/echo");
    /// assert!(callboard::Address::unix("run/echo").is_err());
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, ParseAddressError> {
        let path = path.into();
        let bytes = path.as_os_str().as_encoded_bytes();
        if !path.is_absolute() || bytes.len() > PATH_LEN_MAX || bytes.contains(&0) {
            return Err(ParseAddressError::Path { path });
        }
        Ok(Self(Place::Unix(path)))
    }

    /// The machine, of a TCP address; a number of IPv6 without its brackets.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Address;
    /// let address: Address = "tcp://[::1]:7000".parse()?;
    /// assert_eq!(address.host(), Some("::1"));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.0 {
            Place::Tcp { host, .. } => Some(host),
            Place::Unix(_) => None,
        }
    }

    /// The port, of a TCP address.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Address;
    /// let address: Address = "tcp://localhost:7000".parse()?;
    /// assert_eq!(address.port(), Some(7000));
    /// assert_eq!(Address::unix("/run/echo")?.port(), None);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.0 {
            Place::Tcp { port, .. } => Some(port),
            Place::Unix(_) => None,
        }
    }

    /// The path, of a socket in the file system.
    ///
    /// # Examples
    /// ```
    /// # use callboard::Address;
    /// let address: Address = "unix:/run/echo".parse()?;
    /// assert_eq!(address.path(), Some("/run/echo".as_ref()));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Place::Tcp { .. } => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// The same with another port, if it has one and it says 0: any.
    pub(crate) fn or_port(self, bound: Option<u16>) -> Self {
        match (self.0, bound) {
            (Place::Tcp { host, port: 0 }, Some(port)) => Self(Place::Tcp { host, port }),
            (place, _) => Self(place),
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path.strip_prefix("//").unwrap_or(path));
        }
        let malformed = || ParseAddressError::Form {
            text: text.to_owned(),
        };
        let place = text.strip_prefix("tcp://").ok_or_else(malformed)?;
        let (host, port) = place.rsplit_once(':').ok_or_else(malformed)?;
        let bare = host.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare.ok_or_else(malformed)?,
            // Without brackets nobody knows which colon is the port's.
            None if host.contains(':') => return Err(malformed()),
            None => host,
        };
        Self::tcp(host, port.parse().map_err(|_| malformed())?)
    }
}

impl TryFrom<&str> for Address {
    type Error = ParseAddressError;

    fn try_from(text: &str) -> Result<Self, ParseAddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = ParseAddressError;

    fn try_from(text: &String) -> Result<Self, ParseAddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, ParseAddressError> {
        text.parse()
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

impl From<core::net::SocketAddr> for Address {
    fn from(address: core::net::SocketAddr) -> Self {
        Self(Place::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text is no address.
///
/// # Examples
/// ```
/// use callboard::{Address, ParseAddressError};
///
/// let error = "localhost:7000".parse::<Address>().unwrap_err();
/// assert!(matches!(error, ParseAddressError::Form { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// It is neither of the two forms.
    #[error("`{text}` is no address: neither `tcp://host:port` nor `unix:/path`")]
    Form {
        /// The text.
        text: String,
    },
    /// Its host is none.
    #[error("`{host}` is no name and no number of a machine")]
    Host {
        /// What was to be the host.
        host: String,
    },
    /// Its path is none that a socket can have.
    #[error("a socket cannot have the path `{}`: absolute, and at most 107 bytes", .path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses print as they are read.
    #[test]
    fn addresses_round_trip() {
        for text in [
            "tcp://localhost:7000",
            "tcp://0.0.0.0:0",
            "tcp://[::]:65535",
            "tcp://[fe80::1%eth0]:1",
            "tcp://node-7.example.org:37255",
            "unix:/run/user/1000/counter.sock",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            let owned = text.to_owned();
            assert_eq!(Address::try_from(&owned).as_ref(), Ok(&address));
            assert_eq!(Address::try_from(owned).as_ref(), Ok(&address));
        }
        let slashed: Address = "unix:///run/x".parse().unwrap();
        assert_eq!(slashed.to_string(), "unix:/run/x");
    }

    /// What is no address is refused, whatever is wrong with it.
    #[test]
    fn others_are_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "localhost:7000",
            "tcp://",
            "tcp://localhost",
            "tcp://localhost:",
            "tcp://localhost:65536",
            "tcp://:7000",
            "tcp://::1:7000",
            "tcp://[::1:7000",
            "tcp://a b:1",
            "tcp://a/b:1",
            "unix:",
            "unix:relative",
            "unix:/a\0b",
            &long,
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    /// Only a port that says `any` is replaced by the one that was given.
    #[test]
    fn open_ports_are_filled_in() {
        let filled = |text: &str| {
            text.parse::<Address>()
                .unwrap()
                .or_port(Some(9))
                .to_string()
        };
        assert_eq!(filled("tcp://a:0"), "tcp://a:9");
        assert_eq!(filled("tcp://a:1"), "tcp://a:1");
        assert_eq!(filled("unix:/a"), "unix:/a");
    }
}
