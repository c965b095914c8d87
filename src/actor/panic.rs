//! Catching panics, and what they said.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Once;

use futures_util::FutureExt;

use crate::wire::report::PanicReport;

thread_local! {
    static LAST: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Sees to it that the places of panics are known in this process; once is enough.
pub(crate) fn note_places() {
    static NOTED: Once = Once::new();
    // The hook of a thread that panics cannot be changed; the next start tries again.
    if !std::thread::panicking() {
        NOTED.call_once(|| install_hook(|_| {}));
    }
}

/// Notes every panic of this process from now on, and hands each report to `keep`.
///
/// The hook that was there before still runs, so panics are printed as ever.
pub(crate) fn install_hook(keep: impl Fn(&PanicReport) + Send + Sync + 'static) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string);
        let report = PanicReport::new(text(info.payload()), location);
        keep(&report);
        // While a thread ends its local values may be gone already.
        let _ = LAST.try_with(|last| last.replace(Some(report)));
        before(info);
    }));
}

/// Runs `future`, and gives what its panic said if it panics.
///
/// # Errors
/// The panic's report.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, PanicReport> {
    // What the panic may have left half changed is dropped unused: the actor ends.
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|payload| report(&*payload))
}

/// Runs `action`, and gives what its panic said if it panics.
///
/// # Errors
/// The panic's report.
pub(crate) fn caught_now<T>(action: impl FnOnce() -> T) -> Result<T, PanicReport> {
    std::panic::catch_unwind(AssertUnwindSafe(action)).map_err(|payload| report(&*payload))
}

/// Goes on with a panic that was caught and told.
pub(crate) fn pass_on(report: PanicReport) -> ! {
    let text = report.message().to_owned();
    LAST.set(Some(report));
    std::panic::resume_unwind(Box::new(text))
}

fn report(payload: &(dyn Any + Send)) -> PanicReport {
    let text = text(payload);
    let noted = LAST.with(RefCell::take);
    // A panic that is passed on runs no hook: what is noted is then another one's.
    noted
        .filter(|noted| noted.message() == text)
        .unwrap_or_else(|| PanicReport::new(text, None))
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic's text comes back whatever its type, also without a hook.
    #[tokio::test]
    async fn panics_are_reported() {
        let text: Result<(), _> = caught(async { panic!("no {}", "luck") }).await;
        assert!(text.unwrap_err().message().contains("no luck"));
        let plain: Result<(), _> = caught_now(|| panic!("plain"));
        assert_eq!(plain.unwrap_err().message(), "plain");
        let odd: Result<(), _> = caught_now(|| std::panic::panic_any(7));
        let odd = odd.unwrap_err();
        assert_eq!(odd.message(), "a panic without a text");
        assert_eq!(caught(async { 5 }).await, Ok(5));
    }
}
