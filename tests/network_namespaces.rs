//! Networks that fail: two namespaces and a cable between them, which is pulled and plugged.
//!
//! Needs root and iproute2; without them each test says that it was skipped. Each test runs itself
//! again within the first namespace, and there starts an actor's program in the second one.

mod common;
#[path = "network/counter.rs"]
mod counter;

use std::future::IntoFuture as _;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use callboard::prelude::*;
use callboard::{
    AuthError, Callback, ConnectError, Exit, LifeEvent, LinkKind, Reconnect, Unreached, credentials,
};
use tokio::time::{Instant, sleep};

use common::{LONG, again_by, is_role, must_pass, skipped, within};
use counter::{Counter, CounterProxy, connected, key};

/// Within a test's first namespace.
const NEAR: &str = "near";

/// Within its second one.
const FAR: &str = "far";

/// Which namespaces they are.
const NAMES: &str = "CALLBOARD_TEST_NAMES";

/// The actor's address, at the far end of the cable.
const FAR_HOST: &str = "10.77.0.2";

/// A packet filter that needs nothing of the system but filters, and no `netem`: a number by
/// chance; if it is not greater than a twentieth of all, drop the packet, else let it pass.
const EVERY_TWENTIETH: &str = "4,32 0 0 4294963256,37 1 0 214748364,6 0 0 2,6 0 0 0";

/// Hands itself on, and calls whom it is told to.
pub struct Guide {
    told: Vec<u64>,
}

#[actor]
impl Guide {
    pub fn new() -> Self {
        Self { told: Vec::new() }
    }

    pub fn own(&self, context: &Context) -> GuideProxy {
        context.own()
    }

    pub fn tell(&mut self, number: u64) -> Vec<u64> {
        self.told.push(number);
        self.told.clone()
    }

    pub fn trust(&self, address: String) -> bool {
        credentials().add(address, key()).is_ok()
    }

    pub async fn call(&self, back: Callback<u64, Vec<u64>>) -> Result<Vec<u64>, String> {
        back.call(7).await.map_err(|error| format!("{error:?}"))
    }

    pub async fn tell_on(&self, other: GuideProxy) -> Result<(Vec<u64>, bool), String> {
        let told = other.tell(8).await;
        let is_network = other.link() == LinkKind::Network;
        Ok((told.map_err(|error| format!("{error:?}"))?, is_network))
    }
}

/// Two namespaces with a cable between them.
struct Cable {
    /// The tests' own process removes what it has made.
    is_made_here: bool,
    name: String,
}

impl Cable {
    /// None: this process has run the test in the near namespace, or cannot, or was the actor's.
    async fn enter(test: &str) -> Option<Self> {
        if is_role(FAR) {
            serve().await;
            return None;
        }
        if is_role(NEAR) {
            let name = std::env::var(NAMES).expect("it was told");
            let is_made_here = false;
            return Some(Self { is_made_here, name });
        }
        let name = format!("callboard-{}-{}", std::process::id(), &test[..6]);
        let cable = Self {
            is_made_here: true,
            name,
        };
        if let Err(why) = cable.lay() {
            skipped(&format!("{test}: {why}"));
            return None;
        }
        must_pass(&mut cable.command(NEAR, &[], test));
        None
    }

    fn namespace(&self, end: &str) -> String {
        format!("{}-{end}", self.name)
    }

    /// A command that runs `test` again at one end, by way of another program.
    fn command(&self, end: &str, by: &[&str], test: &str) -> Command {
        let namespace = self.namespace(end);
        let within = ["ip", "netns", "exec", &namespace];
        let mut command = again_by(&[&within, by].concat(), test, end);
        command.env(NAMES, &self.name);
        command
    }

