//! U04, U05, U06, U18, K10, P33: traits that actors offer, proxies of any actor, generic actors,
//! fields.

mod common;

use std::collections::{HashMap, HashSet};
use std::future::IntoFuture as _;

use callboard::prelude::*;
use callboard::{AnyProxy, DowncastError};

use common::{LONG, gone, within};

/// What any animal does; all its methods are default ones.
#[actor_trait(name = "zoo.animal")]
pub trait Animal {
    /// Changes the actor, and is not async.
    fn eat(&mut self, meals: u32) -> u32 {
        meals
    }

    /// Is no method of the proxy, so its arguments need not travel.
    #[skip]
    fn is_larger(&self, other: &dyn Fn() -> u32) -> bool {
        other() == 0
    }
}

/// A method that fails.
#[message]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is asleep")]
pub struct Asleep(String);

/// A trait over another one, with a method of each of the four ways to run.
#[actor_trait(Animal)]
pub trait Feline: Animal {
    fn name(&self) -> String;

    async fn greet(&self) -> String {
        format!("Hi, it's {}.", self.name())
    }

    /// Its name on the wire is not its own.
    #[name = "rename.v1"]
    async fn rename(&mut self, name: String);

    fn wake(&mut self) -> Result<u32, Asleep> {
        Err(Asleep(self.name()))
    }

    /// Borrows its argument from the message.
    fn listens_to(&self, name: &str) -> bool {
        self.name() == name
    }
}

mod pets {
    use callboard::prelude::*;

    /// A trait of another module, whose method has the name of another trait's.
    #[actor_trait]
    pub trait Pet {
        fn name(&self) -> String {
            "a pet".to_owned()
        }
    }
}

pub struct Cat {
    name: String,
    eaten: u32,
}

#[allow(
    clippy::same_name_method,
    reason = "traits of actors may have methods of one name"
)]
#[actor(Feline, pets::Pet, Animal)]
impl Cat {
    pub fn new(name: String) -> Self {
        Self { name, eaten: 0 }
    }

    /// Has the name of a method of its traits.
    pub fn name(&self) -> String {
        "Cat".to_owned()
    }

    pub fn eaten(&self) -> u32 {
        self.eaten
    }
}

impl Animal for Cat {
    fn eat(&mut self, meals: u32) -> u32 {
        self.eaten += meals;
        self.eaten
    }
}

impl Feline for Cat {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn greet(&self) -> String {
        tokio::task::yield_now().await;
        format!("{}: meow.", self.name)
    }

    async fn rename(&mut self, name: String) {
        tokio::task::yield_now().await;
        self.name = name;
    }
}

impl pets::Pet for Cat {}

pub struct Tiger;

#[actor(Feline, Animal)]
impl Tiger {
    pub fn new() -> Self {
        Self
    }
}

impl Animal for Tiger {}

impl Feline for Tiger {
    fn name(&self) -> String {
        "Mr. Fangs".to_owned()
    }

    async fn rename(&mut self, name: String) {
        panic!("nobody calls a tiger {name}");
    }

    fn wake(&mut self) -> Result<u32, Asleep> {
        Ok(1)
    }
}

async fn cat() -> CatProxy {
    let cat = within(LONG, Cat::spawn("Mr. Whiskers".into()).into_future()).await;
    cat.expect("a cat can be started")
}

