//! Where the memory of a segment comes from, on machines that have some near each package.

use std::io;
use std::ops::Range;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use super::memory::Segment;

/// More NUMA nodes than any kernel is built for.
const NODES_MAX: usize = 1024;

impl Segment {
    /// Lets the pages that lie within `bytes`, and are not there yet, come from the memory of a
    /// NUMA node, while it has any; whoever touches them first.
    ///
    /// # Errors
    ///
    /// The system's: there is no such node, or it knows none.
    ///
    /// # Panics
    ///
    /// When the segment has no such bytes.
    pub(crate) fn prefer_node(&self, bytes: Range<usize>, node: u32) -> io::Result<()> {
        let len = size_of_val(self.words());
        assert!(bytes.end <= len, "{bytes:?} of {len}");
        let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| usize::try_from(size).ok());
        let page = page.unwrap_or(4096);
        let (from, to) = (bytes.start.next_multiple_of(page), bytes.end / page * page);
        let bit = usize::try_from(node).map_err(io::Error::other)?;
        let mut nodes = [0_u64; NODES_MAX / 64];
        let Some(word) = nodes.get_mut(bit / 64) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        *word = 1 << (bit % 64);
        if from >= to {
            return Ok(());
        }
        let begin = self.words().as_ptr().wrapping_byte_add(from);
        // SAFETY: the pages lie within this segment's mapping, as was asserted; where they come
        // from changes nothing of what is in them. The kernel reads `NODES_MAX` bits of `nodes`,
        // which are there (it takes one less than it is told).
        let result = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                begin,
                to - from,
                libc::MPOL_PREFERRED,
                nodes.as_ptr(),
                NODES_MAX,
                0,
            )
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_may_be_placed() {
        // What is asked for is what the kernel notes of these pages; nodes that are not there are
        // errors, and less than a page is nothing.
        let segment = Segment::create(16 * 4096).unwrap();
        match segment.prefer_node(4096..3 * 4096, 0) {
            Ok(()) => {}
            // Built without NUMA, or kept from it by a filter.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                return;
            }
            Err(error) => panic!("{error}"),
        }
        segment.prefer_node(100..200, 0).unwrap();
        assert!(segment.prefer_node(0..4096, 1000).is_err());
        assert!(segment.prefer_node(0..4096, u32::MAX).is_err());
        segment.allocate(16 * 4096).unwrap();
        if let Ok(maps) = std::fs::read_to_string("/proc/self/numa_maps") {
            let ours = |line: &&str| line.contains(segment.name().unwrap());
            let lines: Vec<_> = maps.lines().filter(ours).collect();
            assert!(
                lines.iter().any(|line| line.contains(" prefer")),
                "{lines:?}"
            );
            assert!(
                lines.iter().any(|line| line.contains(" default")),
                "{lines:?}"
            );
        }
        segment.words()[600].store(7, std::sync::atomic::Ordering::Relaxed);
        segment.unlink();
    }
}