    fn lay(&self) -> Result<(), String> {
        let (near, far) = (self.namespace(NEAR), self.namespace(FAR));
        ip(&["netns", "add", &near])?;
        ip(&["netns", "add", &far])?;
        let ends = ["name", "cable", "netns", &near, "type", "veth"];
        let peer = ["peer", "name", "cable", "netns", &far];
        ip(&[&["link", "add"], &ends[..], &peer[..]].concat())?;
        for (namespace, host) in [(&near, "10.77.0.1/24"), (&far, "10.77.0.2/24")] {
            ip(&["-n", namespace, "address", "add", host, "dev", "cable"])?;
            ip(&["-n", namespace, "link", "set", "cable", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// Pulls the cable, or plugs it in again.
    fn set(&self, state: &str) {
        let far = self.namespace(FAR);
        ip(&["-n", &far, "link", "set", "cable", state]).expect("there is one");
    }

    /// Has the far end's packets dropped, or not: what is asked arrives, what is answered does not.
    fn set_deaf(&self, verb: &str) {
        let far = self.namespace(FAR);
        ip(&["-n", &far, "route", verb, "blackhole", "10.77.0.1/32"]).expect("there are routes");
    }

    /// What comes from the far end is slowed down, or lost, as `tc` can.
    fn trouble(&self, how: &[&str]) -> Result<(), String> {
        let far = self.namespace(FAR);
        let verb = ["-n", &far, "qdisc", "replace", "dev", "cable", "root"];
        run("tc", &[&verb[..], how].concat())
    }

    /// Has each end lose every twentieth packet that comes, by chance.
    fn lose(&self) -> Result<(), String> {
        for end in [NEAR, FAR] {
            let namespace = self.namespace(end);
            // Packets as they are on a real cable: not several made one on the way to the filter.
            let whole = ["-n", &namespace, "link", "set", "dev", "cable"];
            ip(&[&whole[..], &["gso_max_segs", "1"]].concat())?;
            let tc = ["-n", &namespace];
            let queue = ["qdisc", "add", "dev", "cable", "clsact"];
            run("tc", &[&tc[..], &queue].concat())?;
            let filter = ["filter", "add", "dev", "cable", "ingress", "bpf", "da"];
            let program = ["bytecode", EVERY_TWENTIETH];
            run("tc", &[&tc[..], &filter, &program].concat())?;
        }
        Ok(())
    }

    /// How many packets have been dropped at both ends, by whatever was told to.
    fn lost(&self) -> u64 {
        let dropped = |end| {
            let namespace = self.namespace(end);
            let shown = Command::new("tc")
                .args(["-n", &namespace, "-s", "qdisc", "show", "dev", "cable"])
                .output()
                .expect("it was there before");
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            let numbers = shown.split("dropped ").skip(1).map(|rest| {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                digits.parse::<u64>().expect("it is a number")
            });
            numbers.sum::<u64>()
        };
        dropped(NEAR) + dropped(FAR)
    }

    /// Starts an actor at the far end.
    fn actor(&self, test: &str) -> Far {
        self.actor_by(&[], test)
    }

    /// The same by way of another program.
    fn actor_by(&self, by: &[&str], test: &str) -> Far {
        let mut command = self.command(FAR, by, test);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().expect("it starts");
        let out = program.stdout.take().expect("it is piped");
        let port = BufReader::new(out).lines().find_map(|line| {
            let line = line.expect("it is text");
            Some(line.split_once("port ")?.1.to_owned())
        });
        let ports = port.expect("it says its ports first");
        let (port, guide) = ports.split_once(' ').expect("there are two");
        let address = format!("tcp://{FAR_HOST}:{port}");
        let guide = guide.to_owned();
        Far {
            program,
            address,
            guide,
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if self.is_made_here {
            for end in [NEAR, FAR] {
                // There may be none if it could not be laid.
                let _ = ip(&["netns", "delete", &self.namespace(end)]);
            }
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(args).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&ran.stderr);
    Err(format!("{program} {}: {}", args.join(" "), why.trim()))
}

/// A program at the far end that has actors; it ends with this.
struct Far {
    program: Child,
    /// Where its counter listens.
    address: String,
    /// The port at which its guide does.
    guide: String,
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        // It ends its actors first.
        let _ = self.program.wait();
    }
}

/// What such a program does.
async fn serve() {
    let counter = Counter::spawn().listen("tcp://0.0.0.0:0").authkey(key());
    let counter = counter.await.expect("it starts");
    let guide = Guide::spawn().listen("tcp://0.0.0.0:0").authkey(key());
    let guide = guide.await.expect("it starts");
    let port_of = |address: Option<&callboard::Address>| address?.port();
    let ports = [port_of(counter.address()), port_of(guide.address())];
    let [port, other] = ports.map(|port| port.expect("it is TCP"));
    println!("port {port} {other}");
    let until = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    until.await.expect("it waits").expect("it is piped");
    counter.shutdown().await.expect("it ends");
    guide.shutdown().await.expect("it ends");
}

async fn silent(call: Pending<(), std::convert::Infallible>) {
    let error = within(LONG, call).await.expect_err("nobody answers");
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::Silent,
                outcome: Outcome::MayHaveRun
            }
        ),
        "{error:?}"
    );
}

/// A machine that vanishes is noticed although nothing says so: each call ends. When it is back, a
/// proxy that connects again goes on with the same actor, and nothing was done twice.
#[callboard::test]
async fn cables_are_pulled() {
    const TEST: &str = "cables_are_pulled";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    let once = connected(Counter::connect(&*far.address, key())).await;
    let pauses = Duration::from_millis(50)..=Duration::from_millis(500);
    let again = Reconnect::on_loss().max(1000).pauses(pauses);
    let again: CounterProxy =
        connected(Counter::connect(&*far.address, key()).reconnect(again)).await;
    let mut monitor = again.monitor();
    assert_eq!(once.add(1).await.unwrap(), 1);
    let (one, other) = (once.wait().start(), again.wait().start());
    // They were read by now: they were sent before.
    assert!(once.seen().await.unwrap().is_empty());
    assert!(again.seen().await.unwrap().is_empty());
    cable.set("down");
    silent(one).await;
    silent(other).await;
    assert_eq!(within(LONG, once.exited()).await, Exit::Disconnected);
    within(LONG, monitor.down()).await.unwrap();
    let waiting = again.add(1).no_timeout().start();
    sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_ready(), "nobody is there");
    cable.set("up");
    assert_eq!(within(LONG, waiting).await.unwrap(), 2);
    let up = within(LONG, monitor.next()).await;
    assert!(
        matches!(up, Some(LifeEvent::Up { restarts: 1, .. })),
        "{up:?}"
    );
    assert!(once.add(1).await.is_err(), "it is over");
    assert_eq!(again.add(0).await.unwrap(), 2);
}

/// A cable that is plugged in again in time costs time and nothing else.
#[callboard::test]
async fn short_cuts_are_not_noticed() {
    const TEST: &str = "short_cuts_are_not_noticed";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    let remote = connected(Counter::connect(&*far.address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    cable.set("down");
    let calls: Vec<_> = (0..100).map(|_| remote.add(1).start()).collect();
    sleep(Duration::from_secs(2)).await;
    assert!(!calls[0].is_ready());
    cable.set("up");
    for (sum, call) in (2..).zip(calls) {
        assert_eq!(within(LONG, call).await.unwrap(), sum);
    }
    assert!(remote.is_alive());
}

/// A proxy, and a callback, that came from another host or went to it call their actor over the
/// network. An actor that listens everywhere says so, which means another place there: where that
/// is has to be told.
#[callboard::test]
async fn proxies_cross_the_cable() {
    const TEST: &str = "proxies_cross_the_cable";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    let (there, everywhere) = (
        format!("tcp://{FAR_HOST}:{}", far.guide),
        format!("tcp://0.0.0.0:{}", far.guide),
    );
    let remote = connected(Guide::connect(&*there, key())).await;
    let own = within(LONG, remote.own()).await.unwrap();
    let error = within(LONG, own.tell(1)).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Auth { why: AuthError::NoKey { address }, .. }
            if address.to_string() == everywhere),
        "{error:?}"
    );
    drop(connected(Guide::connect(&*there, key()).capture([&*everywhere])).await);
    assert_eq!(within(LONG, own.tell(1)).await.unwrap(), [1]);
    assert_eq!(own.link(), LinkKind::Network);

    let near = Guide::spawn().listen("tcp://10.77.0.1:0").authkey(key());
    let near = near.await.unwrap();
    let back = || near.callback().tell();
    let refused = within(LONG, remote.call(back())).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Actor(text) if text.starts_with("Auth { why: NoKey")),
        "{refused:?}"
    );
    let address = near.address().unwrap().to_string();
    assert!(remote.trust(address).await.unwrap());
    assert_eq!(within(LONG, remote.call(back())).await.unwrap(), [7]);
    let on = within(LONG, remote.tell_on(near.clone())).await;
    assert_eq!(on.unwrap(), (vec![7, 8], true));
    assert_eq!(near.tell(9).await.unwrap(), [7, 8, 9]);
}

