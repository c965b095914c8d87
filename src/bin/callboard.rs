//! The `callboard` command: key files for actors that are called over a network.
//!
//! ```text
//! callboard authkey new FILE     makes a key, in a new file that its owner alone can read
//! callboard authkey id FILE      says whether the file holds a key that nobody else can read
//! ```
//!
//! Both print the key's id, by which people see whether two files hold the same key, and never the
//! key. The status is 1 when there is no such key, and 2 when the arguments are none of these.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use callboard::{AuthKey, AuthKeyError, Error};

const USAGE: &str = "usage: callboard authkey new|id FILE";

/// What is to be done with a file.
type Deed = fn(&Path) -> Result<AuthKey, AuthKeyError>;

fn new(path: &Path) -> Result<AuthKey, AuthKeyError> {
    let key = AuthKey::random()?;
    key.write_file(path)?;
    Ok(key)
}

fn deed(args: &[OsString]) -> Option<(Deed, &Path)> {
    let [subject, verb, path] = args else {
        return None;
    };
    let deed: Deed = match (subject.to_str()?, verb.to_str()?) {
        ("authkey", "new") => new,
        ("authkey", "id") => |path| AuthKey::from_file(path),
        _ => return None,
    };
    Some((deed, Path::new(path)))
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let Some((deed, path)) = deed(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match deed(path) {
        Ok(key) => {
            println!("{}: {}", path.display(), key.id());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("callboard: {}", Error::from(error));
            ExitCode::FAILURE
        }
    }
}
