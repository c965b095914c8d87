//! Makes a key file for actors that are called over a network, or shows the id of one.
//!
//! ```text
//! cargo run --example authkey -- new /etc/myservice/authkey
//! cargo run --example authkey -- id /etc/myservice/authkey
//! ```
//!
//! Without arguments it does both, in a folder of its own.

use callboard::AuthKey;

fn make(path: &str) -> callboard::Result<()> {
    AuthKey::random()?.write_file(path)?;
    show(path)
}

fn show(path: &str) -> callboard::Result<()> {
    println!("{path}: {:?}", AuthKey::from_file(path)?);
    Ok(())
}

fn main() -> callboard::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["new", path] => make(path),
        ["id", path] => show(path),
        [] => {
            let folder = std::env::temp_dir().join(format!("authkey-{}", std::process::id()));
            std::fs::create_dir(&folder)?;
            let path = folder.join("authkey");
            let path = path.to_str().unwrap_or_default();
            make(path)?;
            // Another one never takes its place.
            assert!(make(path).is_err());
            std::fs::remove_dir_all(&folder)?;
            Ok(())
        }
        _ => {
            eprintln!("usage: authkey [new|id FILE]");
            Ok(())
        }
    }
}
