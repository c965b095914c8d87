//! Ends the run if a round does not end.
//!
//! A caller that spins for a reply of a process that has died would spin for ever. The second
//! process dies with this one, and what both have left is removed first.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::stage;

/// No round comes near this, whatever the options say.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Watchdog {
    guarded: Arc<Mutex<Guarded>>,
}

/// The round under way.
struct Guarded {
    since: Instant,
    what: String,
}

impl Watchdog {
    pub fn start() -> Self {
        let guarded = Arc::new(Mutex::new(Guarded {
            since: Instant::now(),
            what: String::new(),
        }));
        let watched = Arc::clone(&guarded);
        thread::spawn(move || {
            loop {
                thread::sleep(PATIENCE / 10);
                let round = watched.lock().unwrap_or_else(PoisonError::into_inner);
                if round.since.elapsed() > PATIENCE {
                    eprintln!("\n{} does not end", round.what);
                    stage::sweep_own();
                    process::exit(1);
                }
            }
        });
        Self { guarded }
    }

    /// The next round has begun.
    pub fn guard(&self, subject: &str, case: &str) {
        let mut guarded = self.guarded.lock().unwrap_or_else(PoisonError::into_inner);
        *guarded = Guarded {
            since: Instant::now(),
            what: format!("{subject} {case}"),
        };
    }
}
