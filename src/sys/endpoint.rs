//! A listening socket in the file system, for this user's processes.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How many may wait to be accepted.
const BACKLOG: i32 = 128;

/// A listening socket's name; dropped, it is removed, unless somebody else has it by then.
#[derive(Debug)]
pub(crate) struct Endpoint {
    path: PathBuf,
    file: Identity,
}

/// What tells a file from all others: the system gives numbers again, but not at the same time.
type Identity = (u64, u64, i64, i64);

impl Endpoint {
    /// Listens at `path`. The name of a dead process's socket is taken over.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, or it is no socket; the system's.
    pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, Self)> {
        // One at a time looks whether somebody is there, and takes the name.
        let folder = File::open(path.parent().unwrap_or_else(|| Path::new("/")))?;
        flock(&folder, FlockOperation::LockExclusive)?;
        if let Ok(found) = fs::symlink_metadata(path) {
            let is_dead = found.file_type().is_socket()
                && UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_dead {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        let kind = (AddressFamily::UNIX, SocketType::STREAM);
        let socket: OwnedFd = rustix::net::socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        // Until it listens, nobody gets in whatever its mode is.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let endpoint = Self {
            path: path.to_owned(),
            file: identity(path)?,
        };
        rustix::net::listen(&socket, BACKLOG)?;
        Ok((socket.into(), endpoint))
    }

    /// The name of a socket that listens at `path` already, to be removed by whoever drops this
    /// first.
    ///
    /// # Errors
    /// The system's: there is no such name.
    pub(crate) fn known(path: PathBuf) -> io::Result<Self> {
        let file = identity(&path)?;
        Ok(Self { path, file })
    }

    /// Leaves the name to whoever [knows](Self::known) it, too.
    pub(crate) fn leave(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Somebody else may have removed it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    let (dev, ino) = (metadata.dev(), metadata.ino());
    Ok((dev, ino, metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name is this user's alone, taken once, taken over from the dead, and removed at the end.
    #[test]
    fn names_are_taken_once() {
        let folder = std::env::temp_dir().join(format!("callboard-end-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("socket");
        let (listener, endpoint) = Endpoint::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = Endpoint::bind(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        let (_listener, second) = Endpoint::bind(&path).unwrap();
        drop(endpoint);
        assert!(path.exists(), "it is another's by now");
        drop(second);
        assert!(!path.exists());
        let (_listener, third) = Endpoint::bind(&path).unwrap();
        let known = Endpoint::known(path.clone()).unwrap();
        third.leave();
        assert!(path.exists(), "it is left to another one");
        drop(known);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert!(Endpoint::bind(&path).is_err());
        assert!(path.exists(), "a file is not taken for a socket");
        fs::remove_dir_all(&folder).unwrap();
    }
}
