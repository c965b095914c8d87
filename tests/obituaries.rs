//! How an actor has ended, told to those who did not start it: over a network, over a socket with a
//! name, and over the links of its family.

mod common;

use std::future::IntoFuture as _;
use std::time::Duration;

use callboard::prelude::*;
use callboard::{Address, AuthKey, ConnectError, DownReason, Exit, LifeEvent, Reconnect};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use common::{HERE, Holdings, LONG, Scratch, alone, eventually, signal, within};

fn key() -> AuthKey {
    AuthKey::from([1; 32])
}

/// Ends in many ways.
#[derive(Default)]
pub struct Patient {
    visitors: std::cell::Cell<u32>,
}

#[actor]
impl Patient {
    pub fn new() -> Self {
        Self::default()
    }

    /// Never done.
    pub async fn visit(&self) {
        self.visitors.set(self.visitors.get() + 1);
        std::future::pending().await
    }

    pub fn visitors(&self) -> u32 {
        self.visitors.get()
    }

    /// A copy of its own proxy: it opens its entrance by itself.
    pub fn itself(&self, ctx: &Context) -> PatientProxy {
        ctx.own()
    }

    #[expect(clippy::disallowed_methods, reason = "an actor's user may well do so")]
    pub fn leave(&self, code: i32) {
        std::process::exit(code)
    }

    pub fn abort(&self) {
        std::process::abort()
    }

    pub fn panic(&self, text: String) {
        panic!("{text}")
    }
}

/// Holds a proxy of somebody that it did not start.
#[derive(Default)]
pub struct Visitor {
    patient: Option<PatientProxy>,
}

/// What a visitor was told.
#[message]
#[derive(Debug, PartialEq)]
pub struct Told {
    /// As the visitor's program says it.
    exit: String,
    report: Option<String>,
    pid: u32,
    not_run: bool,
}

#[actor]
impl Visitor {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn keep(&mut self, patient: PatientProxy) {
        self.patient = Some(patient);
    }

    pub async fn connect(&mut self, address: String) -> Result<(), String> {
        let connecting = Patient::connect(address, key()).within(LONG);
        let patient = connecting.await.map_err(|error| error.to_string())?;
        self.patient = Some(patient);
        Ok(())
    }

    /// Calls until that fails.
    pub async fn visit(&self) -> Result<Told, String> {
        let patient = self.patient.as_ref().ok_or("nobody is there")?;
        let visited = patient.visit().no_timeout().await;
        match visited.expect_err("it never ends") {
            CallError::Died { death, outcome } => Ok(Told {
                exit: death.exit().to_string(),
                report: death.report().map(|report| report.message().to_owned()),
                pid: death.pid(),
                not_run: outcome == Outcome::NotRun,
            }),
            other => Err(format!("{other:?}")),
        }
    }

    /// What else the proxy tells of the end.
    pub async fn down(&self) -> (String, Option<String>) {
        let patient = self.patient.as_ref().expect("somebody is there");
        let exit = within(LONG, patient.exited()).await.to_string();
        let down = patient.monitor().down().await;
        let died = down.and_then(|reason| match reason {
            DownReason::Died(death) => Some(death.exit().to_string()),
            _ => None,
        });
        (exit, died)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Code,
    Kill,
    Abort,
    Panic,
}

impl End {
    const ALL: [Self; 4] = [Self::Code, Self::Kill, Self::Abort, Self::Panic];

    async fn come(self, patient: &PatientProxy) {
        match self {
            Self::Code => drop(patient.leave(7).await),
            Self::Kill => signal(patient.process_id(), Signal::SIGKILL),
            Self::Abort => drop(patient.abort().await),
            Self::Panic => drop(patient.panic("no luck".into()).await),
        }
    }

    fn is(self, exit: Exit) -> bool {
        let by = |number| matches!(exit, Exit::Signal { number: found, .. } if found == number);
        match self {
            Self::Code => exit == Exit::Code(7),
            Self::Kill => by(libc::SIGKILL),
            Self::Abort => by(libc::SIGABRT),
            Self::Panic => exit == Exit::Code(101),
        }
    }
}

/// How a visitor reaches its patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tcp,
    NamedSocket,
    /// By the entrance that the owner has opened.
    Entrance,
    /// By the one that the actor has opened.
    OwnEntrance,
}

