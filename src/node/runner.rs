//! Where a local actor runs: in a task, or in a thread of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;

use super::census;
use super::leaving::Leaving;
use super::local::LocalSeat;

/// How an actor is run: in a task if its future can move between threads, else in a thread of its
/// own. Which of the two is what the compiler finds first at `(&Runner::new(..)).start(seat)`.
#[doc(hidden)]
pub struct Runner<R, F> {
    run: R,
    future: PhantomData<fn() -> F>,
}

impl<R: FnOnce(LocalSeat) -> F + Copy, F> Runner<R, F> {
    /// Runs actors by `run`.
    pub fn new(run: R) -> Self {
        Self {
            run,
            future: PhantomData,
        }
    }
}

impl<R, F> fmt::Debug for Runner<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Starts an actor as a task.
#[doc(hidden)]
pub trait RunInTask {
    /// Starts it.
    ///
    /// # Errors
    /// None.
    fn start(&self, seat: LocalSeat) -> io::Result<()>;
}

impl<R, F> RunInTask for Runner<R, F>
where
    R: FnOnce(LocalSeat) -> F + Copy,
    F: Future<Output = Leaving> + Send + 'static,
{
    fn start(&self, seat: LocalSeat) -> io::Result<()> {
        let running = (self.run)(seat);
        tokio::spawn(async move { drop(running.await) });
        Ok(())
    }
}

/// Starts an actor in a thread of its own.
#[doc(hidden)]
pub trait RunInThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread or no descriptor left.
    fn start(&self, seat: LocalSeat) -> io::Result<()>;
}

impl<R, F> RunInThread for &Runner<R, F>
where
    R: FnOnce(LocalSeat) -> F + Copy + Send + 'static,
    F: Future<Output = Leaving>,
{
    fn start(&self, seat: LocalSeat) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let run = self.run;
        let thread = std::thread::Builder::new().name(thread_name(&seat.title));
        thread.spawn(move || {
            let leaving = runtime.block_on(async {
                let leaving = run(seat).await;
                if leaving.is_orderly() {
                    // The actors that it has started end in order, too.
                    census::shutdown_all().await;
                }
                leaving
            });
            // What the actor's tasks still do is dropped with them; its end is told after that.
            runtime.shutdown_background();
            drop(leaving);
        })?;
        Ok(())
    }
}

/// What of a title can name a thread.
fn thread_name(title: &str) -> String {
    title.chars().take_while(|c| *c != '\0').collect()
}
