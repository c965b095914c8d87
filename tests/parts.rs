//! K11, K13: parts of an actor, which are called through it: `player.mixer().left().play()`.

mod common;

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::pool::{Pool, Routing};
use callboard::prelude::*;
use callboard::{AnyProxy, AuthKey, MethodError};
use tokio::sync::Notify;

use common::{How, LONG, Scratch, again, both, gone, is_role, must_pass, within};

/// There is no such record.
#[message]
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {0}")]
pub struct Missing(String);

/// Plays one record; part of a mixer, or of whatever wants one.
#[derive(Default)]
pub struct Deck {
    playing: Option<String>,
    seeks: Vec<usize>,
    stopped: Notify,
    /// Of all decks of its actor.
    looks: Arc<AtomicUsize>,
}

#[actor_part]
impl Deck {
    /// Is called by whoever makes the actor, and by nobody else.
    pub fn with(record: &str) -> Self {
        Self {
            playing: Some(record.to_owned()),
            ..Self::default()
        }
    }

    /// Borrows its argument from the message.
    pub fn play(&mut self, record: &str) -> Result<usize, Missing> {
        if record.is_empty() {
            return Err(Missing("record".to_owned()));
        }
        self.playing = Some(record.to_owned());
        Ok(record.len())
    }

    pub fn playing(&self) -> Option<String> {
        self.playing.clone()
    }

    /// Waits beside other `&self` methods.
    pub async fn wait(&self) {
        self.stopped.notified().await;
    }

    #[name = "halt"]
    #[priority(high)]
    pub fn stop(&self) {
        self.stopped.notify_one();
    }

    pub async fn turn(&mut self, context: &Context) -> bool {
        tokio::task::yield_now().await;
        context.remaining().is_some()
    }

    /// Waits alone until the file is there, and says how often others looked meanwhile.
    pub async fn hold(&mut self, file: String) -> usize {
        let looks = self.looks.load(Ordering::Relaxed);
        while fs::metadata(&file).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.looks.load(Ordering::Relaxed) - looks
    }

    /// How many records it plays, and that somebody looked.
    pub fn plays(&self) -> usize {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.playing.iter().count()
    }

    #[batch]
    pub fn seek(&mut self, seconds: Vec<u32>) -> Vec<u32> {
        self.seeks.push(seconds.len());
        seconds
    }

    #[skip]
    pub fn rewind(&mut self) {
        self.playing = None;
    }
}

mod desk {
    use super::Deck;
    use callboard::prelude::*;

    /// A part that has parts, of one type.
    #[derive(Default)]
    pub struct Mixer {
        pub(super) left: Deck,
        pub(super) right: Deck,
        pub(super) volume: u8,
    }

    #[actor_part(nested(left: Deck, /** The other one. */ right: Deck), get_set(volume: u8))]
    impl Mixer {
        pub fn swap(&mut self) {
            std::mem::swap(&mut self.left, &mut self.right);
        }
    }
}

#[actor_trait]
pub trait Loud {
    fn loudness(&self) -> u8;
}

/// Has a trait, and parts behind it.
pub struct Player {
    mixer: desk::Mixer,
    spare: Deck,
    errors: Vec<String>,
}

#[actor(Loud, nested(mixer: desk::Mixer, pub(crate) spare: Deck))]
impl Player {
    pub fn new() -> Self {
        let mut mixer = desk::Mixer::default();
        let spare = Deck::with("silence");
        mixer.left.looks = Arc::clone(&spare.looks);
        Self {
            mixer,
            spare,
            errors: Vec::new(),
        }
    }

    pub fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }

    pub fn looks(&self) -> usize {
        self.spare.looks.load(Ordering::Relaxed)
    }

    pub fn put_back(&mut self) {
        self.spare.rewind();
    }

    /// A part of itself, for others.
    pub fn own_left(&self, context: &Context) -> DeckProxy {
        context.own::<PlayerProxy>().mixer().left()
    }

    #[on_error]
    fn failed(&mut self, error: &MethodError) {
        self.errors.push(error.to_string());
    }
}

