//! Tests of `process`: real processes, mostly shells, and this test program run again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::sys::again;

/// A program without arguments and environment of its own.
pub(crate) fn plain(exe: &str, lifeline: Lifeline) -> Launch {
    Launch {
        exe: exe.into(),
        name: "test".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        dir: None,
        cpus: None,
        mark: ("CALLBOARD_TEST_MARK", "1".to_owned()),
        lifeline,
        stdout: None,
        stderr: None,
    }
}

/// `/bin/sh -c script`.
pub(crate) fn shell(script: &str, lifeline: Lifeline) -> Launch {
    Launch {
        args: vec!["-c".into(), script.into()],
        ..plain("/bin/sh", lifeline)
    }
}

/// Waits for the end.
pub(crate) fn reap(child: &mut Child) -> Exit {
    wait_until(|| child.try_reap().unwrap().is_some());
    child.try_reap().unwrap().unwrap()
}

/// Waits, but not for ever.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

fn start(script: &str) -> (Child, Lifeline) {
    let (ours, theirs) = Lifeline::pair().unwrap();
    (launch(shell(script, theirs)).unwrap(), ours)
}

#[test]
fn an_end_is_told_as_it_was() {
    // Codes and signals, as values and as text; the second look says the same.
    let signal = |number| Exit::Signal {
        number,
        core_dumped: false,
    };
    for (script, exit, text) in [
        ("exit 0", Exit::Code(0), "exit code 0"),
        ("exit 3", Exit::Code(3), "exit code 3"),
        ("kill -KILL $$", signal(9), "SIGKILL (9)"),
        ("kill -40 $$", signal(40), "signal 40"),
    ] {
        let (mut child, _lifeline) = start(script);
        assert_eq!(reap(&mut child), exit);
        assert_eq!(child.try_reap().unwrap(), Some(exit));
        assert_eq!(exit.to_string(), text);
        child.kill();
    }
    let dumped = Exit::Signal {
        number: 11,
        core_dumped: true,
    };
    assert_eq!(dumped.to_string(), "SIGSEGV (11), core dumped");
    assert_eq!(Exit::OutOfMemory.to_string(), "no memory left for it");
    let hung = "SIGKILL, as it did not answer its heartbeat";
    assert_eq!(Exit::Hung.to_string(), hung);
}

