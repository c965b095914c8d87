//! The line that says where and when the figures were taken.

use std::fs;
use std::hint;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Versions of everything that was built into this program.
const LOCK: &str = include_str!("../Cargo.lock");

/// The CPU, its cores, how it idles, the kernel, the compiler and the day.
pub fn line() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    // Not `available_parallelism`, which counts the cores that this pinned thread may use.
    let cores = first_line("/sys/devices/system/cpu/online");
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let idle = first_line("/sys/devices/system/cpu/cpuidle/current_driver");
    let governor = first_line("/sys/devices/system/cpu/cpuidle/current_governor_ro");
    let rustc = env!("COMPARISON_RUSTC");
    let machine =
        if field("/proc/cpuinfo", "flags").is_some_and(|flags| flags.contains(" hypervisor")) {
            "virtual"
        } else {
            "bare"
        };
    let (year, month, day) = today();
    format!(
        "{cpu}, cores {cores} ({machine}, idle driver {idle}, governor {governor}), \
         Linux {kernel}, {rustc}, {year}-{month:02}-{day:02}"
    )
}

/// Nanoseconds of one reading of the clock, which every timed call contains.
pub fn clock_ns() -> f64 {
    const READINGS: u32 = 100_000;
    let begin = Instant::now();
    for _ in 0..READINGS {
        hint::black_box(Instant::now());
    }
    begin.elapsed().as_nanos() as f64 / f64::from(READINGS)
}

/// The version of a package in our `Cargo.lock`.
pub fn version(package: &str) -> Option<&'static str> {
    let head = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = LOCK.split_once(&head)?;
    rest.split('"').next()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

/// The first value after this name in a file of `name : value` lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Year, month and day in UTC.
fn today() -> (u64, u64, u64) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    civil(since.as_secs() / 86_400)
}

/// The date so many days after 1970-01-01, counted in eras of 400 years that begin on a first of
/// March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(19_723), (2024, 1, 1));
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(version("kameo").is_some_and(|version| version.starts_with("0.22.")));
        assert_eq!(version("no-such-package"), None);
    }
}