/// One proxy type calls actors of several types, each by its own methods or the default ones.
#[callboard::test]
async fn a_trait_is_called_on_actors_of_several_types() -> callboard::Result<()> {
    let (cat, tiger) = (cat().await, Tiger::spawn().await?);
    let zoo: Vec<FelineProxy> = vec![cat.clone().into(), tiger.clone().into()];
    let mut greetings = Vec::new();
    for feline in &zoo {
        greetings.push(feline.greet().await?);
    }
    assert_eq!(greetings, ["Mr. Whiskers: meow.", "Hi, it's Mr. Fangs."]);
    zoo[0].rename("Tom".into()).await?;
    assert_eq!(zoo[0].name().await?, "Tom");
    assert!(zoo[0].listens_to("Tom").await?);
    assert!(!cat.listens_to("Mr. Whiskers").await?);
    let error = zoo[0].wake().await.unwrap_err();
    assert!(matches!(error, CallError::Actor(Asleep(name)) if name == "Tom"));
    assert_eq!(zoo[1].wake().await?, 1);
    let error = zoo[1].rename("Kitty".into()).await.unwrap_err();
    assert!(matches!(error, CallError::Panicked(_)), "{error}");
    let pid = cat.process_id();
    drop((cat, zoo));
    gone(pid).await;
    Ok(())
}

/// The proxy of the type has the methods of its traits as well; an own one of the name is called
/// as in Rust, and each trait's is reached by the trait's name.
#[callboard::test]
async fn names_of_several_traits_do_not_collide() -> callboard::Result<()> {
    let cat = cat().await;
    assert_eq!(cat.greet().await?, "Mr. Whiskers: meow.");
    assert_eq!(cat.name().await?, "Cat");
    assert_eq!(FelineCalls::name(&cat).await?, "Mr. Whiskers");
    assert_eq!(pets::PetCalls::name(&cat).await?, "a pet");
    assert_eq!(pets::PetProxy::from(&cat).name().await?, "a pet");
    cat.shutdown().await
}

/// A proxy of a trait becomes one of its supertraits, and has their calls.
#[callboard::test]
async fn supertraits_are_offered_too() -> callboard::Result<()> {
    let cat = cat().await;
    let feline = FelineProxy::from(&cat);
    let animal = AnimalProxy::from(feline.clone());
    assert_eq!(animal.eat(2).await?, 2);
    assert_eq!(feline.eat(3).await?, 5);
    assert_eq!(AnimalProxy::from(&cat).eat(1).start().await?, 6);
    feline.eat(1).tell().await?;
    assert_eq!(cat.eaten().await?, 7);
    cat.shutdown().await?;
    let error = animal.eat(1).await.unwrap_err();
    assert!(matches!(error, CallError::Stopped { .. }), "{error}");
    Ok(())
}

/// An actor within this process has the same faces.
#[callboard::test]
async fn local_actors_offer_traits() -> callboard::Result<()> {
    let cat = Cat::local("Tom".into()).await?;
    let feline = FelineProxy::from(&cat);
    assert_eq!(feline.greet().await?, "Tom: meow.");
    assert_eq!(AnimalProxy::from(&feline).eat(2).await?, 2);
    let any = AnyProxy::from(feline);
    assert_eq!(any.type_name(), "actors_traits::Cat");
    assert_eq!(any.downcast::<CatProxy>()?.eaten().await?, 2);
    cat.shutdown().await
}

/// All faces of one actor are equal by actor, keep it alive, and print what and where it is.
#[allow(
    clippy::mutable_key_type,
    reason = "clippy cannot know that a proxy's hash stays as it is"
)]
#[callboard::test]
async fn faces_know_their_actor() -> callboard::Result<()> {
    let (first, second) = (cat().await, cat().await);
    let faces: HashSet<AnyProxy> = [
        AnyProxy::from(&first),
        AnyProxy::from(FelineProxy::from(&first)),
        AnyProxy::from(AnimalProxy::from(&second)),
    ]
    .into();
    assert_eq!(faces.len(), 2);
    assert!(FelineProxy::from(&first) != FelineProxy::from(&second));
    let by_proxy = HashMap::from([(first.clone(), 1), (second.clone(), 2)]);
    assert_eq!(by_proxy[&second], 2);
    let by_id = HashMap::from([(first.id(), 1), (second.id(), 2)]);
    assert_eq!(by_id[&FelineProxy::from(&second).id()], 2);
    let parent = std::process::id().to_string();
    assert!(
        first.id().to_string().starts_with(&parent),
        "{}",
        first.id()
    );
    let (text, pid) = (FelineProxy::from(&first).to_string(), first.process_id());
    assert_eq!(text, format!("actors_traits::Cat in process {pid}"));
    let debugged = format!("{:?}", AnyProxy::from(&first));
    let expected = format!("AnyProxy {{ actor: \"actors_traits::Cat\", process: {pid} }}");
    assert_eq!(debugged, expected);
    let face = FelineProxy::from(&first);
    drop((first, faces, by_proxy));
    assert_eq!(face.greet().await?, "Mr. Whiskers: meow.");
    drop(face);
    gone(pid).await;
    second.shutdown().await
}

