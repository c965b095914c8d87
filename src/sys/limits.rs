//! What a process may have, as it sets it for itself before it does anything.

use std::alloc::handle_alloc_error;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use rustix::process::setpriority_process;

use super::process::exit_now;

/// The exit code of a process whose heap is limited, and that has aborted when it got no memory.
pub(crate) const NO_MEMORY_CODE: i32 = 103;

/// How many descriptors a process needs that does nothing but serve calls, and some more.
pub(crate) const DESCRIPTORS_OWN: u64 = 32;

/// Lets this process have so many bytes of private memory at most, and end with [`NO_MEMORY_CODE`]
/// when an allocation fails and nobody deals with that.
///
/// # Errors
///
/// The system's: more than it may have.
pub(crate) fn limit_heap(bytes: u64) -> io::Result<()> {
    // Memory that is shared does not count, so that rings and blobs are what they are without it;
    // RLIMIT_AS would count them, and address space that is reserved and never used.
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?;
    let action = SigAction::new(
        SigHandler::Handler(aborted),
        SaFlags::SA_RESETHAND,
        SigSet::empty(),
    );
    // SAFETY: the handler reads this thread's `errno`, and ends the process or lets the signal end
    // it: all of it may be done at any moment.
    unsafe { sigaction(Signal::SIGABRT, &action) }?;
    Ok(())
}

/// Rust ends a process that got no memory as any that aborts. What tells the two apart is where it
/// was, or, of a library that ends it in its own way, what the allocator's last system call has
/// left on this thread.
extern "C" fn aborted(_: c_int) {
    if Errno::last() == Errno::ENOMEM || is_out_of_memory() {
        exit_now(NO_MEMORY_CODE);
    }
    // The handler is gone by now: it has the effect that it has on an unprepared process.
    let _ = raise(Signal::SIGABRT);
}

/// Whether this thread is within the function that Rust ends a process by that got no memory. It
/// prints a backtrace where that is wanted, after which `errno` says nothing any more.
fn is_out_of_memory() -> bool {
    let mut found = false;
    // SAFETY: the function looks at this thread's stack, takes no memory, and calls `look` with
    // what it gives on: a pointer to `found`, which outlives the call, and nobody else uses.
    unsafe { _Unwind_Backtrace(look, (&raw mut found).cast()) };
    found
}

extern "C" fn look(frame: *mut c_void, found: *mut c_void) -> c_int {
    // SAFETY: `frame` is what the unwinder calls this with, and lives until this returns.
    let at = unsafe { _Unwind_GetIP(frame) };
    // It is the place to return to; what never returns may end before that.
    let call = ptr::without_provenance_mut(at.wrapping_sub(1));
    // SAFETY: it looks an address up in tables, and does not go there.
    let function = unsafe { _Unwind_FindEnclosingFunction(call) };
    if ptr::eq(function, handle_alloc_error as *const c_void) {
        // SAFETY: `found` is what `is_out_of_memory` gave: a bool of its own.
        unsafe { found.cast::<bool>().write(true) };
    }
    // Go on.
    0
}

// Of the unwinder, which std itself needs and brings along.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        look: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(frame: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

/// Lets this process have so many descriptors open, beside [those](DESCRIPTORS_OWN) that it needs
/// to serve calls.
///
/// # Errors
///
/// The system's: more than it may have.
pub(crate) fn limit_files(count: u64) -> io::Result<()> {
    let count = count.saturating_add(DESCRIPTORS_OWN);
    Ok(setrlimit(Resource::RLIMIT_NOFILE, count, count)?)
}

/// Makes this process give way to others, or go before them: -20 to 19, zero is usual.
///
/// # Errors
///
/// The system's: it may not go before others.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    Ok(setpriority_process(None, nice)?)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;
    use crate::sys::again;

    const HERE: &str = module_path!();

    /// A process whose heap is limited ends with a code of its own when an allocation fails, with
    /// and without a backtrace, and as any other when it aborts for another reason.
    #[test]
    fn want_of_memory_is_told_from_other_aborts() {
        const TEST: &str = "want_of_memory_is_told_from_other_aborts";
        let role = again::role();
        if let Some(role) = role.as_deref() {
            limit_heap(64 << 20).unwrap();
            match role {
                "at once" => assert_eq!(black_box(vec![1_u8; 256 << 20])[0], 1),
                "by and by" => {
                    let pieces = (0..1 << 20).map(|_| vec![1_u8; 256]);
                    assert!(!black_box(pieces.collect::<Vec<_>>()).is_empty());
                }
                _ => {}
            }
            std::process::abort();
        }
        for backtrace in ["0", "1"] {
            let ends = |role| {
                let mut command = again::command(HERE, TEST, role);
                let ended = command.env("RUST_BACKTRACE", backtrace).output().unwrap();
                (ended.status.code(), ended.status.signal())
            };
            assert_eq!(ends("at once"), (Some(NO_MEMORY_CODE), None), "{backtrace}");
            assert_eq!(
                ends("by and by"),
                (Some(NO_MEMORY_CODE), None),
                "{backtrace}"
            );
            assert_eq!(ends("other"), (None, Some(libc::SIGABRT)), "{backtrace}");
        }
    }
}
