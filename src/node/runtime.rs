//! The runtime of a program's `main` or test.

use std::future::Future;

use super::census;
use super::signals::{self, Asked};
use crate::transport::farewell;

/// Which runtime `#[callboard::main]` or `#[callboard::test]` was asked for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the macros write it down")]
pub struct RuntimeOptions {
    /// One thread or several.
    pub flavor: Flavor,
    /// How many, where several; none: as many as there are cores.
    pub worker_threads: Option<usize>,
    /// Whether signals that ask the process to end end its actors first.
    pub signals: bool,
}

/// How many threads a runtime has.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the macros write it down")]
pub enum Flavor {
    /// Several.
    MultiThread,
    /// One.
    CurrentThread,
}

/// Runs `main` on a new runtime, then ends the actors that it left. Does not return if it was a
/// signal that ended it.
///
/// # Panics
/// When the system gives no runtime.
#[doc(hidden)]
pub fn block_on<F: Future>(options: RuntimeOptions, main: F) -> F::Output {
    let mut builder = match options.flavor {
        Flavor::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        Flavor::CurrentThread => tokio::runtime::Builder::new_current_thread(),
    };
    if let Some(threads) = options.worker_threads {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .enable_all()
        .build()
        .expect("the system has threads and descriptors left");
    let output = if options.signals {
        let ran = runtime.block_on(async {
            match Asked::listen() {
                Ok(asked) => asked.or(main).await,
                // Signals end the program then as they end any other.
                Err(_) => Ok(main.await),
            }
        });
        // `main` has been dropped where it was.
        ran.unwrap_or_else(|ended| signals::leave(ended.exit_code()))
    } else {
        runtime.block_on(main)
    };
    // Tasks that still run may hold proxies; their actors end in order all the same.
    runtime.block_on(async {
        census::shutdown_all().await;
        farewell::all_are_gone().await;
    });
    output
}
