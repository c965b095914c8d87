//! The only door to the operating system: shared memory, bells, sockets, processes, CPUs.
//!
//! Every system call that std and tokio do not make for us, and with it nearly all `unsafe` of the
//! crate, stands in this room (the rest stands in `ring`). What leaves it is safe to use in any
//! order: descriptors are owned values, and a step that fails leaves nothing behind.
//!
//! This room does not know what the bytes mean, who the peer is, or what an actor is.

pub(crate) mod memory;
pub(crate) mod span;
mod numa;
mod owner;
pub(crate) mod pages;
pub(crate) mod sealed;
pub(crate) mod filling;
pub(crate) mod shared;
mod room;
pub(crate) mod counted;
pub(crate) mod at_hand;

pub(crate) mod doorbell;
pub(crate) mod tally;
pub(crate) mod numbers;
pub(crate) mod socket;
pub(crate) mod portable;
pub(crate) mod endpoint;
pub(crate) mod gateway;
pub(crate) mod process;
pub(crate) mod terminate;
pub(crate) mod pipe;
pub(crate) mod oom;
pub(crate) mod limits;
pub(crate) mod group;
pub(crate) mod places;
pub(crate) mod random;
pub(crate) mod machine;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod failpoint;
pub(crate) mod body;
pub(crate) mod large_pages;
pub(crate) mod checked;

/// For tests of what belongs to a whole process: the test program runs itself again.
#[cfg(test)]
pub(crate) mod again {
    use std::ffi::OsString;
    use std::process::Command;

    /// Names the part that a test plays in a process of its own.
    const ROLE: &str = "CALLBOARD_TEST_ROLE";

    /// The part this process was started for, if any.
    pub(crate) fn role() -> Option<String> {
        std::env::var(ROLE).ok()
    }

    /// The arguments after which the test program runs just `test` of the module `module`.
    pub(crate) fn args(module: &str, test: &str) -> Vec<OsString> {
        let path = module.split_once("::").map_or("", |(_, path)| path);
        let test = format!("{path}::{test}");
        [test.as_str(), "--exact", "--nocapture", "--test-threads=1"]
            .map(OsString::from)
            .to_vec()
    }

    /// The environment that gives `role` to the process.
    pub(crate) fn env(role: &str) -> Vec<(OsString, OsString)> {
        vec![(ROLE.into(), role.into())]
    }

    /// A command that runs `test` again, as `role`.
    pub(crate) fn command(module: &str, test: &str, role: &str) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(args(module, test)).envs(env(role));
        command
    }

    /// Runs `test` again in a process where no other test runs beside it, and says whether this
    /// is that process.
    pub(crate) fn alone(module: &str, test: &str) -> bool {
        if role().as_deref() == Some("alone") {
            return true;
        }
        let output = command(module, test, "alone").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}\n{errors}"
        );
        false
    }
}
