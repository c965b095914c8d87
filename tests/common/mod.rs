//! What the tests of real processes share: bounds, folders, looks at processes, own processes.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program uses some of it"
)]

mod again;
mod blobs;
mod fork;
mod kinds;
mod core_group;
mod memory_group;
mod processes;

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::Address;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::{Instant, sleep, timeout};

pub use self::fork::fork;
pub use again::{again, again_args, again_by, alone, apart, is_role, may_unshare, must_pass};
pub use blobs::{blobs_of, no_blobs};
pub use core_group::CoreGroup;
pub(crate) use kinds::both;
pub use kinds::{How, Start};
pub use memory_group::MemoryGroup;
pub use processes::{Holdings, children_of, file_of, gone, is_gone, is_stopped, signal};

/// Far more than anything here takes; a test that hangs fails after it.
pub const LONG: Duration = Duration::from_secs(60);

/// What ends or is noticed by itself is so within this time, however busy the machine: less than
/// the usual bound of calls, so that what that ends is not taken for it. It measures nothing.
pub const SOON: Duration = Duration::from_secs(20);

/// Awaits what must not hang.
pub async fn within<F: Future>(limit: Duration, future: F) -> F::Output {
    match timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not done within {limit:?}"),
    }
}

/// Waits until something is so.
pub async fn eventually(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Says that a test shows nothing here, past the harness's capture.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Any free port of this machine.
pub const HERE: &str = "tcp://127.0.0.1:0";

/// Where TCP reaches an address.
pub fn place_of(address: &Address) -> (String, u16) {
    let host = address.host().expect("it is TCP").to_owned();
    (host, address.port().expect("it is TCP"))
}

/// Lets this process have so many descriptors; false: it may not, and the test was skipped.
pub fn may_open(descriptors: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    if most < descriptors {
        skipped(&format!("a process may not have {descriptors} descriptors"));
        return false;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised so far");
    true
}

/// A folder for one test, removed with its content.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("callboard-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0
            .join(name)
            .to_str()
            .expect("our names are text")
            .to_owned()
    }

    /// What was written there, nothing if nothing was.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
