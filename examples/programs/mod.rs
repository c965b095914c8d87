//! What examples of several programs need to run by themselves: each program is the example again,
//! with the arguments that a person gives it in a terminal.

#![allow(dead_code, reason = "each example uses some of it")]

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use callboard::{AuthKey, AuthKeyError, Error};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A program of its own, and what it prints. Dropped, it is killed, and its actors with it.
pub struct Program {
    role: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it; the first argument says what it is.
    pub fn start(args: &[&str]) -> callboard::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().expect("it is piped");
        Ok(Self {
            role: args.first().copied().unwrap_or_default().to_owned(),
            child,
            lines: BufReader::new(out).lines(),
        })
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line that it prints.
    ///
    /// # Errors
    /// It has ended.
    pub async fn line(&mut self) -> callboard::Result<String> {
        if let Some(line) = self.lines.next_line().await? {
            println!("{}: {line}", self.role);
            return Ok(line);
        }
        let (role, status) = (&self.role, self.child.wait().await?);
        let text = format!("the {role} has ended with {status}, and was to say more");
        Err(Error::msg(text))
    }

    /// All that it still prints, once it has ended.
    ///
    /// # Errors
    /// It has ended by a signal or an error.
    pub async fn end(mut self) -> callboard::Result<Vec<String>> {
        let mut said = Vec::new();
        while let Some(line) = self.lines.next_line().await? {
            println!("{}: {line}", self.role);
            said.push(line);
        }
        let (role, status) = (&self.role, self.child.wait().await?);
        if status.success() {
            Ok(said)
        } else {
            Err(Error::msg(format!("the {role} has ended with {status}")))
        }
    }

    pub async fn kill(mut self) -> callboard::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The key in the file, which is made if there is none.
pub fn key_of(path: &str) -> Result<AuthKey, AuthKeyError> {
    match AuthKey::from_file(path) {
        Err(AuthKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let key = AuthKey::random()?;
            key.write_file(path)?;
            Ok(key)
        }
        found => found,
    }
}

/// A folder for key files. Dropped, it is removed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> callboard::Result<Self> {
        let name = format!("callboard-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies where such folders are removed some day.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
