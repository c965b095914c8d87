//! The secret by which two processes know each other over a network.
//!
//! ```text
//!  random ─┐                        ┌─> handshake (noise.rs)
//!  bytes ──┼──> 32 secret bytes ────┼─> file, 0600
//!  file ───┤                        └─> id: eight digits for people, which give nothing away
//!  phrase ─┘ by way of Argon2id
//! ```

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use blake2::{Blake2s256, Digest as _};
use zeroize::Zeroizing;

use crate::sys::random;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// The fewest bytes that one can be made of: 128 bits, which nobody can try one by one.
const BYTES_LEN_MIN: usize = 16;

/// The fewest bytes of a passphrase.
const PASSPHRASE_LEN_MIN: usize = 8;

/// More than any key file has.
const FILE_LEN_MAX: u16 = 4096;

/// What trying one passphrase costs: 19 MiB and two passes, OWASP's first choice for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Who else but its owner may not do anything with a key file.
const OTHERS: u32 = 0o077;

/// The secret by which two processes know each other over a network: who has it is trusted, who has
/// not gets nowhere.
///
/// It is never sent over a network and never printed: [`Debug`](fmt::Debug) shows
/// [its id](Self::id), by which people can compare two keys. Processes that this one starts inherit
/// what they need, over a socket of their own. Dropped, its memory is overwritten.
///
/// All who hold one key form one domain of trust: each may call whatever the others offer.
///
/// # Examples
/// Made once, and kept in a file that both sides have:
/// ```
/// use callboard::AuthKey;
///
/// # let folder = std::env::temp_dir().join(format!("callboard-doc-{}", std::process::id()));
/// # std::fs::create_dir(&folder)?;
/// # let path = folder.join("authkey");
/// AuthKey::random()?.write_file(&path)?;               // 0600, and never in place of another one
/// let key = AuthKey::from_file(&path)?;                // refused if others could read it
/// assert_eq!(format!("{key:?}"), format!("AuthKey({})", key.id()));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), callboard::Error>(())
/// ```
#[derive(Clone)]
pub struct AuthKey(Zeroizing<[u8; KEY_LEN]>);