impl Way {
    const ALL: [Self; 4] = [
        Self::Tcp,
        Self::NamedSocket,
        Self::Entrance,
        Self::OwnEntrance,
    ];

    fn address(self, scratch: &Scratch) -> String {
        match self {
            Self::NamedSocket => format!("unix:{}", scratch.path("patient")),
            _ => HERE.to_owned(),
        }
    }

    /// A visitor in a process of its own, whose call is under way.
    async fn visitor(self, patient: &PatientProxy) -> (VisitorProxy, Pending<Told, String>) {
        let visitor = Visitor::spawn().await.expect("it starts");
        match self {
            Self::Tcp | Self::NamedSocket => {
                let address = patient.address().map(Address::to_string);
                let address = address.expect("it listens");
                visitor.connect(address).await.expect("it is let in");
            }
            Self::Entrance => visitor.keep(patient.clone()).await.expect("it takes it"),
            Self::OwnEntrance => {
                let own = patient.itself().await.expect("it has one");
                visitor.keep(own).await.expect("it takes it");
            }
        }
        let visiting = visitor.visit().no_timeout().start();
        let end = tokio::time::Instant::now() + LONG;
        while patient.visitors().await.expect("it lives") == 0 {
            assert!(tokio::time::Instant::now() < end, "nobody comes");
            sleep(Duration::from_millis(5)).await;
        }
        (visitor, visiting)
    }
}

/// Whoever holds a proxy of an actor whose process dies is told how: the exit code, the signal, the
/// panic, as its owner knows them; at the call that runs, at later ones, by `exited` and monitors.
#[callboard::test]
async fn holders_are_told_how_processes_end() {
    if !alone("holders_are_told_how_processes_end") {
        return;
    }
    let scratch = Scratch::new();
    let warm = Visitor::spawn().await.unwrap();
    let before = Holdings::settled().await;
    for way in Way::ALL {
        for end in End::ALL {
            let patient = Patient::spawn();
            let patient = match way {
                Way::Tcp | Way::NamedSocket => {
                    patient.listen(&*way.address(&scratch)).authkey(key()).await
                }
                Way::Entrance | Way::OwnEntrance => patient.await,
            };
            let patient = patient.unwrap();
            let (visitor, visiting) = way.visitor(&patient).await;
            end.come(&patient).await;
            let told = within(LONG, visiting).await;
            let told = told.unwrap_or_else(|error| panic!("{way:?} {end:?}: {error:?}"));
            let exit = within(LONG, patient.exited()).await;
            assert!(end.is(exit), "{way:?} {end:?}: {exit}");
            let expected = Told {
                exit: exit.to_string(),
                report: (end == End::Panic).then(|| "no luck".to_owned()),
                pid: patient.process_id(),
                not_run: false,
            };
            assert_eq!(told, expected, "{way:?} {end:?}");
            let again = within(LONG, visitor.visit().into_future()).await.unwrap();
            let not_run = true;
            assert_eq!(
                again,
                Told {
                    not_run,
                    ..expected
                },
                "{way:?} {end:?}"
            );
            let (exited, died) = visitor.down().await.unwrap();
            let exit = exit.to_string();
            assert_eq!(
                (&exited, died.as_ref()),
                (&exit, Some(&exit)),
                "{way:?} {end:?}"
            );
            visitor.shutdown().await.unwrap();
        }
    }
    warm.shutdown().await.unwrap();
    eventually(LONG, "nothing is left", || {
        Holdings::now().descriptors <= before.descriptors
    })
    .await;
}

/// A task's end is told like a process's, by its own process, which lives on.
#[callboard::test]
async fn holders_are_told_how_tasks_end() {
    let scratch = Scratch::new();
    for way in Way::ALL {
        for is_panic in [true, false] {
            let patient = Patient::local();
            let patient = match way {
                Way::Tcp | Way::NamedSocket => {
                    patient.listen(&*way.address(&scratch)).authkey(key()).await
                }
                Way::Entrance | Way::OwnEntrance => patient.await,
            };
            let patient = patient.unwrap();
            let (visitor, visiting) = way.visitor(&patient).await;
            if is_panic {
                End::Panic.come(&patient).await;
            } else {
                patient.kill().await;
            }
            let exit = if is_panic {
                Exit::Code(101)
            } else {
                Exit::Dropped
            };
            let told = within(LONG, visiting).await.unwrap();
            assert_eq!(told.exit, exit.to_string(), "{way:?}");
            assert_eq!(told.report.as_deref(), is_panic.then_some("no luck"));
            visitor.shutdown().await.unwrap();
        }
    }
}