/// A proxy that knows no type tells the actor's name and methods, and becomes what the actor is.
#[callboard::test]
async fn any_proxy_becomes_what_the_actor_is() -> callboard::Result<()> {
    let (cat, tiger) = (
        AnyProxy::from(cat().await),
        AnyProxy::from(Tiger::spawn().await?),
    );
    assert_eq!(tiger.type_name(), "actors_traits::Tiger");
    let own = ["name", "eaten"];
    let of_traits = [
        "actors_traits::Feline::name",
        "actors_traits::Feline::greet",
        "actors_traits::Feline::rename.v1",
        "actors_traits::Feline::wake",
        "actors_traits::Feline::listens_to",
        "actors_traits::pets::Pet::name",
        "zoo.animal::eat",
    ];
    let methods: Vec<&str> = cat.methods().collect();
    assert_eq!(methods, [own.as_slice(), &of_traits].concat());
    assert_eq!(cat.downcast::<CatProxy>()?.eaten().await?, 0);
    assert_eq!(cat.downcast::<FelineProxy>()?.name().await?, "Mr. Whiskers");
    assert_eq!(tiger.downcast::<AnyProxy>()?, tiger);
    let error = tiger.downcast::<CatProxy>().unwrap_err();
    let text = "the actor is a `actors_traits::Tiger` and no `actors_traits::Cat`";
    assert_eq!(error.to_string(), text);
    let error = tiger.downcast::<pets::PetProxy>().unwrap_err();
    let method = "actors_traits::pets::Pet::name";
    assert_eq!(error, DowncastError::UnknownMethod { method });
    cat.shutdown().await?;
    tiger.shutdown().await
}

/// The same traits by name as another build has them: one method changed, one is new.
mod other_build {
    use callboard::prelude::*;

    #[actor_trait(name = "actors_traits::Feline")]
    pub trait Changed {
        fn name(&self) -> String;
        #[version(2)]
        async fn greet(&self) -> String;
    }

    #[actor_trait(name = "actors_traits::Feline")]
    pub trait Grown {
        fn paws(&self) -> u8;
        fn name(&self) -> String;
    }

    #[actor_trait(name = "actors_traits::Feline")]
    pub trait Moved {
        #[name = "rename.v1"]
        async fn call_it(&mut self, name: String);
        fn name(&self) -> String;
    }
}

/// What two builds agree on is found by name, wherever it stands; what they do not agree on is an
/// error that names the method.
#[callboard::test]
async fn traits_of_other_builds_are_compared_by_method() -> callboard::Result<()> {
    let any = AnyProxy::from(cat().await);
    let moved: other_build::MovedProxy = any.downcast()?;
    moved.call_it("Tom".into()).await?;
    assert_eq!(moved.name().await?, "Tom");
    let error = any.downcast::<other_build::ChangedProxy>().unwrap_err();
    let method = "actors_traits::Feline::greet";
    assert_eq!(error, DowncastError::Schema { method });
    let error = any.downcast::<other_build::GrownProxy>().unwrap_err();
    let method = "actors_traits::Feline::paws";
    assert_eq!(error, DowncastError::UnknownMethod { method });
    any.shutdown().await
}