impl AuthKey {
    /// A new key that nobody knows.
    ///
    /// # Errors
    /// [`AuthKeyError::Random`] when the system has no random bytes.
    ///
    /// # Examples
    /// ```
    /// use callboard::AuthKey;
    ///
    /// assert_ne!(AuthKey::random()?, AuthKey::random()?);
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn random() -> Result<Self, AuthKeyError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        random::fill(&mut *key).map_err(AuthKeyError::Random)?;
        Ok(Self(key))
    }

    /// The key of secret bytes that you have from elsewhere. They must be random: what people think
    /// up is for [`from_passphrase`](Self::from_passphrase).
    ///
    /// # Errors
    /// [`AuthKeyError::TooShort`] for less than 16 bytes.
    ///
    /// # Examples
    /// ```
    /// use callboard::{AuthKey, AuthKeyError};
    ///
    /// let key = AuthKey::from_bytes(&[0x5A; 32])?;
    /// assert_eq!(key, AuthKey::from([0x5A; 32]));
    /// assert!(matches!(AuthKey::from_bytes(b"SECRET"), Err(AuthKeyError::TooShort { .. })));
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AuthKeyError> {
        if bytes.len() < BYTES_LEN_MIN {
            return Err(AuthKeyError::TooShort {
                len: bytes.len(),
                least: BYTES_LEN_MIN,
            });
        }
        if let Ok(key) = <[u8; KEY_LEN]>::try_from(bytes) {
            return Ok(Self::from(key));
        }
        Ok(Self::from(digest(b"callboard authkey of bytes", bytes)))
    }

    /// The key of a passphrase, for the nodes of the cluster of this name: the same phrase gives
    /// another key in another cluster.
    ///
    /// Trying one phrase costs whoever guesses 19 MiB and as long as this takes, some 35 ms of one
    /// core in an optimised build. It blocks; call it once, before there is work to do. A phrase
    /// is still the weaker choice: one fake server that a node connects to can begin to guess.
    ///
    /// # Errors
    /// [`AuthKeyError::TooShort`] for less than 8 bytes.
    ///
    /// # Examples
    /// ```no_run
    /// # fn phrase() -> String { String::from("correct horse battery staple") }
    /// let key = callboard::AuthKey::from_passphrase(&phrase(), "render farm")?;
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn from_passphrase(passphrase: &str, cluster: &str) -> Result<Self, AuthKeyError> {
        if passphrase.len() < PASSPHRASE_LEN_MIN {
            return Err(AuthKeyError::TooShort {
                len: passphrase.len(),
                least: PASSPHRASE_LEN_MIN,
            });
        }
        let params = Params::new(MEMORY_KIB, PASSES, 1, Some(KEY_LEN));
        let params = params.map_err(|error| AuthKeyError::Passphrase(error.to_string()))?;
        let salt = digest(b"callboard authkey of a passphrase", cluster.as_bytes());
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &salt, &mut *key)
            .map_err(|error| AuthKeyError::Passphrase(error.to_string()))?;
        Ok(Self(key))
    }

    /// The key in a file that [`write_file`](Self::write_file) has written: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`AuthKeyError::File`] when it cannot be read, [`AuthKeyError::Exposed`] when it belongs to
    /// somebody else or others may read it, [`AuthKeyError::Malformed`] when it holds no key.
    ///
    /// # Examples
    /// ```
    /// use callboard::{AuthKey, AuthKeyError};
    /// use std::fs::Permissions;
    /// use std::os::unix::fs::PermissionsExt as _;
    ///
    /// # let name = format!("callboard-doc-{}-read", std::process::id());
    /// # let folder = std::env::temp_dir().join(name);
    /// # std::fs::create_dir(&folder)?;
    /// # let path = folder.join("authkey");
    /// let key = AuthKey::random()?;
    /// key.write_file(&path)?;
    /// assert_eq!(AuthKey::from_file(&path)?, key);
    ///
    /// std::fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    /// let exposed = AuthKey::from_file(&path);
    /// assert!(matches!(exposed, Err(AuthKeyError::Exposed { .. })));
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, AuthKeyError> {
        let path = path.as_ref();
        let failed = |source| AuthKeyError::File {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            // A pipe without a writer would be waited for.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        check_owner(&file, path, failed)?;
        let mut text = Zeroizing::new(String::with_capacity(FILE_LEN_MAX.into()));
        let read = file.take(FILE_LEN_MAX.into()).read_to_string(&mut text);
        read.map_err(failed)?;
        let key = parse(text.trim()).ok_or_else(|| AuthKeyError::Malformed {
            path: path.to_owned(),
        })?;
        Ok(Self(key))
    }

    /// Writes the key into a new file that only its owner can read.
    ///
    /// # Errors
    /// [`AuthKeyError::File`], also when there is such a file.
    ///
    /// # Examples
    /// ```
    /// # use callboard::{AuthKey, AuthKeyError};
    /// # let name = format!("callboard-doc-{}-written", std::process::id());
    /// # let folder = std::env::temp_dir().join(name);
    /// # std::fs::create_dir(&folder)?;
    /// # let path = folder.join("authkey");
    /// let key = AuthKey::random()?;
    /// key.write_file(&path)?;
    /// // It never takes the place of another one.
    /// assert!(matches!(key.write_file(&path), Err(AuthKeyError::File { .. })));
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), callboard::Error>(())
    /// ```
    pub fn write_file(&self, path: impl AsRef<Path>) -> Result<(), AuthKeyError> {
        let path = path.as_ref();
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_LEN + 1));
        for byte in self.0.iter() {
            for half in [byte >> 4, byte & 0xF] {
                text.push(char::from_digit(u32::from(half), 16).unwrap_or_default());
            }
        }
        text.push('\n');
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|source| AuthKeyError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Eight digits by which people can see whether two keys are the same one, and from which
    /// nobody learns the key.
    ///
    /// # Examples
    /// ```
    /// use callboard::AuthKey;
    ///
    /// assert_eq!(AuthKey::from([1; 32]).id(), AuthKey::from([1; 32]).id());
    /// assert_ne!(AuthKey::from([1; 32]).id(), AuthKey::from([2; 32]).id());
    /// ```
    #[must_use]
    pub fn id(&self) -> String {
        let digest = digest(b"callboard authkey's id", &*self.0);
        let [a, b, c, d, ..] = digest;
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }

    /// What only those can tell of `something` who have the key, and from which nobody learns it.
    pub(crate) fn proof(&self, something: &[u8]) -> Self {
        let bytes = Zeroizing::new([&self.0[..], something].concat());
        Self::from(digest(b"callboard proof of an authkey", &bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

/// The key of these 32 bytes, which must be secret and random.
impl From<[u8; KEY_LEN]> for AuthKey {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&Self> for AuthKey {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl PartialEq for AuthKey {
    /// Takes as long for any two keys.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0.iter());
        pairs.fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl Eq for AuthKey {}

/// Its id.
impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({})", self.id())
    }
}

/// There is no such key.
///
/// # Examples
/// ```
/// use callboard::{AuthKey, AuthKeyError};
///
/// fn may_be_made(error: &AuthKeyError) -> bool {
///     let AuthKeyError::File { source, .. } = error else { return false };
///     source.kind() == std::io::ErrorKind::NotFound
/// }
/// assert!(may_be_made(&AuthKey::from_file("/nonexistent/authkey").unwrap_err()));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthKeyError {
    /// So short a secret can be guessed.
    #[error("a secret of {len} bytes can be guessed; {least} are the least")]
    TooShort {
        /// Its length in bytes.
        len: usize,
        /// The least there may be.
        least: usize,
    },
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] io::Error),
    /// The passphrase could not be worked on.
    #[error("no key can be made of the passphrase: {0}")]
    Passphrase(String),
    /// The file cannot be read or written.
    #[error("the key file {} cannot be used", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner could read or change the file, or it belongs to somebody else.
    #[error(
        "the key file {} is not its owner's alone: it belongs to user {owner} and its mode is \
         {mode:03o}, not 600",
        .path.display()
    )]
    Exposed {
        /// Which one.
        path: PathBuf,
        /// The permissions that it has.
        mode: u32,
        /// The user to whom it belongs.
        owner: u32,
    },
    /// The file holds something else than 64 hexadecimal digits.
    #[error("the file {} holds no key", .path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
    },
}

