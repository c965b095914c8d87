//! The keys that this process has for actors of other programs, by their addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connect::ConnectError;
use crate::transport::address::Address;
use crate::transport::auth_key::AuthKey;

/// How many addresses are remembered: when there are more, one that was not told is forgotten.
const KNOWN_MAX: usize = 16 * 1024;

static KNOWN: Mutex<BTreeMap<Address, Credential>> = Mutex::new(BTreeMap::new());

/// How an actor is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) key: AuthKey,
    /// Where: another address than its own, if that one was captured.
    pub(crate) at: Address,
    /// It was told, and not learned from a connection.
    is_told: bool,
}

/// The keys that this process has for actors of other programs, by their addresses.
///
/// A proxy that comes [in a message](crate::Proxy#in-messages) tells where its actor listens, and
/// no key. At its first use the key is looked for here. Nothing is forgotten by itself: neither
/// what was [added](Self::add) nor what a connection has brought, as long as the process lives, be
/// the connection's proxy dropped or not. (Of those that were brought, at most 16 384 are kept.)
/// Actors that are started get no keys from here; tell them.
///
/// # Examples
/// ```
/// use callboard::{AuthKey, credentials};
///
/// let key = AuthKey::random()?;
/// credentials().add("tcp://far.example.org:7000", &key)?;
/// assert!(credentials().has("tcp://far.example.org:7000")?);
/// assert!(credentials().remove("tcp://far.example.org:7000")?);
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Credentials(());

/// The keys that this process has for actors of other programs; see [`Credentials`].
///
/// # Examples
/// ```
/// use callboard::{AuthKey, credentials};
///
/// let key = AuthKey::random()?;
/// credentials().add("tcp://far.example.org:7000", key)?;
/// # Ok::<(), callboard::Error>(())
/// ```
#[must_use]
pub fn credentials() -> Credentials {
    Credentials(())
}

impl Credentials {
    /// Tells the key of actors that say that they listen at this address. A key that was known for
    /// it is replaced.
    ///
    /// # Errors
    /// [`ConnectError::Address`] when the address is none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, ConnectError, credentials};
    /// let [old, new] = [1, 2].map(|byte| AuthKey::from([byte; 32]));
    /// credentials().add("tcp://near.example.org:7000", old)?;
    /// credentials().add("tcp://near.example.org:7000", new)?;          // in its place
    /// assert!(matches!(credentials().add("nowhere", [3; 32]), Err(ConnectError::Address(_))));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn add<A>(&self, address: A, key: impl Into<AuthKey>) -> Result<(), ConnectError>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        let credential = Credential {
            key: key.into(),
            at: address.clone(),
            is_told: true,
        };
        lock().insert(address, credential);
        Ok(())
    }

    /// Forgets the key for an address; true if one was known. Links that there are go on.
    ///
    /// # Errors
    /// [`ConnectError::Address`] when the address is none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, credentials};
    /// credentials().add("unix:/run/echo", AuthKey::random()?)?;
    /// assert!(credentials().remove("unix:/run/echo")?);
    /// assert!(!credentials().remove("unix:/run/echo")?);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn remove<A>(&self, address: A) -> Result<bool, ConnectError>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        Ok(lock().remove(&address).is_some())
    }

    /// Whether a key for an address is known.
    ///
    /// # Errors
    /// [`ConnectError::Address`] when the address is none.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, credentials};
    /// assert!(!credentials().has("tcp://[::1]:7001")?);
    /// credentials().add("tcp://[::1]:7001", AuthKey::random()?)?;
    /// assert!(credentials().has("tcp://[::1]:7001")?);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn has<A>(&self, address: A) -> Result<bool, ConnectError>
    where
        A: TryInto<Address, Error: Into<ConnectError>>,
    {
        let address = address.try_into().map_err(Into::into)?;
        Ok(lock().contains_key(&address))
    }
}

/// The addresses, each with the one that is connected to in its place, and no keys.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = lock();
        let places = known.iter();
        let places = places.map(|(address, known)| (address.to_string(), known.at.to_string()));
        f.debug_map().entries(places).finish()
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<Address, Credential>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How who says that it listens at `address` is connected to, if that is known.
pub(crate) fn find(address: &Address) -> Option<Credential> {
    lock().get(address).cloned()
}

/// A connection was made to `at`: who says that it listens there, or at one of the `captured`, is
/// connected to in the same way.
pub(crate) fn note(at: &Address, key: &AuthKey, captured: &[Address]) {
    let mut known = lock();
    for address in captured.iter().chain([at]) {
        if known.len() >= KNOWN_MAX && !known.contains_key(address) {
            let learned = known.iter().find(|(_, credential)| !credential.is_told);
            let Some(learned) = learned.map(|(address, _)| address.clone()) else {
                return;
            };
            known.remove(&learned);
        }
        let (key, at) = (key.clone(), at.clone());
        let is_told = known.get(address).is_some_and(|known| known.is_told);
        let credential = Credential { key, at, is_told };
        known.insert(address.clone(), credential);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::tcp("keys.example.org", port).unwrap()
    }

    /// What was told is found until it is taken away; what was captured leads elsewhere; what
    /// connections brought has a limit, and what was told stays.
    #[test]
    fn keys_are_kept() {
        let [one, two] = [1, 2].map(|byte| AuthKey::from([byte; 32]));
        credentials().add(address(1), &one).unwrap();
        assert_eq!(find(&address(1)).unwrap().key, one);
        note(&address(2), &two, &[address(3)]);
        let captured = find(&address(3)).unwrap();
        assert_eq!((captured.key, captured.at), (two.clone(), address(2)));
        credentials().add(address(1), &two).unwrap();
        assert_eq!(find(&address(1)).unwrap().key, two);
        let text = format!("{:?}", credentials());
        assert!(
            text.contains("keys.example.org:3") && !text.contains(&two.id()),
            "{text}"
        );
        for number in 0..KNOWN_MAX {
            let name = format!("n{number}.keys.example.org");
            note(&Address::tcp(name, 1).unwrap(), &one, &[]);
        }
        assert_eq!(lock().len(), KNOWN_MAX);
        assert!(credentials().has(address(1)).unwrap());
        assert!(credentials().remove(address(1)).unwrap());
        assert!(!credentials().remove(address(1)).unwrap());
        assert!(credentials().add("nowhere", &one).is_err());
    }
}