impl Loud for Player {
    fn loudness(&self) -> u8 {
        self.mixer.volume / 2
    }
}

/// A generic actor with a part.
pub struct Shelf<T> {
    records: Vec<T>,
    deck: Deck,
}

#[actor(nested(deck: Deck))]
impl<T: Message + Clone> Shelf<T> {
    pub fn new(records: Vec<T>) -> Self {
        let deck = Deck::default();
        Self { records, deck }
    }

    pub fn records(&self) -> Vec<T> {
        self.records.clone()
    }
}

callboard::register!(Shelf<u8>);

both! {
    parts_are_called_through_their_actor;
    parts_keep_the_rule_of_the_borrow;
    parts_are_values;
}

async fn start(how: How) -> callboard::Result<PlayerProxy> {
    Ok(how.start(Player::spawn(), Player::local()).await?)
}

/// Each part has its own state, errors and arguments, beside the methods of its actor and of its
/// traits; so has a part of a part.
async fn parts_are_called_through_their_actor(how: How) -> callboard::Result<()> {
    let player = start(how).await?;
    let mixer = player.mixer();
    let (left, right) = (mixer.left(), mixer.right());
    assert_eq!(left.play("one").await?, 3);
    assert_eq!(right.play("other").await?, 5);
    assert_eq!(player.spare().playing().await?.as_deref(), Some("silence"));
    player.put_back().await?;
    assert_eq!(player.spare().playing().await?, None);
    mixer.swap().await?;
    assert_eq!(left.playing().await?.as_deref(), Some("other"));
    assert_eq!(right.playing().await?.as_deref(), Some("one"));
    mixer.set_volume(8).await?;
    assert_eq!((mixer.volume().await?, player.loudness().await?), (8, 4));
    let missing = left.play("").await.expect_err("no record");
    assert!(
        matches!(missing, CallError::Actor(Missing(_))),
        "{missing:?}"
    );
    left.play("").tell().await?;
    let errors = player.errors().await?;
    assert!(
        errors.len() == 1 && errors[0].contains("play"),
        "{errors:?}"
    );
    let seeks: Vec<_> = (0..9).map(|second| right.seek(second).start()).collect();
    for (second, seek) in (0..).zip(seeks) {
        assert_eq!(within(LONG, seek).await?, second);
    }
    assert!(!player.spare().turn().await?);
    assert!(player.with_timeout(LONG).mixer().left().turn().await?);
    player.shutdown().await?;
    let error = left.play("late").await.expect_err("it has ended");
    assert_eq!(error.outcome(), Outcome::NotRun);
    Ok(())
}

/// `&self` methods of parts run beside each other and beside the actor's, `&mut self` ones borrow
/// the whole actor.
async fn parts_keep_the_rule_of_the_borrow(how: How) -> callboard::Result<()> {
    let scratch = Scratch::new();
    let player = start(how).await?;
    let (left, spare) = (player.mixer().left(), player.spare());
    let waiting = [left.wait().start(), left.wait().start()];
    assert_eq!(within(LONG, player.loudness()).await?, 0);
    // Which of the two is woken first is nobody's promise.
    left.stop().await?;
    left.stop().await?;
    for waits in waiting {
        within(LONG, waits).await?;
    }
    let alone = left.hold(scratch.path("go")).start();
    let others = [spare.plays().start(), left.plays().start()];
    fs::write(scratch.path("go"), "")?;
    assert_eq!(within(LONG, alone).await?, 0, "nothing ran meanwhile");
    let [spare, left] = others;
    assert_eq!(
        (within(LONG, spare).await?, within(LONG, left).await?),
        (1, 0)
    );
    assert_eq!(player.looks().await?, 2);
    player.shutdown().await
}

