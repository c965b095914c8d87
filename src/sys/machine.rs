//! Which machine this is, among all whose processes may talk to each other.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

/// A number of the program that this process runs: two processes of one machine for which it is the
/// same one run the same file. 0 where the system does not tell.
pub(crate) fn program() -> u64 {
    static PROGRAM: OnceLock<u64> = OnceLock::new();
    *PROGRAM.get_or_init(|| {
        let Ok(file) = fs::metadata("/proc/self/exe") else {
            return 0;
        };
        let mut hasher = DefaultHasher::new();
        (file.dev(), file.ino()).hash(&mut hasher);
        hasher.finish()
    })
}

/// A number of this machine since it was started, and of the numbering of processes that this one
/// sees: two processes for which it is the same one mean the same process by a number, and the
/// same moment by a time. 0 where the kernel does not tell.
pub(crate) fn id() -> u64 {
    static ID: OnceLock<u64> = OnceLock::new();
    *ID.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        let numbering = fs::read_link("/proc/self/ns/pid");
        let (Ok(boot), Ok(numbering)) = (boot, numbering) else {
            return 0;
        };
        // The same in every program: its keys are constants of std's.
        let mut hasher = DefaultHasher::new();
        (boot.trim(), numbering.as_os_str().as_encoded_bytes()).hash(&mut hasher);
        hasher.finish()
    })
}
