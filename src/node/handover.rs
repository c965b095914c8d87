//! What the lives of one place in somebody's care leave to each other, between them.
//!
//! Whoever starts an actor again does so within the place's handover, where the start finds it.

use std::any::TypeId;
use std::future::Future;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use super::berth::Berth;
use super::handle::Proxy;
use super::ward::lock;
use crate::actor::legacy::Legacy;
use crate::sys::pages::{Access, Descriptor};
use crate::sys::sealed::Sealed;

tokio::task_local! {
    /// Where the actors with this type of proxy leave what they leave that are started here.
    static HERE: (TypeId, Handover);
}

/// The first word of the packet by which a process leaves a state; its length in bytes follows.
const LEFT: &[u8; 4] = b"left";

/// A state: sealed memory, and its length in bytes. Who reads it checks both.
pub(super) type State = (OwnedFd, u64);

/// See the module. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover {
    left: Arc<Mutex<Option<State>>>,
    /// Of a place in which there is one life at a time.
    berth: Option<Arc<Berth>>,
}

impl Handover {
    /// Of a place in which there is one life at a time: who has a proxy of one calls the next one,
    /// too.
    pub(crate) fn of_one() -> Self {
        Self {
            berth: Some(Arc::default()),
            ..Self::default()
        }
    }

    /// What else stays between the lives in such a place, if there is one at a time.
    pub(crate) fn berth(this: Option<&Self>) -> Option<Arc<Berth>> {
        this?.berth.clone()
    }

    /// What `start` starts that has such a proxy is given what was left here, and leaves it here.
    pub(crate) fn within<P: Proxy, F: Future>(
        &self,
        start: F,
    ) -> impl Future<Output = F::Output> + use<P, F> {
        HERE.scope((TypeId::of::<P>(), self.clone()), start)
    }

    /// That of the place where such a proxy's actor is being started; none: it is nobody's.
    pub(super) fn here<P: Proxy>() -> Option<Self> {
        let found = HERE.try_with(|(of, here)| (*of == TypeId::of::<P>()).then(|| here.clone()));
        found.ok().flatten()
    }

    /// A life has left this.
    pub(super) fn put(&self, state: State) {
        *lock(&self.left) = Some(state);
    }

    /// What was left last, for a further life.
    ///
    /// # Errors
    /// The system's: no descriptor is free.
    pub(super) fn copy(&self) -> io::Result<Option<State>> {
        let state = lock(&self.left);
        let copy = state.as_ref().map(|(fd, len)| Ok((fd.try_clone()?, *len)));
        copy.transpose()
    }

    /// For an actor in this process.
    ///
    /// # Errors
    /// The system's: no descriptor is free, or no room for a mapping.
    pub(super) fn legacy(self) -> io::Result<Legacy> {
        let left = self.copy()?.map(read).transpose()?;
        let keep = move |state: &Sealed| {
            let (fd, len) = passed(state);
            self.put((fd.try_clone_to_owned()?, len));
            Ok(())
        };
        Ok(Legacy::new(left, Box::new(keep)))
    }
}

/// Looks at a state that was left.
///
/// # Errors
/// The system's, or it is none.
pub(super) fn read((fd, len): State) -> io::Result<Sealed> {
    let memory = Descriptor::check(fd, len, Access::Read).and_then(Sealed::map);
    memory.map_err(io::Error::other)
}

/// A state as it is passed on.
pub(super) fn passed(state: &Sealed) -> (BorrowedFd<'_>, u64) {
    let pages = state.pages();
    (pages.as_fd(), pages.len() as u64)
}

/// The packet by which a process leaves a state of `len` bytes.
pub(super) fn packet(len: u64) -> Vec<u8> {
    [LEFT, &len.to_le_bytes()[..]].concat()
}

/// The length of the state that a packet leaves; none: it is another packet.
pub(super) fn read_packet(packet: &[u8]) -> Option<u64> {
    let len = packet.strip_prefix(LEFT)?;
    Some(u64::from_le_bytes(len.try_into().ok()?))
}
