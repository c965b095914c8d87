//! CPUs: how many this process may use, and which one runs this thread.

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu};
use nix::unistd::Pid;

/// How many CPUs the calling thread may run on; at least one.
pub(crate) fn allowed() -> usize {
    match sched_getaffinity(Pid::from_raw(0)) {
        Ok(set) => {
            let is_allowed = |&cpu: &usize| set.is_set(cpu).unwrap_or(false);
            (0..CpuSet::count()).filter(is_allowed).count().max(1)
        }
        // More than 1024 CPUs: std asks with a larger set.
        Err(_) => std::thread::available_parallelism().map_or(1, Into::into),
    }
}

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
    use super::*;

    #[test]
    fn a_pinned_thread_is_allowed_one_cpu_and_runs_there() {
        // A thread of its own, for affinity is the thread's.
        let pinned = std::thread::spawn(|| {
            let before = allowed();
            let cpu = current() as usize;
            let mut set = CpuSet::new();
            set.set(cpu).unwrap();
            nix::sched::sched_setaffinity(Pid::from_raw(0), &set).unwrap();
            yield_now();
            (before, allowed(), current() as usize == cpu)
        });
        let (before, after, same) = pinned.join().unwrap();
        assert!(before >= 1 && after == 1 && same);
    }
}
