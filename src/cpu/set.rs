//! Sets of CPUs, written as the kernel writes them: `0-3,8`. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One more than the highest number a CPU can have here: what the system's masks hold
/// (`CPU_SETSIZE` of sched.h).
pub(crate) const CPUS_MAX: u32 = 1024;

/// One hardware thread, by the number that the kernel gives it.
///
/// # Examples
/// ```
/// use callboard::cpu::{Core, CpuSet};
///
/// assert_eq!(CpuSet::from(Core(3)).to_string(), "3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "it is a number with a name")]
pub struct Core(pub u32);

/// A set of CPUs (hardware threads), by the kernel's numbers.
///
/// It prints, and is read, as the kernel writes such sets: numbers and ranges with commas between.
///
/// # Examples
/// ```
/// use callboard::cpu::{Core, CpuSet};
///
/// let set: CpuSet = "0-2,8".parse()?;
/// assert_eq!(set.len(), 4);
/// assert!(set.contains(Core(8)));
/// assert_eq!(set.to_string(), "0-2,8");
/// # Ok::<(), callboard::cpu::CpuListError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuSet(BTreeSet<u32>);

impl CpuSet {
    /// How many CPUs are in it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::CpuSet;
    /// assert_eq!("4-7".parse::<CpuSet>()?.len(), 4);
    /// # Ok::<(), callboard::cpu::CpuListError>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none in it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::CpuSet;
    /// assert!(CpuSet::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this CPU is in it.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Core, CpuSet};
    /// assert!(!CpuSet::from(Core(1)).contains(Core(0)));
    /// ```
    #[must_use]
    pub fn contains(&self, core: Core) -> bool {
        self.0.contains(&core.0)
    }

    /// Its CPUs, the lowest number first.
    ///
    /// # Examples
    /// ```
    /// # use callboard::cpu::{Core, CpuSet};
    /// let set: CpuSet = "5,1".parse()?;
    /// assert_eq!(set.iter().collect::<Vec<_>>(), [Core(1), Core(5)]);
    /// # Ok::<(), callboard::cpu::CpuListError>(())
    /// ```
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Core> + '_ {
        self.0.iter().copied().map(Core)
    }

    /// The same as the system takes them.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.0.iter().copied().collect()
    }

    pub(crate) fn first(&self) -> Option<Core> {
        self.0.first().copied().map(Core)
    }

    /// What is in both.
    pub(crate) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// What is in this one only.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

impl From<Core> for CpuSet {
    fn from(core: Core) -> Self {
        Self::from_iter([core])
    }
}

impl FromIterator<Core> for CpuSet {
    fn from_iter<I: IntoIterator<Item = Core>>(iter: I) -> Self {
        Self(iter.into_iter().map(|core| core.0).collect())
    }
}

impl FromStr for CpuSet {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let error = |part: &str, reason| CpuListError {
            part: part.to_owned(),
            reason,
        };
        let number = |digits: &str, part: &str| match digits.trim().parse::<u32>() {
            Ok(number) if number < CPUS_MAX => Ok(number),
            Ok(_) => Err(error(part, "has a number above 1023")),
            Err(_) => Err(error(part, "is neither a number nor a range")),
        };
        let mut set = BTreeSet::new();
        for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if first > last {
                return Err(error(part, "ends before it begins"));
            }
            set.extend(first..=last);
        }
        Ok(Self(set))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while numbers.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CpuSet({self})")
    }
}

/// A text is no list of CPUs.
///
/// # Examples
/// ```
/// use callboard::cpu::CpuSet;
///
/// let error = "0-3,x".parse::<CpuSet>().unwrap_err();
/// assert_eq!(error.to_string(), "`x` is neither a number nor a range, in a list of CPUs");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` {reason}, in a list of CPUs")]
pub struct CpuListError {
    part: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A set that is printed and read again is the same set.
        #[test]
        fn sets_are_read_as_they_are_printed(
            numbers in prop::collection::btree_set(0..CPUS_MAX, 0..64),
        ) {
            let set = CpuSet(numbers);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }

        /// Any text is a set or an error.
        #[test]
        fn any_text_is_read(text in "[0-9,\\- x]{0,24}") {
            if let Ok(set) = text.parse::<CpuSet>() {
                prop_assert!(set.iter().all(|core| core.0 < CPUS_MAX));
            }
        }
    }

    /// What is wrong with a list is said, with the part that is wrong.
    #[test]
    fn bad_lists_are_refused() {
        for (text, reason) in [
            ("3-1", "ends before"),
            ("0,1024", "above 1023"),
            ("0,,1", "neither"),
            ("-1", "neither"),
            ("all", "neither"),
        ] {
            let error = text.parse::<CpuSet>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!("\n".parse(), Ok(CpuSet::default()));
    }
}
