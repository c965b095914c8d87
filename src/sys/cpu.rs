//! CPUs: which one runs this thread, letting others have it, and on which a thread may run.

use std::fs;
use std::io;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The CPU that runs the calling thread just now; zero if the system does not tell.
pub(crate) fn current() -> u32 {
    sched_getcpu()
        .ok()
        .and_then(|cpu| u32::try_from(cpu).ok())
        .unwrap_or(0)
}

/// Lets another thread have this CPU, if one wants it.
pub(crate) fn yield_now() {
    thread::yield_now();
}

/// Whose mask is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    /// The calling thread's.
    Thread,
    /// That of the first thread of a process.
    Process(u32),
}

/// The CPUs on which somebody may run.
///
/// # Errors
///
/// The system's: no such process, or more CPUs than a mask has.
pub(crate) fn allowed(who: Who) -> io::Result<Vec<u32>> {
    let pid = match who {
        Who::Thread => 0,
        Who::Process(pid) => pid.cast_signed(),
    };
    Ok(numbers(&sched_getaffinity(Pid::from_raw(pid))?))
}

/// The CPUs on which the calling thread could be allowed to run: all that its cgroup has.
///
/// # Errors
///
/// The system's: no thread can be started.
pub(crate) fn permitted() -> io::Result<Vec<u32>> {
    // The kernel leaves out what it does not give. A thread of its own, for the mask is changed.
    let ask = thread::Builder::new().name("callboard-cpus".to_owned());
    let asking = ask.spawn(|| {
        let mut all = CpuSet::new();
        for cpu in 0..CpuSet::count() {
            all.set(cpu)?;
        }
        sched_setaffinity(Pid::from_raw(0), &all)?;
        sched_getaffinity(Pid::from_raw(0))
    })?;
    let given = asking.join().unwrap_or(Err(Errno::EINVAL))?;
    Ok(numbers(&given))
}

/// Keeps the calling thread on these CPUs. The kernel leaves out what it does not give.
///
/// # Errors
///
/// The system's: none of these is there, or given.
pub(crate) fn pin_thread(cpus: &[u32]) -> io::Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), &mask(cpus)?)?)
}

/// Keeps all threads of this process on these CPUs.
///
/// # Errors
///
/// As [`pin_thread`]; some of the threads may be pinned then.
pub(crate) fn pin_process(cpus: &[u32]) -> io::Result<()> {
    let mask = mask(cpus)?;
    // Who was started meanwhile by a thread that is not pinned yet is seen in the next round.
    let mut pinned = Vec::new();
    loop {
        let new: Vec<i32> = threads()?
            .into_iter()
            .filter(|thread| !pinned.contains(thread))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        for thread in new {
            match sched_setaffinity(Pid::from_raw(thread), &mask) {
                // It has ended.
                Ok(()) | Err(Errno::ESRCH) => pinned.push(thread),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn threads() -> io::Result<Vec<i32>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir("/proc/self/task")? {
        let name = entry?.file_name();
        threads.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(threads)
}

fn mask(cpus: &[u32]) -> io::Result<CpuSet> {
    let mut mask = CpuSet::new();
    for cpu in cpus {
        mask.set(usize::try_from(*cpu).map_err(io::Error::other)?)?;
    }
    Ok(mask)
}

fn numbers(mask: &CpuSet) -> Vec<u32> {
    (0..CpuSet::count())
        .filter(|cpu| mask.is_set(*cpu).unwrap_or(false))
        .filter_map(|cpu| u32::try_from(cpu).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that is pinned to a CPU runs on that one, also after it gave it up, and others do
    /// as they did.
    #[test]
    fn a_pinned_thread_stays_where_it_is() {
        let before = allowed(Who::Thread).unwrap();
        // A thread of its own, for affinity is the thread's.
        let pinned = thread::spawn(|| {
            let cpu = current();
            pin_thread(&[cpu]).unwrap();
            yield_now();
            (current() == cpu, allowed(Who::Thread).unwrap() == [cpu])
        });
        assert_eq!(pinned.join().unwrap(), (true, true));
        assert_eq!(allowed(Who::Thread).unwrap(), before);
    }

    /// What may be asked for is at least what is used, and a CPU that is not there is refused.
    #[test]
    fn masks_are_within_what_is_permitted() {
        let permitted = permitted().unwrap();
        let ours = allowed(Who::Process(std::process::id())).unwrap();
        assert!(ours.iter().all(|cpu| permitted.contains(cpu)), "{ours:?}");
        let absent = (0..1024).rfind(|cpu| !permitted.contains(cpu)).unwrap();
        let error = thread::spawn(move || pin_thread(&[absent])).join().unwrap();
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// A process that pins itself pins the threads that run already.
    #[test]
    fn a_pinned_process_pins_its_threads() {
        if !crate::sys::again::alone(module_path!(), "a_pinned_process_pins_its_threads") {
            return;
        }
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || {
            wait.recv().unwrap();
            allowed(Who::Thread).unwrap()
        });
        let first = allowed(Who::Process(std::process::id())).unwrap()[0];
        pin_process(&[first]).unwrap();
        go.send(()).unwrap();
        assert_eq!(other.join().unwrap(), [first]);
    }
}
