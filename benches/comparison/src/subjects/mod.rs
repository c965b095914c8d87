//! One file per subject.

pub mod callboard;

pub mod actix;
pub mod eventfd;
pub mod iceoryx2;
mod iceoryx2_loans;
pub mod ipc_channel;
pub mod kameo;
pub mod ractor;
pub mod spin;
pub mod tarpc;
pub mod tokio_channel;

use futures_util::FutureExt;

use crate::subject::Outcome;

/// A runtime that runs everything in the thread that blocks on it.
pub fn current_thread() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

/// Runs a measurement whose calls block the thread and never yield.
pub fn blocking(measurement: impl Future<Output = Outcome>) -> Outcome {
    measurement
        .now_or_never()
        .ok_or("a blocking call yielded")?
}