/// Where what is asked arrives and the answer does not, the call ends and may have run: once.
#[callboard::test]
async fn answers_are_lost() {
    const TEST: &str = "answers_are_lost";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    let remote = connected(Counter::connect(&*far.address, key())).await;
    assert_eq!(remote.add(1).await.unwrap(), 1);
    cable.set_deaf("add");
    let error = within(LONG, remote.add(1).into_future()).await.unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Unreachable {
                why: Unreached::Silent,
                outcome: Outcome::MayHaveRun
            }
        ),
        "{error:?}"
    );
    cable.set_deaf("delete");
    let remote = connected(Counter::connect(&*far.address, key())).await;
    let sum = within(LONG, remote.add(0).into_future()).await.unwrap();
    assert!((1..=2).contains(&sum), "{sum}");
}

/// A machine that has no ports left for further connections says so, in no time; those that there
/// are go on.
#[callboard::test]
async fn ports_run_out() {
    const TEST: &str = "ports_run_out";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    // Of this namespace alone.
    let ports = std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003");
    if let Err(why) = ports {
        return skipped(&format!("{TEST}: {why}"));
    }
    let mut connected = Vec::new();
    let error = loop {
        assert!(connected.len() < 10, "there are four ports");
        match Counter::connect(&*far.address, key()).within(LONG).await {
            Ok(remote) => connected.push(remote),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, ConnectError::Io { source, .. }
            if source.kind() == ErrorKind::AddrNotAvailable),
        "{error:?}"
    );
    assert!(!connected.is_empty());
    for (sum, remote) in (1..).zip(&connected) {
        assert_eq!(remote.add(1).await.unwrap(), sum);
    }
}

