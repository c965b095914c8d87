//! Traits instead of inheritance: one proxy for all actors of a trait, and a proxy of any actor.
//!
//! ```text
//! trait Animal        eat          default method
//!   trait Feline      name, greet  default method over a required one
//!     Cat, Tiger      override greet, and use what they share: a value that both hold
//! ```

use std::collections::HashMap;
use std::process;

use callboard::prelude::*;
use callboard::{AnyProxy, DowncastError};

/// What any animal does.
#[actor_trait]
pub trait Animal {
    /// Eats, and says how.
    fn eat(&mut self, food: String) -> String {
        format!("eats {food}")
    }
}

/// What a feline does more.
#[actor_trait(Animal)]
pub trait Feline: Animal {
    fn name(&self) -> String;

    /// Greets from the process in which it lives.
    async fn greet(&self) -> String {
        format!("[{}] Hi, it's {}.", process::id(), self.name())
    }
}

/// What felines share: an ordinary value, where other languages have a base class.
struct Manners {
    name: String,
}

impl Manners {
    fn greeting(&self) -> String {
        format!("[{}] Hi, it's {}.", process::id(), self.name)
    }
}

pub struct Cat {
    manners: Manners,
}

#[actor(Feline, Animal)]
impl Cat {
    pub fn new(name: String) -> Self {
        let manners = Manners { name };
        Self { manners }
    }

    /// Only cats do this: a method of the actor itself, beside those of its traits.
    pub fn purr(&self) -> String {
        "Purr.".to_owned()
    }
}

impl Animal for Cat {}

impl Feline for Cat {
    fn name(&self) -> String {
        self.manners.name.clone()
    }

    async fn greet(&self) -> String {
        format!("{} Meow.", self.manners.greeting())
    }
}

pub struct Tiger {
    manners: Manners,
}

#[actor(Feline, Animal)]
impl Tiger {
    pub fn new(name: String) -> Self {
        let manners = Manners { name };
        Self { manners }
    }
}

impl Animal for Tiger {
    fn eat(&mut self, food: String) -> String {
        format!("devours {food}")
    }
}

impl Feline for Tiger {
    fn name(&self) -> String {
        self.manners.name.clone()
    }

    async fn greet(&self) -> String {
        format!("{} Roar.", self.manners.greeting())
    }
}

/// Code over all proxies that have a trait's calls, whatever their type.
async fn feed(animal: &impl AnimalCalls) -> Result<String, CallError> {
    animal.eat("fish".into()).await
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    println!("[{}] Hello everyone.", process::id());
    let cat = Cat::spawn("Mr. Whiskers".into()).await?;
    let tiger = Tiger::spawn("Mr. Fangs".into()).await?;

    // The proxy of the type has the methods of its traits, too; `FelineCalls` is in scope.
    println!("{}", cat.greet().await?);
    assert_eq!(cat.purr().await?, "Purr.");
    assert_eq!(feed(&cat).await?, "eats fish");

    // One type for all felines. Only methods of the trait can be called on it.
    let zoo: Vec<FelineProxy> = vec![(&cat).into(), (&tiger).into()];
    for feline in &zoo {
        println!("{}", feline.greet().await?);
    }
    assert_eq!(zoo[1].name().await?, "Mr. Fangs");

    // Every feline is an animal: `FelineProxy` becomes an `AnimalProxy`.
    let animals: Vec<AnimalProxy> = zoo.iter().map(AnimalProxy::from).collect();
    let mut meals = Vec::new();
    for animal in &animals {
        meals.push(animal.eat("meat".into()).await?);
    }
    assert_eq!(meals, ["eats meat", "devours meat"]);

    // Any actor: what it is, is asked of the living one.
    let mut names = HashMap::new();
    for any in [AnyProxy::from(&cat), AnyProxy::from(&tiger)] {
        names.insert(any.type_name().to_owned(), any.downcast::<CatProxy>());
    }
    assert!(names["traits::Cat"].is_ok());
    let error = names["traits::Tiger"].as_ref().expect_err("it is no cat");
    assert!(matches!(error, DowncastError::OtherActor { .. }));
    println!("{error}");

    tiger.shutdown().await?;
    cat.shutdown().await
}
