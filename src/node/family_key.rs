//! The key that the processes of one program have in common.
//!
//! The root of the family makes it, and each process tells those that it starts, over the socket
//! that they inherit.

use std::sync::{Mutex, PoisonError};

use crate::transport::auth_key::{AuthKey, AuthKeyError};

static KEY: Mutex<Option<AuthKey>> = Mutex::new(None);

/// This process's, made now if there is none yet.
///
/// # Errors
/// [`AuthKeyError::Random`].
pub(crate) fn of_this_process() -> Result<AuthKey, AuthKeyError> {
    let mut key = KEY.lock().unwrap_or_else(PoisonError::into_inner);
    match &*key {
        Some(key) => Ok(key.clone()),
        None => Ok(key.insert(AuthKey::random()?).clone()),
    }
}

/// Takes over the parent's.
pub(super) fn inherit(parents: AuthKey) {
    *KEY.lock().unwrap_or_else(PoisonError::into_inner) = Some(parents);
}

impl AuthKey {
    /// The key that this program and all actors have in common that it starts, and those that they
    /// start; nobody else has it. It is made anew with each start of the program.
    ///
    /// # Errors
    /// [`AuthKeyError::Random`] when the system has no random bytes.
    ///
    /// # Examples
    /// ```
    /// use callboard::AuthKey;
    ///
    /// assert_eq!(AuthKey::of_family()?, AuthKey::of_family()?);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn of_family() -> Result<Self, AuthKeyError> {
        of_this_process()
    }
}
