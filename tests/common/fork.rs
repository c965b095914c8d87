//! Forking, which only user code can do that is unsafe: the one such file of the tests.

use nix::unistd::ForkResult;

/// Forks: the child's number, or none in the child, which `leaves` at once with this exit code.
pub fn fork(leaves: Option<i32>) -> Option<i32> {
    // SAFETY: the child does nothing that needs a lock, which a thread that it does not have might
    // hold: it ends at once, or at its first touch of a link.
    match unsafe { nix::unistd::fork() }.expect("there is room") {
        ForkResult::Parent { child } => return Some(child.as_raw()),
        ForkResult::Child => {}
    }
    if let Some(code) = leaves {
        // SAFETY: it has no duties, and returns never.
        unsafe { libc::_exit(code) }
    }
    None
}
