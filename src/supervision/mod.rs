//! Supervision: actors that have died are started again, and their proxies go on.
//!
//! A [`Supervisor`] starts actors, waits for their ends, and starts them anew as its [`Strategy`]
//! says, as often as its [`Restart`] allows. Who has a proxy of a supervised actor has it for all
//! its lives. Supervisors may have supervisors: one that gives up has failed, and is started again
//! with all its actors by the one above it.
//!
//! ```standalone_crate
//! use callboard::prelude::*;
//! use callboard::supervision::{Strategy, Supervisor};
//!
//! pub struct Store { lines: Vec<String> }
//!
//! #[actor]
//! impl Store {
//!     pub fn new() -> Self { Self { lines: Vec::new() } }
//!     pub fn push(&mut self, line: String) -> usize { self.lines.push(line); self.lines.len() }
//! }
//!
//! #[callboard::main]
//! async fn main() -> callboard::Result<()> {
//!     let supervisor = Supervisor::builder(Strategy::OneForOne).start();
//!     let store = supervisor.spawn(Store::spawn).name("store").await?;
//!     let mut monitor = store.monitor();
//!     assert_eq!(store.push("first".into()).await?, 1);
//!
//!     std::process::Command::new("kill").args(["-9", &store.process_id().to_string()]).status()?;
//!     monitor.down().await;
//!     monitor.next().await;                                    // it lives again, ..
//!     assert_eq!(store.push("again".into()).await?, 1);        // .. and knows nothing
//!     supervisor.stop().await?;
//!     Ok(())
//! }
//! ```
#![forbid(unsafe_code)]

mod branch;
mod charge;
mod child;
mod fate;
mod keeper;
pub(crate) mod post;
pub(crate) mod restart;
mod seat;
mod strategy;
mod supervisor;

pub use child::Child;
pub use fate::{Link, link};
pub use restart::Restart;
pub use strategy::Strategy;
pub use supervisor::{GivenUp, SuperviseError, Supervised, Supervisor, SupervisorBuilder};
