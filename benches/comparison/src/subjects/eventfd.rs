//! The floor of an idle call: one eventfd each way, waited for through tokio's `AsyncFd`, and no
//! payload at all.
//!
//! The counter is never read: epoll is edge-triggered, so each write wakes the other side once.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::write;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::current_thread;
use crate::meter::Meter;
use crate::stage::{Stage, ready};
use crate::subject::{Case, Outcome, Standing, Subject, Waiting};

pub struct Eventfd;

impl Subject for Eventfd {
    fn name(&self) -> &'static str {
        "eventfd"
    }

    fn standing(&self) -> Standing {
        Standing::Floor
    }

    fn waiting(&self, case: Case) -> Option<Waiting> {
        matches!(case, Case::Idle | Case::IdlePause).then_some(Waiting::Parks)
    }

    fn round(&self, case: Case, stage: &Stage, meter: &mut Meter) -> Outcome {
        // Without `EFD_CLOEXEC`, so that the second process finds them under the same numbers.
        let requests = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?);
        let replies = OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_NONBLOCK)?);
        let numbers = [
            requests.as_raw_fd().to_string(),
            replies.as_raw_fd().to_string(),
        ];
        let second = stage.second(self, case, &numbers)?;
        meter.watch(second.pid());
        current_thread()?.block_on(async {
            let ear = listen(replies)?;
            meter
                .round_trips(async || {
                    ring(&requests)?;
                    heard(&ear).await
                })
                .await
        })
    }

    fn serve(&self, _case: Case, arguments: &[String]) -> Outcome {
        let [requests, replies] = arguments else {
            return Err("the numbers of the eventfds are missing".into());
        };
        let (requests, replies) = (inherited(requests.parse()?), inherited(replies.parse()?));
        current_thread()?.block_on(async {
            let ear = listen(requests)?;
            ready()?;
            loop {
                heard(&ear).await?;
                ring(&replies)?;
            }
        })
    }
}

fn inherited(number: RawFd) -> OwnedFd {
    // SAFETY: the first process opened this number for us and named it once; nothing else in this
    // process knows it, so it has this one owner.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn listen(fd: OwnedFd) -> Outcome<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open and the same for as long as it lives.
    let ear = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    ear.map_err(|error| error.to_string().into())
}

fn ring(bell: &OwnedFd) -> Outcome {
    write(bell, &1_u64.to_ne_bytes())?;
    Ok(())
}

async fn heard(ear: &AsyncFd<OwnedFd>) -> Outcome {
    ear.readable().await?.clear_ready();
    Ok(())
}
