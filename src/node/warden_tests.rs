//! Tests of the warden: real processes, which are shells.

use std::fs;
use std::os::fd::AsRawFd as _;

use super::*;
use crate::sys::again;
use crate::sys::process::tests::{plain, shell, wait_until};

/// Long enough for anything on a busy machine, and over soon enough for a test that fails.
const LONG: Duration = Duration::from_secs(20);

/// An order for `sh -c script`, and what its `on_exit` is told.
fn order(script: &str) -> (Order, oneshot::Receiver<Exit>) {
    let (ours, theirs) = Lifeline::pair().unwrap();
    let (exit, told) = oneshot::channel();
    let order = Order {
        launch: shell(script, theirs),
        lifeline: ours,
        hello: b"hello".to_vec().into(),
        fds: Vec::new(),
        tails: Tails::default(),
        is_heard: false,
        handover: None,
        greet_within: LONG,
        limited: None,
        on_exit: Box::new(|end| {
            exit.send(end).unwrap_or(());
            None
        }),
    };
    (order, told)
}

/// The same, started.
async fn started(script: &str) -> (Ward, Greeting, oneshot::Receiver<Exit>) {
    let (order, told) = order(script);
    let Started { ward, greeting } = start(order).await.unwrap().unwrap();
    (ward, greeting, told)
}

/// Takes the next packet from the lifeline; a shell's own `read` would cut it to one byte.
const TAKE: &str = "dd bs=64 count=1 2>/dev/null";

const KILLED: Exit = Exit::Signal {
    number: libc::SIGKILL,
    core_dumped: false,
};

#[tokio::test]
async fn hello_greeting_stop_and_exit_go_their_way() {
    // The child greets with what it was told, and ends with its own code when asked.
    let script =
        format!("x=$({TAKE}); printf %s-back $x >&0; x=$({TAKE}); [ $x = stop ] && exit 7");
    let (ward, greeting, told) = started(&script).await;
    assert_eq!(greeting.await.unwrap(), b"hello-back");
    assert!(ward.exit().is_none() && !ward.is_stopped() && ward.pid() > 1);
    ward.stop(LONG);
    ward.stop(LONG);
    assert_eq!(ward.exited().await, Exit::Code(7));
    assert_eq!(ward.exit(), Some(Exit::Code(7)));
    assert_eq!(told.await.unwrap(), Exit::Code(7));
    ward.kill();
    ward.stop(Duration::ZERO);
    assert!(!ward.was_killed_by_us() && ward.exited().await == Exit::Code(7));
}

#[tokio::test]
async fn descriptors_of_the_hello_are_closed_here() {
    // The pipe's last end is with the child, which never takes it and ends.
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut order, told) = order(&format!("{TAKE}; exit 0"));
    order.fds.push(writer.into());
    let _started = start(order).await.unwrap().unwrap();
    told.await.unwrap();
    let read = tokio::task::spawn_blocking(move || io::Read::read(&mut reader, &mut [0; 1]));
    assert_eq!(
        tokio::time::timeout(LONG, read)
            .await
            .unwrap()
            .unwrap()
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_silent_child_is_killed_in_time() {
    // Also one that has closed its lifeline, which is not death.
    for script in ["exec sleep 100", "exec sleep 100 </dev/null"] {
        let (mut order, told) = order(script);
        order.greet_within = Duration::from_millis(50);
        let Started { ward, greeting } = start(order).await.unwrap().unwrap();
        assert_eq!(greeting.await, Err(GreetError::Silent));
        assert_eq!(told.await.unwrap(), KILLED);
        assert!(ward.was_killed_by_us());
    }
}

#[tokio::test]
async fn a_child_that_ends_early_is_told_apart() {
    // Without a greeting, and with one that is still in the socket when the end is seen.
    let (_ward, greeting, told) = started("exit 3").await;
    assert_eq!(greeting.await, Err(GreetError::Exited));
    assert_eq!(told.await.unwrap(), Exit::Code(3));
    let (ward, greeting, told) = started("printf hi >&0; exit 4").await;
    assert_eq!(told.await.unwrap(), Exit::Code(4));
    assert_eq!(greeting.await.unwrap(), b"hi");
    assert_eq!(ward.exit(), Some(Exit::Code(4)));
}

#[tokio::test]
async fn a_kill_from_outside_is_seen_soon() {
    // The promise is 20 ms on an idle machine; this one may be busy.
    let (ward, greeting, told) = started("printf hi >&0; exec sleep 100").await;
    greeting.await.unwrap();
    let pid = nix::unistd::Pid::from_raw(ward.pid().cast_signed());
    let killed = Instant::now();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(told.await.unwrap(), KILLED);
    assert!(
        killed.elapsed() < Duration::from_secs(2),
        "{:?}",
        killed.elapsed()
    );
    assert!(!ward.was_killed_by_us());
}

#[tokio::test]
async fn a_child_that_ignores_the_stop_is_killed_after_its_grace() {
    // A later, longer grace does not count; a later, shorter one does.
    let (ward, greeting, told) = started("printf hi >&0; exec sleep 100").await;
    greeting.await.unwrap();
    let asked = Instant::now();
    ward.stop(LONG);
    ward.stop(Duration::from_millis(60));
    ward.stop(LONG);
    ward.stop(Duration::MAX);
    assert_eq!(told.await.unwrap(), KILLED);
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(60) && took < LONG, "{took:?}");
    assert!(ward.was_killed_by_us());
}