#[test]
fn a_child_is_set_up_as_asked() {
    // Lifeline as stdin, own group, own name, mark, variables and folder.
    let (ours, theirs) = Lifeline::pair().unwrap();
    let mut launched = shell("echo $X $CALLBOARD_TEST_MARK $PWD >&0; read wait", theirs);
    launched.env = vec![("X".into(), "y".into())];
    launched.dir = Some("/usr".into());
    let mut child = launch(launched).unwrap();
    let mut buffer = [0; 64];
    let packet = ours.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..packet.len], b"y 1 /usr\n");
    let pid = nix::unistd::Pid::from_raw(child.pid().cast_signed());
    assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with(b"actor:test\0-c\0"));
    drop(ours);
    assert_eq!(
        reap(&mut child),
        Exit::Code(1),
        "the end of the lifeline ended the wait"
    );
    let missing = launch(plain("/nowhere", Lifeline::pair().unwrap().0)).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_stopped_child_is_seen_and_can_be_killed() {
    // Stopped, running again, stopped and killed.
    let (mut child, _lifeline) = start("exec sleep 100");
    assert!(!child.is_stopped());
    for (signal, stopped) in [("STOP", true), ("CONT", false), ("STOP", true)] {
        let kill = format!("kill -{signal} {}", child.pid());
        assert!(
            Command::new("/bin/sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        wait_until(|| child.is_stopped() == stopped);
    }
    assert_eq!(child.try_reap().unwrap(), None);
    child.kill();
    assert_eq!(
        reap(&mut child),
        Exit::Signal {
            number: 9,
            core_dumped: false
        }
    );
}

#[test]
fn helpers_end_with_their_group() {
    // The helper holds the lifeline; it ends when the child is killed, or ends by itself.
    for script in [
        "sleep 100 <&0 & echo up >&0; wait",
        "sleep 100 <&0 & echo up >&0",
    ] {
        let (mut child, lifeline) = start(script);
        lifeline.recv(&mut [0; 8]).unwrap();
        if script.ends_with("wait") {
            child.kill();
        }
        reap(&mut child);
        lifeline
            .set_receive_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert_eq!(lifeline.recv(&mut [0; 8]).unwrap().len, 0);
    }
}

#[test]
fn a_child_dies_with_its_parent() {
    // This test starts a parent, which starts a child; when the parent is killed, the pipe
    // that both hold is closed by both.
    const TEST: &str = "a_child_dies_with_its_parent";
    match again::role().as_deref() {
        Some("child") => {
            let parent = nix::unistd::getppid().as_raw().cast_unsigned();
            assert!(!die_with_parent(parent + 1).unwrap());
            assert!(die_with_parent(parent).unwrap());
            io::stdout().write_all(b"\nready\n").unwrap();
            thread::sleep(Duration::from_secs(100));
        }
        Some("parent") => {
            let mut child = again::command(module_path!(), TEST, "child")
                .spawn()
                .unwrap();
            child.wait().unwrap();
        }
        _ => {
            let mut command = again::command(module_path!(), TEST, "parent");
            let mut parent = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap() == "ready"));
            parent.kill().unwrap();
            parent.wait().unwrap();
            let start = Instant::now();
            lines.for_each(drop);
            assert!(start.elapsed() < Duration::from_secs(10));
        }
    }
}

#[test]
fn a_process_can_end_itself_as_if_struck() {
    // Each signal has its full effect, also the one that std handles.
    if let Some(number) = again::role() {
        raise(number.parse().unwrap()).unwrap();
        exit_now(0);
    }
    for number in [6, 9, 11] {
        let (_ours, theirs) = Lifeline::pair().unwrap();
        let mut launched = plain("/proc/self/exe", theirs);
        launched.args = again::args(module_path!(), "a_process_can_end_itself_as_if_struck");
        launched.env = again::env(&number.to_string());
        let exit = reap(&mut launch(launched).unwrap());
        assert!(
            matches!(exit, Exit::Signal { number: n, .. } if n == number),
            "{exit}"
        );
    }
    assert!(raise(-1).is_err());
}

#[test]
fn the_mark_is_read_once() {
    // Alone in its process it is removed, otherwise it is only read.
    let mut command = again::command(module_path!(), "the_mark_is_read_once", "marked");
    if again::role().is_none() {
        assert_eq!(take_mark("CALLBOARD_TEST_NO_SUCH_MARK"), None);
        let output = command.env("CALLBOARD_TEST_MARK", "x").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let alone = fs::read_dir("/proc/self/task").unwrap().count() == 1;
    assert_eq!(take_mark("CALLBOARD_TEST_MARK"), Some("x".into()));
    assert_eq!(take_mark("CALLBOARD_TEST_MARK").is_none(), alone);
}

#[test]
fn a_title_is_cut_to_what_the_system_keeps() {
    // A thread of its own, for the title is the thread's.
    let titled = thread::spawn(|| {
        set_title("actor:\u{e9}longer than fifteen\0rest");
        fs::read("/proc/thread-self/comm").unwrap()
    });
    assert_eq!(titled.join().unwrap(), "actor:\u{e9}longer \n".as_bytes());
}

#[test]
fn ignored_signals_are_known() {
    // std ignores SIGPIPE before `main`; nobody ignores these others here.
    assert!(ignores(libc::SIGPIPE));
    for signal in [libc::SIGTERM, libc::SIGKILL, 0, -1, 65, 1000] {
        assert!(!ignores(signal), "{signal}");
    }
}