/// Whether nobody else can have read or changed the file: asked of what is open, not of its name.
fn check_owner(
    file: &File,
    path: &Path,
    failed: impl Fn(io::Error) -> AuthKeyError,
) -> Result<(), AuthKeyError> {
    let metadata = file.metadata().map_err(&failed)?;
    if !metadata.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    let ours = nix::unistd::geteuid().as_raw();
    if mode & OTHERS != 0 || owner != ours {
        return Err(AuthKeyError::Exposed {
            path: path.to_owned(),
            mode,
            owner,
        });
    }
    Ok(())
}

/// The key that 64 hexadecimal digits stand for.
fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_LEN]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

/// What `bytes` are shortened to, apart for each use.
fn digest(purpose: &[u8], bytes: &[u8]) -> [u8; KEY_LEN] {
    let mut hash = Blake2s256::new();
    hash.update((purpose.len() as u64).to_le_bytes());
    hash.update(purpose);
    hash.update(bytes);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of one test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("callboard-key-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A key comes back from its file, which only its owner can read, and which is not replaced.
    #[test]
    fn files_keep_keys() {
        let folder = Folder::new("kept");
        let path = folder.0.join("authkey");
        let key = AuthKey::random().unwrap();
        key.write_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(AuthKey::from_file(&path).unwrap(), key);
        let again = AuthKey::random().unwrap().write_file(&path);
        assert!(matches!(again, Err(AuthKeyError::File { .. })), "{again:?}");
        assert_eq!(AuthKey::from_file(&path).unwrap(), key);
    }

    /// A file that others can read or write, or that holds no key, is refused with its reason.
    #[test]
    fn bad_files_are_refused() {
        let folder = Folder::new("bad");
        let path = folder.0.join("authkey");
        AuthKey::random().unwrap().write_file(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = AuthKey::from_file(&path);
            assert!(
                matches!(&refused, Err(AuthKeyError::Exposed { mode: told, .. }) if *told == mode),
                "{refused:?}"
            );
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for text in [
            "",
            "SECRET",
            &"g".repeat(64),
            &"a".repeat(63),
            &"a".repeat(66),
        ] {
            fs::write(&path, text).unwrap();
            let refused = AuthKey::from_file(&path);
            assert!(
                matches!(refused, Err(AuthKeyError::Malformed { .. })),
                "{text}"
            );
        }
        let folder = AuthKey::from_file(&folder.0);
        assert!(
            matches!(folder, Err(AuthKeyError::File { .. })),
            "{folder:?}"
        );
    }

    /// Short secrets are refused; those that are long enough give one key each.
    #[test]
    fn secrets_have_a_least_length() {
        for len in 0..BYTES_LEN_MIN {
            let refused = AuthKey::from_bytes(&vec![7; len]);
            assert!(
                matches!(refused, Err(AuthKeyError::TooShort { .. })),
                "{len}"
            );
        }
        let keys: Vec<_> = (BYTES_LEN_MIN..80)
            .map(|len| AuthKey::from_bytes(&vec![7; len]).unwrap())
            .collect();
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
        let refused = AuthKey::from_passphrase("1234567", "c");
        assert!(matches!(refused, Err(AuthKeyError::TooShort { .. })));
    }

    /// A passphrase gives the same key each time, and another one in another cluster.
    #[test]
    fn passphrases_are_bound_to_their_cluster() {
        let key = |phrase, cluster| AuthKey::from_passphrase(phrase, cluster).unwrap();
        let one = key("correct horse", "farm");
        assert_eq!(one, key("correct horse", "farm"));
        assert_ne!(one, key("correct horse", "mill"));
        assert_ne!(one, key("correct horsf", "farm"));
    }

    /// What is printed of a key holds none of its bytes.
    #[test]
    fn keys_are_not_printed() {
        let key = AuthKey::from([0xAB; 32]);
        let text = format!("{key:?}");
        assert!(!text.contains("abab") && !text.contains("171"), "{text}");
        assert_eq!(text.len(), "AuthKey(01234567)".len());
    }
}
