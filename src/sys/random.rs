//! Random bytes that nobody can guess.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Fills `bytes` from the system's generator.
///
/// # Errors
/// The system's: it has none.
pub(crate) fn fill(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(len) => bytes = &mut bytes[len..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    /// All of it is filled, and differently each time.
    #[test]
    fn no_two_are_alike() {
        let mut two = [[0; 600]; 2];
        two.iter_mut().for_each(|bytes| super::fill(bytes).unwrap());
        assert_ne!(two[0], two[1]);
        assert_ne!(two[0][568..], [0; 32], "also beyond what is given at once");
    }
}