/// Proxies of a part are equal if they call the same part, and each keeps the actor alive.
async fn parts_are_values(how: How) -> callboard::Result<()> {
    let (player, other) = (start(how).await?, start(how).await?);
    let any = AnyProxy::from(&player).downcast::<PlayerProxy>()?;
    let left = any.mixer().left();
    let decks = [
        player.mixer().left(),
        left.clone(),
        player.mixer().right(),
        player.spare(),
        other.spare(),
    ];
    assert_eq!((&decks[0], &decks[1]), (&left, &left));
    assert!(decks[1..].iter().is_sorted_by(|one, next| one != next));
    assert_eq!(decks.iter().collect::<HashSet<_>>().len(), 4);
    assert!(format!("{:?}", decks[0]).starts_with("DeckProxy"));
    let pid = other.process_id();
    drop(other);
    let [.., spare] = decks;
    assert_eq!(spare.playing().await?.as_deref(), Some("silence"));
    drop((spare, any));
    if how == How::Process {
        gone(pid).await;
    }
    player.shutdown().await
}

/// The parts of a pool are those of its members: each call goes to one of them, also by a proxy
/// that was kept, and a part of a part is reached, too.
#[callboard::test]
async fn pools_have_the_parts_of_their_members() -> callboard::Result<()> {
    let pool = Pool::spawn(2, |_| Player::spawn())
        .routing(Routing::RoundRobin)
        .await?;
    let right = pool.mixer().right();
    assert_eq!(right.play("one").await?, 3);
    assert_eq!(right.playing().await?, None, "that was the other member");
    assert_eq!(right.playing().await?.as_deref(), Some("one"));
    for _ in 0..2 {
        let playing = pool.spare().playing().await?;
        assert_eq!(playing.as_deref(), Some("silence"));
    }
    pool.shutdown().await
}

/// Parts in a type of one's own.
#[message]
pub struct Booth {
    pub mixer: desk::MixerProxy,
    pub decks: Vec<(String, DeckProxy)>,
    pub spare: Option<DeckProxy>,
}

/// Is given parts of others, in a process of its own.
pub struct Guest {
    kept: Option<DeckProxy>,
}

#[actor]
impl Guest {
    pub fn new() -> Self {
        Self { kept: None }
    }

    pub async fn play(&self, on: DeckProxy, record: String) -> Result<usize, String> {
        on.play(&record).await.map_err(|error| format!("{error:?}"))
    }

    pub async fn visit(&mut self, booth: Booth) -> Vec<Option<String>> {
        booth.mixer.swap().await.expect("it swaps");
        let mut playing = Vec::new();
        for deck in [booth.mixer.left(), booth.mixer.right()] {
            playing.push(deck.playing().await.expect("it says"));
        }
        for (_, deck) in &booth.decks {
            playing.push(deck.playing().await.expect("it says"));
        }
        self.kept = booth.spare;
        playing
    }

    pub fn kept(&self) -> Option<DeckProxy> {
        self.kept.clone()
    }

    /// Hands what it keeps on.
    pub async fn pass(&self, to: GuestProxy, record: String) -> Result<usize, String> {
        let deck = self.kept.clone().expect("it was given one");
        to.play(deck, record)
            .await
            .map_err(|error| error.to_string())
    }
}