/// A narrow way that drops what does not fit, and one on which each twentieth packet is lost in
/// either direction, cost time; all arrives, whole and in order, and nobody is taken for dead.
#[callboard::test]
async fn packets_are_lost() {
    /// So many losses show that there are some, in frames, in answers and in what acknowledges
    /// them.
    const LOSSES_MIN: u64 = 50;
    const TEST: &str = "packets_are_lost";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    let far = cable.actor(TEST);
    let narrow: &[&str] = &["tbf", "rate", "8mbit", "burst", "4kb", "limit", "12kb"];
    let netem: &[&str] = &["netem", "loss", "5%"];
    for is_lossy in [false, true] {
        let troubled = if is_lossy {
            // All are gone that had been dropped before; there may be none.
            let _ = cable.trouble(&["pfifo", "limit", "1000"]);
            cable.lose().or_else(|_| cable.trouble(netem))
        } else {
            cable.trouble(narrow)
        };
        if let Err(why) = troubled {
            skipped(&format!("{TEST}: {why}"));
            continue;
        }
        let remote = connected(Counter::connect(&*far.address, key())).await;
        let before = cable.lost();
        let is_shown = || cable.lost() - before >= if is_lossy { LOSSES_MIN } else { 1 };
        let began = Instant::now();
        while !is_shown() {
            assert!(began.elapsed() < 2 * LONG, "nothing is lost");
            let calls: Vec<_> = (0..50_u8)
                .map(|byte| remote.echo(vec![byte; 10_000]).no_timeout().start())
                .collect();
            for (byte, call) in (0..).zip(calls) {
                assert_eq!(within(LONG, call).await.unwrap(), vec![byte; 10_000]);
            }
        }
        assert!(remote.is_alive());
    }
}

/// Two machines whose clocks show something else, whichever is ahead, agree on how long a call may
/// take: one with time enough is run, one that is late is not.
#[callboard::test]
async fn clocks_differ() {
    const TEST: &str = "clocks_differ";
    let Some(cable) = Cable::enter(TEST).await else {
        return;
    };
    for offset in ["100000", "-1000"] {
        let by = ["unshare", "--fork", "--time", "--monotonic", offset];
        if let Err(why) = run(by[0], &[&by[1..], &["true"]].concat()) {
            skipped(&format!("{TEST}: {why}"));
            continue;
        }
        let far = cable.actor_by(&by, TEST);
        let remote = connected(Counter::connect(&*far.address, key())).await;
        assert_eq!(remote.add(1).timeout(LONG).await.unwrap(), 1, "{offset}");
        // It keeps the actor busy until its caller gives up; what is behind it is late by then.
        let busy = remote.hold().timeout(Duration::from_millis(300)).start();
        let late = remote.add(5).timeout(Duration::from_millis(100)).await;
        assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
        assert!(matches!(busy.await, Err(CallError::Timeout { .. })));
        assert_eq!(remote.add(0).await.unwrap(), 1, "{offset}");
    }
}
