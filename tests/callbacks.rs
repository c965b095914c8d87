//! U08: one method of one actor as a value.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use callboard::internals;
use callboard::prelude::*;
use callboard::{Callback, Fails};

use common::{LONG, within};

#[actor_trait]
pub trait Speaker {
    async fn say(&self, word: String) -> String;
}

/// Whose methods are called.
pub struct Ponger {
    heard: Vec<String>,
}

#[actor(Speaker)]
impl Ponger {
    pub fn new() -> Self {
        Self { heard: Vec::new() }
    }

    pub fn receive(&mut self, message: String) -> String {
        self.heard.push(message.clone());
        format!("{message}, pong")
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.clone()
    }

    pub fn count(&self) -> usize {
        self.heard.len()
    }

    pub async fn sum(&self, one: u32, two: u64) -> u64 {
        u64::from(one) + two
    }

    /// One argument that is a tuple is something else than two.
    pub fn swap(&self, pair: (u8, u16)) -> (u16, u8) {
        (pair.1, pair.0)
    }

    pub fn len(&self, text: &str) -> usize {
        text.len()
    }

    pub fn check(&self, number: u32) -> Result<u32, String> {
        if number > 9 {
            return Err(format!("{number} is too much"));
        }
        Ok(number)
    }

    pub async fn wait(&self) {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }

    #[batch]
    pub fn double(&mut self, numbers: Vec<u32>) -> Vec<u32> {
        numbers.into_iter().map(|number| 2 * number).collect()
    }

    /// Has no callback, for it streams.
    pub fn stream(&self) -> impl Stream<Item = u32> + use<> {
        futures_util::stream::iter(0..3)
    }
}

impl Speaker for Ponger {
    async fn say(&self, word: String) -> String {
        format!("{word}!")
    }
}

/// Several callbacks in one type.
#[message]
pub struct Listeners {
    pub first: Callback<String, String>,
    pub rest: Vec<Callback<String, String>>,
    pub by_name: BTreeMap<String, Callback<u32, u32, Fails<String>>>,
    pub done: Option<Callback<(), usize>>,
}

/// Who calls what it is given.
pub struct Pinger {
    kept: Option<Callback<String, String>>,
}

#[actor]
impl Pinger {
    pub fn new() -> Self {
        Self { kept: None }
    }

    pub async fn send(&self, target: Callback<String, String>) -> Result<String, String> {
        let answer = target.call("ping".into()).await;
        answer.map_err(|error| format!("{error:?}"))
    }

    pub fn keep(&mut self, target: Callback<String, String>) {
        self.kept = Some(target);
    }

    pub fn kept(&self) -> Option<Callback<String, String>> {
        self.kept.clone()
    }

    pub async fn ring(&self, word: String) -> Result<String, String> {
        let kept = self.kept.as_ref().expect("it was given");
        let answer = kept.call(word).await;
        answer.map_err(|error| format!("{error:?}"))
    }

    pub async fn several(&self, to: Listeners) -> Vec<String> {
        let mut said = vec![to.first.call("first".into()).await.expect("it answers")];
        for rest in &to.rest {
            rest.call("told".into()).tell().await.expect("it is told");
        }
        for (name, check) in &to.by_name {
            for number in [7, 70] {
                said.push(match check.call(number).await {
                    Ok(number) => format!("{name}: {number}"),
                    Err(CallError::Actor(why)) => format!("{name}: {why}"),
                    Err(other) => panic!("{other}"),
                });
            }
        }
        if let Some(done) = &to.done {
            said.push(done.call(()).await.expect("it answers").to_string());
        }
        said
    }
}

async fn pair() -> (PingerProxy, PongerProxy) {
    let (pinger, ponger) = (Pinger::spawn().await, Ponger::spawn().await);
    (pinger.expect("it starts"), ponger.expect("it starts"))
}

/// A callback is handed over and called from there, in each of its forms; nobody stands between.
#[callboard::test]
async fn callbacks_are_called_from_elsewhere() {
    let (pinger, ponger) = pair().await;
    let target: Callback<String, String> = ponger.callback().receive();
    assert_eq!(pinger.send(target.clone()).await.unwrap(), "ping, pong");
    assert_eq!(ponger.heard().await.unwrap(), ["ping"]);
    let said = pinger
        .several(Listeners {
            first: target.clone(),
            rest: vec![target.clone(); 3],
            by_name: [("check".to_owned(), ponger.callback().check())].into(),
            done: Some(ponger.callback().count()),
        })
        .await
        .unwrap();
    assert_eq!(
        said,
        ["first, pong", "check: 7", "check: 70 is too much", "5"]
    );

    // Also when who handed it on is gone.
    let forwarder = Pinger::spawn().await.unwrap();
    forwarder.keep(target.clone()).await.unwrap();
    pinger
        .keep(forwarder.kept().await.unwrap().unwrap())
        .await
        .unwrap();
    forwarder.kill().await;
    assert_eq!(pinger.ring("hello".into()).await.unwrap(), "hello, pong");
    let back = pinger.kept().await.unwrap().unwrap();
    assert_eq!((&back, back.method()), (&target, "receive"));
    assert_eq!(back.actor(), (&ponger).into());
    assert_eq!(back.call("home".into()).await.unwrap(), "home, pong");
}