/// Who has his connection made again is told, too: at the call that was under way and by monitors,
/// before they tell of the next one; what he called meanwhile waits for that.
#[callboard::test]
async fn who_comes_back_is_told() {
    let scratch = Scratch::new();
    let quick = Reconnect::on_loss().max(100_000);
    let quick = quick.pauses(Duration::from_millis(1)..=Duration::from_millis(20));
    for way in [Way::Tcp, Way::NamedSocket] {
        let start = async |address: &str| {
            let patient = Patient::spawn().listen(address).authkey(key());
            within(LONG, patient.into_future()).await.unwrap()
        };
        let mut patient = start(&way.address(&scratch)).await;
        let address = patient.address().expect("it listens").to_string();
        let remote = Patient::connect(&*address, key()).reconnect(quick);
        let remote = remote.within(LONG).await.unwrap();
        let mut monitor = remote.monitor();
        assert!(monitor.next().await.is_some(), "it lives");
        for end in End::ALL {
            let visiting = remote.visit().no_timeout().start();
            while within(LONG, remote.visitors()).await.unwrap() == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            end.come(&patient).await;
            let exit = within(LONG, patient.exited()).await;
            let told = match within(LONG, visiting).await.expect_err("it never ends") {
                CallError::Died { death, outcome } => {
                    assert_eq!(outcome, Outcome::MayHaveRun, "{way:?} {end:?}");
                    death
                }
                other => panic!("{way:?} {end:?}: {other:?}"),
            };
            assert_eq!(
                (told.exit(), told.pid()),
                (exit, patient.process_id()),
                "{way:?} {end:?}"
            );
            let report = told.report().map(|report| report.message().to_owned());
            let is_panic = end == End::Panic;
            assert_eq!(report.as_deref(), is_panic.then_some("no luck"));
            match within(LONG, monitor.down()).await {
                Some(DownReason::Died(death)) => assert_eq!(death.exit(), exit, "{way:?} {end:?}"),
                other => panic!("{way:?} {end:?}: {other:?}"),
            }
            assert!(!remote.is_alive());
            let waiting = remote.visitors().start();
            patient = start(&address).await;
            assert_eq!(within(LONG, waiting).await.unwrap(), 0);
            match within(LONG, monitor.next()).await {
                Some(LifeEvent::Up { process_id, .. }) => {
                    assert_eq!(process_id, patient.process_id());
                }
                other => panic!("{way:?} {end:?}: {other:?}"),
            }
        }
    }
}

/// For as long as the dead's owner tells how it ended, it tells only those who have the key; and
/// whoever is to listen there next does at once.
#[callboard::test]
async fn the_next_one_listens_at_once() {
    let patient = Patient::spawn().listen(HERE).authkey(key());
    let patient = patient.await.unwrap();
    let address = patient.address().unwrap().clone();
    End::Kill.come(&patient).await;
    let killed = within(LONG, patient.exited()).await;
    let told = Patient::connect(&address, key()).within(LONG).await;
    match told.expect_err("it is dead") {
        ConnectError::Died { death, .. } => assert_eq!(death.exit(), killed),
        // That was told long ago.
        ConnectError::Io { .. } => {}
        other => panic!("{other:?}"),
    }
    let stranger = Patient::connect(&address, [9; 32]).within(LONG).await;
    match stranger.expect_err("it is dead") {
        ConnectError::Auth { .. } | ConnectError::Io { .. } => {}
        other => panic!("{other:?}"),
    }
    for _ in 0..3 {
        let next = Patient::spawn().listen(&address).authkey(key());
        let next = within(LONG, next.into_future()).await.unwrap();
        let remote = Patient::connect(&address, key())
            .within(LONG)
            .await
            .unwrap();
        assert_eq!(remote.visitors().await.unwrap(), 0);
        End::Kill.come(&next).await;
        within(LONG, next.exited()).await;
    }
}