#[tokio::test]
async fn a_stopped_child_is_seen_and_killed() {
    // SIGSTOP gives no event; SIGKILL ends also a stopped one.
    let (ward, greeting, told) = started("printf hi >&0; kill -STOP $$").await;
    greeting.await.unwrap();
    wait_until(|| ward.is_stopped());
    ward.kill();
    assert_eq!(told.await.unwrap(), KILLED);
    assert!(!ward.is_stopped() && ward.was_killed_by_us());
}

#[tokio::test]
async fn nobody_wants_it_any_more() {
    // The receiver dropped at once, after the answer, and the greeting given up.
    let (unwanted, told) = order("exec sleep 100");
    drop(start(unwanted));
    // Never begun, or killed: `on_exit` is dropped or told.
    assert!(matches!(told.await, Err(_) | Ok(KILLED)));
    let (unwanted, mut told) = order("exec sleep 100");
    let answer = start(unwanted);
    wait_until(|| !answer.is_empty());
    assert!(told.try_recv().is_err());
    drop(answer);
    assert_eq!(told.await.unwrap(), KILLED);
    let (ward, greeting, told) = started("exec sleep 100").await;
    drop(greeting);
    assert_eq!(told.await.unwrap(), KILLED);
    assert!(ward.was_killed_by_us());
}

#[tokio::test]
async fn what_cannot_be_started_is_an_error() {
    // No such program, and a hello that no socket takes.
    let (mut missing, told) = order("");
    missing.launch.exe = "/nowhere/to/be/found".into();
    match start(missing).await.unwrap() {
        Err(StartError::Launch(error)) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    assert!(told.await.is_err(), "on_exit does not run");
    let (mut order, _told) = order("");
    order.hello = vec![0; 16 * 1024 * 1024].into();
    assert!(matches!(
        start(order).await.unwrap(),
        Err(StartError::Hello(_))
    ));
}

#[tokio::test]
async fn a_panic_at_the_end_of_one_child_does_not_touch_the_next() {
    // The closure panics on the warden's thread.
    let (mut order, _) = order("exit 0");
    order.on_exit = Box::new(|_| panic!("as the test wants it"));
    let Started { ward, greeting } = start(order).await.unwrap().unwrap();
    assert_eq!(greeting.await, Err(GreetError::Exited));
    assert_eq!(ward.exited().await, Exit::Code(0));
    let (_ward, _greeting, told) = started("exit 5").await;
    assert_eq!(told.await.unwrap(), Exit::Code(5));
}

/// Descriptors open in this process, the one that counts included.
fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process that have ended and are not reaped.
fn zombies() -> usize {
    let is_zombie = |entry: &fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        let (state, parent) = (fields.next(), fields.next());
        state == Some("Z") && parent == Some(std::process::id().to_string().as_str())
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(is_zombie)
        .count()
}

#[test]
fn fifty_children_leave_nothing() {
    // Ended, killed, silent, unwanted and never started ones; alone, for descriptors are counted.
    if !again::alone(module_path!(), "fifty_children_leave_nothing") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(started("exit 0").await.2.await);
        let before = open_fds();
        let mut ends = Vec::new();
        for round in 0..10 {
            let (ward, greeting, told) = started(&format!("exit {round}")).await;
            ends.push((told, Some(Exit::Code(round))));
            drop((ward, greeting.await));
            let (ward, greeting, told) = started("printf x >&0; exec sleep 100").await;
            greeting.await.unwrap();
            ward.stop(Duration::from_millis(10));
            ends.push((told, Some(KILLED)));
            let (mut silent, told) = order("exec sleep 100");
            silent.greet_within = Duration::from_millis(10);
            drop(start(silent).await.unwrap().unwrap().greeting.await);
            ends.push((told, Some(KILLED)));
            let (unwanted, told) = order("exec sleep 100");
            drop(start(unwanted).await.unwrap().unwrap());
            ends.push((told, Some(KILLED)));
            let (mut impossible, told) = order("");
            impossible.launch = plain("/nowhere", Lifeline::pair().unwrap().0);
            assert!(start(impossible).await.unwrap().is_err());
            ends.push((told, None));
        }
        for (told, end) in ends {
            assert_eq!(told.await.ok(), end);
        }
        assert_eq!((open_fds(), zombies()), (before, 0));
    });
}

#[test]
fn running_out_of_descriptors_is_an_error_and_leaves_nothing() {
    // At each number of free descriptors, until the start succeeds; alone, for the limit is the
    // process's.
    if !again::alone(
        module_path!(),
        "running_out_of_descriptors_is_an_error_and_leaves_nothing",
    ) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(started("exit 0").await.2.await);
        let before = open_fds();
        let mut refused = 0;
        for free in 0..32 {
            let (order, told) = order("exit 0");
            let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
            let (soft, hard) = nix::sys::resource::getrlimit(limit).unwrap();
            // The lowest free number is the first that the limit forbids, plus what may be used.
            let lowest = fs::File::open("/dev/null").unwrap();
            let first = u64::try_from(lowest.as_raw_fd()).unwrap();
            drop(lowest);
            nix::sys::resource::setrlimit(limit, first + free, hard).unwrap();
            let answer = start(order).await.unwrap();
            nix::sys::resource::setrlimit(limit, soft, hard).unwrap();
            let is_started = answer.is_ok();
            match answer {
                Ok(started) => assert_eq!(started.ward.exited().await, Exit::Code(0)),
                Err(StartError::Launch(_)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            assert_eq!(told.await.is_ok(), is_started);
            assert_eq!((open_fds(), zombies()), (before, 0), "{free} free");
            if is_started {
                break;
            }
        }
        assert!(refused > 0);
    });
}