/// Whatever a method takes is what its callback takes: nothing, one, several, a tuple, what is
/// borrowed, one of a batch, and that of a trait.
#[callboard::test]
async fn callbacks_of_all_signatures() {
    let (pinger, ponger) = pair().await;
    let callbacks = ponger.callback();
    let (count, sum): (Callback<(), usize>, Callback<(u32, u64), u64>) =
        (callbacks.count(), callbacks.sum());
    assert_eq!(count.call(()).await.unwrap(), 0);
    assert_eq!(sum.call((1, 1 << 40)).await.unwrap(), (1 << 40) + 1);
    let swap: Callback<(u8, u16), (u16, u8)> = callbacks.swap();
    assert_eq!(swap.call((1, 2)).await.unwrap(), (2, 1));
    let len: Callback<String, usize> = callbacks.len();
    assert_eq!(len.call("four".into()).await.unwrap(), 4);
    let double: Callback<u32, u32> = callbacks.double();
    assert_eq!(double.call(21).await.unwrap(), 42);
    let check: Callback<u32, u32, Fails<String>> = callbacks.check();
    assert_eq!(check.call(9).await.unwrap(), 9);
    let error = check.call(10).await.unwrap_err();
    assert!(matches!(error, CallError::Actor(why) if why == "10 is too much"));
    let speaker = SpeakerProxy::from(&ponger);
    let say = speaker.callback().say();
    assert!(say.method().ends_with("Speaker::say"), "{}", say.method());
    assert_eq!(say.call("well".into()).await.unwrap(), "well!");
    assert_eq!(pinger.send(say.clone()).await.unwrap(), "ping!");
    let local = Ponger::local().await.unwrap();
    let receive = local.callback().receive();
    assert_eq!(pinger.send(receive.clone()).await.unwrap(), "ping, pong");

    assert_eq!(
        HashSet::from([say.clone(), speaker.callback().say(), receive]).len(),
        2
    );
    let late = callbacks.wait();
    let late = late.call(()).timeout(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Timeout { .. })), "{late:?}");
    let started = sum.call((3, 4)).start();
    assert_eq!(started.await.unwrap(), 7);
}

/// A method that the actor's program has not, or has changed, is an error of the call and nothing
/// else; so is the actor's end.
#[callboard::test]
async fn callbacks_are_checked() {
    let (pinger, ponger) = pair().await;
    let target = ponger.callback().receive();
    let bytes = internals::encode(&target, <[u8]>::to_vec).unwrap();
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut buffer = rkyv_buffer(&bytes);
        change(&mut buffer);
        internals::decode::<Callback<String, String>>(&buffer).unwrap()
    };
    let same = changed(&|_| {});
    assert_eq!(same, target);
    assert_eq!(same.call("same".into()).await.unwrap(), "same, pong");
    // The hash of the signature is the last number but for a flag.
    let other = changed(&|bytes| {
        let at = bytes.len() - 16;
        bytes[at] ^= 1;
    });
    let error = other.call("other".into()).await.unwrap_err();
    assert!(
        matches!(error, CallError::Schema { method: "receive" }),
        "{error:?}"
    );
    let error = pinger.send(other).await.unwrap_err();
    let expected = "Schema { method: \"receive\" }";
    assert!(
        matches!(&error, CallError::Actor(text) if text == expected),
        "{error:?}"
    );
    let unknown = changed(&|bytes| {
        let at = bytes.windows(7).rposition(|window| window == b"receive");
        bytes[at.expect("it is there")] = b'R';
    });
    let error = unknown.call("unknown".into()).await.unwrap_err();
    assert!(
        matches!(error, CallError::UnknownMethod { method: "Receive" }),
        "{error:?}"
    );

    pinger.keep(target).await.unwrap();
    assert_eq!(pinger.ring("one".into()).await.unwrap(), "one, pong");
    ponger.kill().await;
    let error = within(LONG, pinger.ring("two".into())).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Actor(text) if text.starts_with("Died")),
        "{error:?}"
    );
}

/// The bytes where an archive may lie.
fn rkyv_buffer(bytes: &[u8]) -> rkyv::util::AlignedVec<16> {
    let mut buffer = rkyv::util::AlignedVec::new();
    buffer.extend_from_slice(bytes);
    buffer
}
