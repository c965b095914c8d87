//! A supervisor's task: it hears of ends, and starts again. It is also what keeps the members of a
//! pool, each for itself.
//!
//! ```text
//!  Up ── ended, or stopped with who ended ──> Reviving ── pause, start ──> Up
//!   │ └─ ended, and not to be started again ──────────────> Left
//!   ├─── ended, and not wanted by its user ──> Leaving ───> Left
//!   └─── all are ended ──> Down ── nobody starts them ────> Left
//!                            └── started by the supervisor above ──> Up
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::charge::{Charge, State, posts_of, start_all};
use super::child::Entry;
use super::post::{Post, Refill, Started};
use super::restart::{History, Restart};
use super::strategy::Strategy;
use super::supervisor::{GivenUp, Shared, Status};
use crate::node::ending::ShutdownError;
use crate::sys::process::Exit;

/// What a supervisor is asked to do.
pub(super) enum Command {
    Add(Addition),
    Stop(oneshot::Sender<Result<(), ShutdownError>>),
    /// It is in the care of another one, which gives the commands below.
    Adopted,
    /// Ends all, to start them again or to leave.
    Rest(oneshot::Sender<Result<(), ShutdownError>>),
    /// Starts all anew, after it has ended.
    Start(oneshot::Sender<Started>),
    /// Nobody will start them any more.
    Leave,
    /// Somebody else takes this place than who is there.
    Refill(u64, Refill),
}

/// Somebody who lives, to be kept alive.
pub(super) struct Addition {
    pub(super) name: Option<String>,
    pub(super) restart: Option<Restart>,
    pub(super) post: Arc<dyn Post>,
    /// To who has brought it, and does not want it unless it learns of it.
    pub(super) reply: Option<oneshot::Sender<bool>>,
}

/// What becomes of one that would have to be started too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// All starts count together, and all end with it.
    EndsAll,
    /// Each one's starts are its own, and the others go on without it.
    EndsOne,
}

/// See the module.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    strategy: Strategy,
    restart: Restart,
    excess: Excess,
    /// The starts of all.
    history: History,
    began: Instant,
    next_id: u64,
    charges: Vec<Charge>,
    tasks: JoinSet<Event>,
    revivals: usize,
    /// Whether it may be started again when it has ended.
    is_adopted: bool,
    /// Ends that came while others were being started, whose turn it is after that.
    deferred: Vec<(u64, u64, Exit)>,
}