/// An actor of any type that can travel.
pub struct Cell<T, const N: usize> {
    values: Vec<T>,
}

#[actor_trait]
pub trait Measured {
    fn size(&self) -> u64;
}

#[actor(Measured)]
impl<T: Message + Clone, const N: usize> Cell<T, N> {
    pub fn new(value: T) -> Self {
        Self {
            values: vec![value; N],
        }
    }

    pub fn set(&mut self, place: u32, value: T) -> Option<T> {
        let place = self.values.get_mut(place as usize)?;
        Some(std::mem::replace(place, value))
    }

    pub async fn get(&self) -> Vec<T> {
        self.values.clone()
    }
}

impl<T: Message + Clone, const N: usize> Measured for Cell<T, N> {
    fn size(&self) -> u64 {
        self.values.len() as u64
    }
}

callboard::register!(Cell<u32, 2>);
callboard::register!(Cell<String, 3>);

/// A generic actor runs with each of the parameters that are registered.
#[callboard::test]
async fn generic_actors_run_with_registered_parameters() -> callboard::Result<()> {
    let numbers: CellProxy<u32, 2> = Cell::spawn(7).await?;
    assert_eq!(numbers.set(1, 8).await?, Some(7));
    assert_eq!(numbers.get().await?, [7, 8]);
    let texts = Cell::<String, 3>::spawn("a".into()).await?;
    let sizes: Vec<MeasuredProxy> = vec![(&numbers).into(), (&texts).into()];
    assert_eq!((sizes[0].size().await?, sizes[1].size().await?), (2, 3));
    let any = AnyProxy::from(&numbers);
    assert_eq!(any.type_name(), "actors_traits::Cell<u32, 2>");
    assert!(any.downcast::<CellProxy<u32, 2>>().is_ok());
    assert!(any.downcast::<CellProxy<String, 3>>().is_err());
    numbers.shutdown().await?;
    texts.shutdown().await
}

/// As a task it runs with any parameters, also with some that are registered nowhere.
#[callboard::test]
async fn generic_actors_run_as_tasks() -> callboard::Result<()> {
    let cell: CellProxy<u64, 2> = Cell::local(7).await?;
    assert_eq!(cell.set(1, 8).await?, Some(7));
    assert_eq!(cell.get().await?, [7, 8]);
    assert_eq!(MeasuredProxy::from(&cell).size().await?, 2);
    cell.shutdown().await
}

/// Parameters that nobody registered are an error before there is a process.
#[callboard::test]
async fn unregistered_parameters_are_refused() {
    let error = Cell::<u64, 2>::spawn(7).await.unwrap_err();
    let SpawnError::UnknownActor { name } = &error else {
        panic!("{error}")
    };
    assert_eq!(name, "actors_traits::Cell<u64, 2>");
    assert!(
        error.to_string().contains("callboard::register!"),
        "{error}"
    );
}

/// An actor whose fields are called.
pub struct Player {
    name: String,
    level: u32,
    scores: Vec<u64>,
}

#[actor(
    get(
        /// Fixed for life.
        name: String,
        pub(crate) scores: Vec<u64>,
    ),
    get_set(level: u32),
)]
impl Player {
    pub fn new(name: String) -> Self {
        Self {
            name,
            level: 1,
            scores: Vec::new(),
        }
    }

    pub fn win(&mut self, score: u64) {
        self.level += 1;
        self.scores.push(score);
    }
}

/// Fields are read and written by calls, in the order of all other calls.
#[callboard::test]
async fn fields_are_read_and_written() -> callboard::Result<()> {
    let player = Player::spawn("Ann".into()).await?;
    player.set_level(7).await?;
    player.win(40).tell().await?;
    assert_eq!(player.level().await?, 8);
    assert_eq!(player.name().await?, "Ann");
    assert_eq!(player.scores().await?, [40]);
    player.shutdown().await
}