/// A part's proxy is a value in messages, as an actor's is: alone, in types of one's own, of a part
/// of a part; whoever gets it calls the part, has its parts, and hands it on. Its errors are typed.
#[callboard::test]
async fn parts_are_in_messages() -> callboard::Result<()> {
    for how in [How::Process, How::Local] {
        let player = start(how).await?;
        let (guest, other) = (Guest::spawn().await?, Guest::spawn().await?);
        let (left, right) = (player.mixer().left(), player.mixer().right());
        assert_eq!(guest.play(left.clone(), "one".into()).await.unwrap(), 3);
        assert_eq!(guest.play(right.clone(), "other".into()).await.unwrap(), 5);
        let error = guest.play(left.clone(), String::new()).await;
        assert!(
            matches!(&error, Err(CallError::Actor(text)) if text.contains("Missing")),
            "{error:?}"
        );
        let booth = Booth {
            mixer: player.mixer(),
            decks: vec![("left".into(), left.clone()), ("right".into(), right)],
            spare: Some(player.spare()),
        };
        let playing = guest.visit(booth).await?;
        let playing: Vec<_> = playing.iter().map(|record| record.as_deref()).collect();
        assert_eq!(
            playing,
            [Some("other"), Some("one"), Some("other"), Some("one")]
        );
        // It comes back as what it was, also from the actor itself.
        assert_eq!(guest.kept().await?, Some(player.spare()));
        assert_eq!(player.own_left().await?, left);
        assert_eq!(
            guest
                .pass(other.clone(), "third hand".into())
                .await
                .unwrap(),
            10
        );
        let spare = player.spare().playing().await?;
        assert_eq!(spare.as_deref(), Some("third hand"));
        player.shutdown().await?;
        let late = guest.play(left, "late".into()).await;
        assert!(
            matches!(&late, Err(CallError::Actor(text)) if text.contains("NotRun")),
            "{late:?}"
        );
    }
    Ok(())
}

const PLAYER: &str = "CALLBOARD_TEST_PLAYER";

/// The same between two programs, over TCP: the part of an actor that listens is reached there.
#[callboard::test]
async fn parts_are_in_messages_between_programs() -> callboard::Result<()> {
    let key = AuthKey::from([5; 32]);
    if !is_role("client") {
        let player = Player::spawn().listen("tcp://127.0.0.1:0").authkey(&key);
        let player = player.await?;
        let mut client = again("parts_are_in_messages_between_programs", "client");
        client.env(PLAYER, player.address().expect("it listens").to_string());
        let passed = tokio::task::spawn_blocking(move || must_pass(&mut client));
        passed.await.expect("the client passes");
        let left = player.mixer().left().playing().await?;
        assert_eq!(left.as_deref(), Some("from afar"));
        return Ok(());
    }
    let address = std::env::var(PLAYER).expect("the test tells it");
    let connecting = Player::connect(address.as_str(), &key).within(LONG);
    let player = connecting.await?;
    let left = player.own_left().await?;
    assert_eq!(left, player.mixer().left());
    assert_eq!(within(LONG, left.play("far")).await?, 3);
    // An actor of this program gets it, and the key.
    let guest = Guest::spawn().await?;
    let error = guest.play(left.clone(), "no key".into()).await;
    assert!(
        matches!(&error, Err(CallError::Actor(text)) if text.contains("NoKey")),
        "{error:?}"
    );
    let here = Guest::local().await?;
    assert_eq!(here.play(left, "from afar".into()).await.unwrap(), 9);
    Ok(())
}

/// A generic actor has parts, too, and tools see them under the names of both.
#[callboard::test]
async fn tools_see_parts() -> callboard::Result<()> {
    let shelf = Shelf::spawn(vec![7_u8]).await?;
    assert_eq!(shelf.deck().play("seven").await?, 5);
    assert_eq!(shelf.records().await?, [7]);
    let any = AnyProxy::from(Player::spawn().await?);
    let names: Vec<_> = any.methods().collect();
    for name in [
        "errors",
        "mixer.left.play",
        "mixer.right.halt",
        "mixer.set_volume",
        "spare.seek",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    #[cfg(feature = "json")]
    {
        let length = any
            .invoke("mixer.right.play", serde_json::json!(["four"]))
            .await?;
        assert_eq!(length, 4);
        let playing = any
            .invoke("mixer.right.playing", serde_json::json!([]))
            .await?;
        assert_eq!(playing, "four");
    }
    any.shutdown().await?;
    shelf.shutdown().await
}