enum Event {
    /// Of a charge, in one of its lives.
    Ended { id: u64, life: u64, exit: Exit },
    /// What came of the starts that were tried, in their order.
    Revived(Vec<(u64, Started)>),
    /// Who was not wanted any more is gone.
    Dismissed { id: u64, exit: Exit },
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        (strategy, restart, excess): (Strategy, Restart, Excess),
    ) -> Self {
        Self {
            shared,
            strategy,
            restart,
            excess,
            history: History::default(),
            began: Instant::now(),
            next_id: 0,
            charges: Vec::new(),
            tasks: JoinSet::new(),
            revivals: 0,
            is_adopted: false,
            deferred: Vec::new(),
        }
    }

    /// Works until nobody can ask for anything any more; then it ends all in its care.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.hear(event).await,
                    // A task is ended only by who does not want to hear of it.
                    Err(error) => tracing::error!(%error, "a supervisor's task has ended"),
                },
            }
        }
        if let Err(error) = self.stop().await {
            tracing::warn!(%error, "an actor of a dropped supervisor did not end in order");
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Add(addition) => self.add(addition),
            Command::Stop(reply) => {
                let stopped = self.stop().await;
                // Whoever asked may not wait for it.
                let _ = reply.send(stopped);
            }
            Command::Adopted => self.is_adopted = true,
            Command::Rest(reply) => {
                let stopped = self.rest().await;
                self.stopped();
                let _ = reply.send(stopped);
            }
            Command::Start(reply) => self.start(reply).await,
            Command::Leave => self.leave_all(),
            Command::Refill(id, refill) => {
                // Here, so that no end of who was there before is taken for one of who is now.
                refill();
                if let Some(at) = self.place(id) {
                    self.rise(at);
                }
            }
        }
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Ended { id, life, exit } => self.ended((id, life, exit)).await,
            Event::Dismissed { id, exit } => {
                let leaves = |at: &usize| self.charges[*at].state == State::Leaving;
                if let Some(at) = self.place(id).filter(leaves) {
                    self.charges[at].fell(exit);
                    self.charges[at].leave();
                }
            }
            Event::Revived(starts) => {
                self.revivals -= 1;
                self.revived(starts).await;
                if self.revivals == 0 {
                    for end in std::mem::take(&mut self.deferred) {
                        self.ended(end).await;
                    }
                }
            }
        }
    }

    fn add(&mut self, addition: Addition) {
        let Addition {
            name,
            restart,
            post,
            reply,
        } = addition;
        if !self.works() {
            let _ = reply.map(|reply| reply.send(false));
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let entry = Arc::new(Entry {
            id,
            name: name.unwrap_or_else(|| id.to_string()),
            restart,
            post,
        });
        if self.excess == Excess::EndsAll {
            // Who is kept for itself is known to who has brought it, and may hold the supervisor.
            self.shared.children().push(Arc::clone(&entry));
        }
        self.charges.push(Charge::new(entry));
        self.watch(self.charges.len() - 1);
        if reply.is_some_and(|reply| reply.send(true).is_err()) {
            // Who has brought it is gone, and has no proxy of it: nobody wants it.
            self.dismiss(self.charges.len() - 1);
        }
    }

    /// Waits for the end of the present life of the one at `at`.
    fn watch(&mut self, at: usize) {
        let Charge { entry, life, .. } = &self.charges[at];
        let (id, life, ended) = (entry.id, *life, entry.post.ended());
        self.tasks.spawn(async move {
            let exit = ended.await;
            Event::Ended { id, life, exit }
        });
    }

    async fn ended(&mut self, (id, life, exit): (u64, u64, Exit)) {
        let Some(at) = self.place(id) else { return };
        if (self.charges[at].life, self.charges[at].state) != (life, State::Up) {
            return;
        }
        if self.strategy != Strategy::OneForOne && self.revivals > 0 {
            self.deferred.push((id, life, exit));
            return;
        }
        self.charges[at].fell(exit);
        self.charges[at].state = State::Down;
        if self.charges[at].entry.post.was_stopped() {
            self.charges[at].leave();
            return;
        }
        self.follow(at, exit != Exit::Code(0)).await;
    }

    /// The one at `at` has ended, or did not start: it is started again, or not.
    async fn follow(&mut self, at: usize, failed: bool) {
        let charge = &mut self.charges[at];
        let restart = charge.entry.restart.unwrap_or(self.restart);
        let is_wanted = charge.entry.post.is_wanted();
        if !is_wanted || !restart.wants(failed) {
            if is_wanted && failed {
                let name = &charge.entry.name;
                tracing::error!(name, exit = %charge.last, "a supervised actor is not replaced");
            }
            charge.leave();
            return;
        }
        let now = self.began.elapsed();
        // The pause is its own: of many that die at once, none waits for the others.
        let own = charge.history.admit(self.restart, now);
        let (name, exit) = (&charge.entry.name, charge.last);
        let pause = match self.excess {
            Excess::EndsAll => {
                let all = self.history.admit(self.restart, now);
                all.map(|_| own.unwrap_or_default())
            }
            Excess::EndsOne => own,
        };
        match (pause, self.excess) {
            (Some(pause), _) => {
                tracing::warn!(name, %exit, "a supervised actor has ended and is started again");
                self.revive(at, pause).await;
            }
            (None, Excess::EndsAll) => self.give_up(at).await,
            (None, Excess::EndsOne) => {
                tracing::error!(name, %exit, "a supervised actor is given up");
                charge.leave();
            }
        }
    }

    /// Stops those who are affected by the end of the one at `at`, and starts them all.
    async fn revive(&mut self, at: usize, pause: Duration) {
        self.charges[at].state = State::Reviving;
        let affected = self.strategy.affected(at, self.charges.len());
        for other in self.charges[affected.clone()].iter_mut().rev() {
            if other.state == State::Up {
                // It has told of what was not in order.
                let _ = other.stop().await;
                other.state = State::Reviving;
            }
        }
        let unwanted = self.charges[at].entry.post.unwanted();
        self.start_reviving(affected, async move {
            // The timer counts in milliseconds, and no time at all is the usual pause.
            if !pause.is_zero() {
                let _ = tokio::time::timeout(pause, unwanted).await;
            }
        });
    }

    /// Starts those of a range who are to be started, after a pause.
    fn start_reviving(
        &mut self,
        range: Range<usize>,
        pause: impl Future<Output = ()> + Send + 'static,
    ) {
        let posts = posts_of(&self.charges[range], State::Reviving);
        if posts.is_empty() {
            return;
        }
        self.revivals += 1;
        self.tasks.spawn(async move {
            pause.await;
            Event::Revived(start_all(posts).await)
        });
    }

    async fn revived(&mut self, starts: Vec<(u64, Started)>) {
        let mut failed = None;
        for (id, started) in starts {
            let Some(at) = self.place(id) else { continue };
            if self.charges[at].state != State::Reviving {
                // Somebody else has taken the place meanwhile, and is watched.
                continue;
            }
            match started {
                Started::Up => self.rise(at),
                Started::Failed => failed = Some(at),
                Started::Unwanted => self.dismiss(at),
            }
        }
        let Some(at) = failed else { return };
        self.follow(at, true).await;
        if self.strategy != Strategy::OneForOne && self.revivals == 0 {
            // It is not tried again, and those behind it were not tried yet.
            self.start_reviving(0..self.charges.len(), std::future::ready(()));
        }
    }

    /// Somebody new lives at `at`.
    fn rise(&mut self, at: usize) {
        self.charges[at].rise();
        self.watch(at);
    }

    fn place(&self, id: u64) -> Option<usize> {
        self.charges.iter().position(|charge| charge.entry.id == id)
    }

    /// Nobody is to be at `at` any more; who comes just now is ended.
    fn dismiss(&mut self, at: usize) {
        let charge = &mut self.charges[at];
        charge.state = State::Leaving;
        let (id, stop) = (charge.entry.id, charge.entry.post.stop());
        self.tasks.spawn(async move {
            // How it ends is no news to those who do not want it.
            let (exit, _) = stop.await;
            Event::Dismissed { id, exit }
        });
    }

    /// Ends all and itself, for the one at `at` cannot be kept alive.
    async fn give_up(&mut self, at: usize) {
        let charge = &self.charges[at];
        let (max, within) = self.restart.limit();
        let given_up = GivenUp {
            child: charge.entry.name.clone(),
            exit: charge.last,
            max,
            within,
        };
        tracing::error!(error = %given_up, "a supervisor gives up");
        // What did not end in order beside it was logged where it was stopped.
        let _ = self.rest().await;
        if !self.is_adopted {
            self.leave_all();
        }
        self.set(Status::GivenUp(given_up));
    }

    /// Ends all for good.
    async fn stop(&mut self) -> Result<(), ShutdownError> {
        let stopped = self.rest().await;
        self.leave_all();
        self.stopped();
        stopped
    }

    /// All have ended, unless it has given up before.
    fn stopped(&self) {
        if self.works() {
            self.set(Status::Stopped);
        }
    }

    /// Ends all, the youngest first. Gives the first error.
    async fn rest(&mut self) -> Result<(), ShutdownError> {
        // Nobody is started any more when this returns, and who was being started is gone.
        self.tasks.shutdown().await;
        self.revivals = 0;
        self.deferred.clear();
        let mut first = Ok(());
        for charge in self.charges.iter_mut().rev() {
            if !matches!(charge.state, State::Down | State::Left) {
                let stopped = charge.stop().await;
                charge.state = State::Down;
                first = first.and(stopped);
            }
        }
        first
    }

    fn leave_all(&mut self) {
        let there = |charge: &&mut Charge| charge.state != State::Left;
        self.charges
            .iter_mut()
            .filter(there)
            .for_each(Charge::leave);
    }

    /// Starts all anew, in the order in which they came.
    async fn start(&mut self, mut reply: oneshot::Sender<Started>) {
        if self.works() {
            let _ = reply.send(Started::Up);
            return;
        }
        self.history = History::default();
        let starts = tokio::select! {
            starts = start_all(posts_of(&self.charges, State::Down)) => starts,
            // Who is being started is ended with that, and those before it below.
            () = reply.closed() => return self.unstart().await,
        };
        let is_up = starts
            .iter()
            .all(|(_, started)| *started != Started::Failed);
        for (id, started) in starts {
            match (self.place(id), started) {
                (Some(at), Started::Up) => self.rise(at),
                (Some(at), Started::Unwanted) => self.dismiss(at),
                _ => {}
            }
        }
        if is_up {
            self.shared.count_restart();
            self.set(Status::Works);
            let _ = reply.send(Started::Up);
        } else {
            self.unstart().await;
            let _ = reply.send(Started::Failed);
        }
    }

    /// Ends those that were started for nothing.
    async fn unstart(&mut self) {
        for charge in &mut self.charges {
            if charge.state == State::Down {
                // Whether it was started is not known; if not, nothing happens.
                charge.state = State::Up;
            }
        }
        // What did not end in order was logged.
        let _ = self.rest().await;
    }

    fn set(&self, status: Status) {
        self.shared.status.send_replace(status);
    }

    fn works(&self) -> bool {
        matches!(*self.shared.status.borrow(), Status::Works)
    }
}

/// Its runtime has ended, and with it all whom nobody has ended before.
impl Drop for Keeper {
    fn drop(&mut self) {
        for charge in &mut self.charges {
            if charge.state != State::Left {
                charge.last = Exit::Dropped;
                charge.leave();
            }
        }
        self.stopped();
    }
}
