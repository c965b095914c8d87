//! CPUs: which one runs this thread, and letting others have it.

use nix::sched::sched_getcpu;

/// The CPU that runs the calling thread just now; zero if the system does not tell.
pub(crate) fn current() -> u32 {
    sched_getcpu()
        .ok()
        .and_then(|cpu| u32::try_from(cpu).ok())
        .unwrap_or(0)
}

/// Lets another thread have this CPU, if one wants it.
pub(crate) fn yield_now() {
    std::thread::yield_now();
}

#[cfg(test)]
mod tests {
    use nix::sched::{CpuSet, sched_setaffinity};
    use nix::unistd::Pid;

    use super::*;

    /// A thread that is pinned to a CPU runs on that one, also after it gave it up.
    #[test]
    fn a_pinned_thread_stays_where_it_is() {
        // A thread of its own, for affinity is the thread's.
        let pinned = std::thread::spawn(|| {
            let cpu = current() as usize;
            let mut set = CpuSet::new();
            set.set(cpu).unwrap();
            sched_setaffinity(Pid::from_raw(0), &set).unwrap();
            yield_now();
            current() as usize == cpu
        });
        assert!(pinned.join().unwrap());
    }
}
