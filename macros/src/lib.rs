//! The procedural macros of callboard, to be used through the `callboard` crate.
//!
//! ```text
//! #[actor] impl Counter { .. }
//!        |
//!    interface.rs      reads the block into an Interface, or refuses it with spans
//!    trait_interface.rs   the same for the trait of #[actor_trait]
//!    function.rs       the same for one function of it
//!    helpers.rs        and for the attributes on it that are callboard's own
//!    nested.rs         and for the fields that are called through it
//!    settings.rs       and for the options that every start is told
//!    batch.rs          and for methods that take several calls at once
//!    hooks.rs          the functions that the actor runs by itself
//!      |        |
//! expand_proxy  expand_server      expand_trait
//!  the asking    the answering side  both, for a trait
//!  expand_type: the proxy's type itself
//! ```
//!
//! An expansion names `::callboard`, `::callboard::__private` and `::core` only, holds no unsafe
//! block, and holds no logic that could be a function of the runtime.

mod interface;
mod batch;
mod callbacks;
mod trait_interface;
mod function;
mod helpers;
mod hooks;
mod durations;
mod streams;
mod types;
mod lent;
mod refusals;
mod options;
mod settings;
mod nested;
mod expand_type;
mod expand_proxy;
mod expand_server;
mod expand_hooks;
mod expand_json;
mod expand_trait;
mod part;
mod message;
mod entry;

use proc_macro::TokenStream;

/// Turns an impl block into an actor: its exposed functions become a proxy's.
///
/// Stands on the inherent impl block of a type. The block itself stays as it
/// is; beside it appear `spawn` functions on the type and a type `<Actor>Proxy`.
///
/// - **Methods** are the functions with a `self` receiver and a visibility (`pub`, `pub(crate)`,
///   ..). Each becomes a method of the proxy that returns a call, with the same visibility,
///   documentation, `#[cfg]`, `#[deprecated]` and `#[must_use]`. `&self` methods may run
///   concurrently with each other, `&mut self` methods run alone; both may be `async` or not.
/// - **Constructors** are the functions with a visibility and no receiver that return `Self` or a
///   `Result` of it. `new` becomes `spawn`, any other `open` becomes `spawn_open`. An actor has at
///   least one.
/// - A return type whose last path segment is `Result` is one: its error is the call's error.
/// - **Results are owned**: they travel between processes. **Arguments** are owned, or borrowed
///   from the message they came in: `&str`, `&[u8]` (and slices of whatever lies in an archive as
///   it does in memory), and `&Archived<T>` of any message `T`. Those are checked and read where
///   they lie, and nothing is allocated or copied for them. The proxy then borrows too: `&str`,
///   `&[u8]`, `&T`, until the call is sent. At most twelve arguments.
/// - **Streams**: a method, async or not, that returns `impl Stream<Item = T>`, `Pin<Box<dyn
///   Stream<Item = T>>>` or a `Result` of one has a call that gives a `Streaming<T>`; an item may
///   be a `Result`. A stream that borrows the actor, which only `&self` methods return, is a call
///   of `&self` as long as it lasts: others run beside it, those of `&mut self` wait for its end.
///   One that says `+ 'static` or `+ use<>`, or is behind a `Box` without `'_`, has nothing of the
///   actor: it is `Send`, runs in a task beside any call, and its panic is only its own. When the
///   actor is asked to end, its streams end where they are. A parameter `xs: Streamed<T>` is a
///   stream of the caller's: the proxy takes `impl Stream<Item = T> + Send + 'static`.
/// - All else in the block (private functions, constants) is left alone.
///
/// Attributes on a function say more:
///
/// - `#[skip]`: it has a visibility and is not exposed all the same.
/// - `#[name = "stable.name"]`: its name on the wire, so that it can be renamed here. Two builds
///   find each other's methods by these names.
/// - `#[version(2)]`: its meaning has changed and its types have not. A call between builds that
///   differ in it is a `Schema` error.
/// - `#[priority(high)]`, `#[priority(low)]`: its calls come before or after those of other methods
///   that wait in the mailbox. Among calls of one priority the order stays as it was; so a caller
///   that needs an order between two methods gives both the same. After sixteen calls of higher
///   priority in a row one of a lower priority has its turn, so that none waits for ever.
/// - `#[batch]`, `#[batch(max = 64)]`: it is given what is queued for it at once. It takes a `Vec`
///   of each argument, all of one length, and returns a `Vec` of results, or of `Result`s, one for
///   each call in their order, or nothing: `pub fn add(&mut self, by: Vec<u64>) -> Vec<u64>`. The
///   proxy's method is that of a single call, `add(by: u64) -> u64`, and each call has its own
///   result, error, timeout and cancel. A batch is the calls of the method that have come when it
///   begins, from the front of the queue up to the first call of another method, and at most `max`
///   (256) of them, or 1 MiB of arguments; nothing is waited for, and one call alone is a batch of
///   one. It runs alone, also with `&self`, and borrows no arguments. A panic is told to all its
///   callers, as is a `Vec` of another length, by `CallError::Result`.
///
/// # Hooks
///
/// Functions that the actor runs by itself at the turns of its life. They are methods, async or
/// not, that return nothing or a `Result`; one actor has at most one of each, a method may be
/// several, and none is on the proxy. What is given may be left out.
///
/// | attribute | runs | given |
/// |---|---|---|
/// | `#[on_restart]` | after the constructor, if the life before has left a state | that state |
/// | `#[on_start]` | after the constructor, before any call; its error is what `spawn` gives | |
/// | `#[on_stop]` | after the last call of an orderly end, within the grace | |
/// | `#[on_failure]` | after a panic in a method, for at most 5 s | `&PanicReport` |
/// | `#[on_enter]` | at the beginning of a `scope`; its error is what `scope` gives | |
/// | `#[on_exit]` | at the end of a `scope`, and is told why, if by an error | `Option<&str>` |
/// | `#[on_error]` | when a tell, or a periodic method, returned its error | `&MethodError` |
/// | `#[on_end_asked]` | when a caller asks for the end that is not its own; its error says no | |
/// | `#[on_unhandled]` | when somebody called what is no method | `&UnknownCall` |
///
/// The state that `#[on_restart]` takes, of any type that can travel, is what the life before has
/// left by `Context::checkpoint`, or by what its `#[on_failure]` or `#[on_stop]` returned: of an
/// actor with such a hook, they may return that type, or a `Result` with it. It comes from the life
/// before only where a supervisor or pool starts the actor again. An error of `#[on_restart]` is
/// one of the start, as that of `#[on_start]` is, which runs after it.
///
/// An actor that fails does not stop: after a panic there is no `on_stop`, and after an `on_start`
/// that fails there is no further hook. A panic in a hook is one in a method, except that one in
/// `on_failure` is only logged, as errors of hooks are that nobody waits for. Actors that the actor
/// has started are there for its hooks; those that it still has are ended before its drop, the
/// youngest first. Built to abort on panics, the process is gone before `on_failure`.
///
/// SIGTERM, sent to an actor's own process, is a wish that it end in order, too: what it has taken
/// in is done, its hook runs, and its exit code is 143. When its grace is over, or when it is told
/// again, it ends at once, also where a method lets nobody run.
///
/// # Periodic methods
///
/// `#[every("500ms")]` runs a method without arguments again and again, at once and then so long
/// after each start; `#[every("1s", delay = "10s")]` waits before the first time. The period is a
/// text (`ns`, `us`, `ms`, `s`, `min`, `h`, `d`) or any expression of type `Duration`, which may
/// use `self` and is asked before each run; less than a millisecond is one. A run is a call by the
/// rule of the borrow: with `&mut self` it is alone. It never overlaps the one before; one that is
/// late is not made up for. Periods end with the actor and do not keep it alive. A periodic method
/// that is exposed can be called too.
///
/// Refused, with the place and what to do instead: generic and `unsafe` functions, arguments that
/// are borrowed otherwise, borrowed results, other `impl Trait`, receivers other than `&self` and
/// `&mut self`, and a method
/// called `shutdown`, which every proxy has already.
///
/// # How it runs
///
/// The actor lives on one thread of its process, in a tokio runtime there, so it need be neither
/// `Send` nor `Sync`. Calls of one process begin in the order in which they were sent. A method
/// that blocks its thread blocks this actor and nobody else. A panic in a method is an error of its
/// call and ends the actor. When the actor ends in order, its value is dropped.
///
/// # Options
///
/// - `name = "stable.name"`: the actor's name on the wire; the default is its path.
/// - `Feline, zoo::Animal, ..`: the traits that the actor offers, each made by
///   [`actor_trait`](macro@actor_trait).
/// - `get(title: String, ..)`, `get_set(level: u32, ..)`: fields of the actor with their types.
///   Each becomes a method that clones it, called as the field is; with `get_set` also one that
///   writes it, `set_level`. A visibility and documentation before the name are theirs.
/// - `nested(playback: Playback, ..)`: fields that are parts of the actor, each of a type with
///   [`actor_part`](macro@actor_part); the proxy's method `playback()` gives the part's proxy. A
///   visibility and documentation before the name are those of this method.
/// - `vis = "pub(crate)"`: the visibility of the proxy type; the default is `pub`. It has to be at
///   least that of the actor.
///
/// How its processes are started, where the start itself (`Spawn`, `Local`) does not say otherwise.
/// Values are expressions, which are evaluated at each start in the process that starts:
///
/// - `mailbox = 64`, `mailbox = Mailbox::messages(64).overflow(Overflow::Fail)`: how many calls
///   wait for it, and what becomes of more.
/// - `idle = Idle::Park`: how both sides of the link wait.
/// - `grace = "500ms"`: how long it has to end in order; as a text, as that of a periodic method,
///   or a `Duration`.
/// - `process_name = "printer"`: the name of its process, for `ps` and logs.
/// - `stdout = Output::Null`, `stderr = Output::Tail(4096)`: where it writes to.
/// - `current_dir = "/"`: its working folder.
/// - `greet_within = "60s"`: how long its process has to say that it is an actor.
/// - `link = LinkKind::Socket`: what the link goes over.
/// - `pin = Core(3)`: the cores that it runs on.
/// - `limits = Limits::new().open_files(64)`: what its process may have.
/// - `heartbeat = "1s"`, `heartbeat = Heartbeat::default().misses(9)`: whether it is killed when it
///   hangs.
///
/// A task (`local`) has the first four. Both have what concerns callers of other programs:
///
/// - `listen = "tcp://0.0.0.0:7000"`, `listen = ["tcp://[::]:7000", "unix:/run/printer"]`: where it
///   listens for them; `advertise`, where it says that it does, `connections = 64`, how many there
///   may be, `blob_limit = 1 << 30`, how many bytes of blobs may have come from each.
/// - `authkey = key_of_printers()`: what they must have: an expression, for a key is not written
///   into a program.
/// - `listen_with = ("tcp://0.0.0.0:7000", [key_of_partners()])`, or an array of such pairs: a
///   further address, with keys of its own.
///
/// # Examples
///
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Counter { n: u64 }
///
/// #[actor]
/// impl Counter {
///     pub fn new(start: u64) -> Self { Self { n: start } }
///     pub async fn add(&mut self, by: u64) -> u64 { self.n += by; self.n }
///     pub fn get(&self) -> u64 { self.n }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let counter = Counter::spawn(10).await?;
///     assert_eq!(counter.add(5).await?, 15);
///     counter.shutdown().await
/// }
/// ```
#[proc_macro_attribute]
pub fn actor(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_actor(options.into(), &item.into()).into()
}

/// Makes a trait one that actors can offer: one proxy type for all of them.
///
/// Beside the trait `Feline` appear the proxy `FelineProxy`, whose methods are calls of the
/// trait's, and the trait `FelineCalls`, which gives the same methods to the proxy of each actor
/// that offers the trait. An actor says so by `#[actor(Feline)] impl Cat`, beside an ordinary
/// `impl Feline for Cat`; where `Feline` is imported from another module, `FelineProxy` is, too.
/// Its proxy then becomes a `FelineProxy` by `into()`.
///
/// - Every method with a receiver is one of the proxy, unless it has `#[skip]`. What `#[actor]`
///   says of methods and their attributes holds here. Default methods are ordinary ones.
/// - All else in the trait is left alone, but a proxy knows no `Self`: no associated types.
///
/// # Options
///
/// - `Animal, ..`: the supertraits that are such traits themselves. A proxy of the trait becomes
///   one of theirs by `into()`, and an actor that offers the trait has to offer them.
/// - `name = "stable.name"`: the trait's name on the wire; the default is its path.
///
/// # Examples
///
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// #[actor_trait]
/// pub trait Feline {
///     fn name(&self) -> String;
///     async fn greet(&self) -> String { format!("Hi, it's {}.", self.name()) }
/// }
///
/// pub struct Cat;
///
/// #[actor(Feline)]
/// impl Cat {
///     pub fn new() -> Self { Self }
/// }
///
/// impl Feline for Cat {
///     fn name(&self) -> String { "Mr. Whiskers".into() }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let cat: FelineProxy = Cat::spawn().await?.into();
///     assert_eq!(cat.greet().await?, "Hi, it's Mr. Whiskers.");
///     cat.shutdown().await
/// }
/// ```
#[proc_macro_attribute]
pub fn actor_trait(options: TokenStream, item: TokenStream) -> TokenStream {
    expand_trait::expand(options.into(), &item.into()).into()
}

/// Makes a type one that can be part of an actor: its methods are called through the actor.
///
/// Stands on the inherent impl block of a type. An actor that has a field of this type names it,
/// `#[actor(nested(playback: Playback))]`, and its proxy then has a method `playback()`, which
/// gives a `PlaybackProxy`: `player.playback().play().await?`. A part can have parts itself.
///
/// - What [`actor`](macro@actor) says of methods and their attributes holds here, that of the
///   borrow too: a `&mut self` method of a part borrows the whole actor, and runs alone.
/// - Functions without a receiver are left alone: whoever makes the actor makes its parts. Hooks
///   and periodic methods are the actor's.
/// - The proxy of a part is a value as the actor's is, and keeps the actor alive. Making it costs
///   an allocation; what is called often is kept. Two are equal if they call the same part.
/// - On the wire a method is called `playback.play`.
///
/// # Options
///
/// - `nested(deck: Deck, ..)`: its own parts, as those of an actor.
/// - `get(title: String, ..)`, `get_set(level: u32, ..)`, `vis = ".."`: as those of an actor.
///
/// # Examples
///
/// ```standalone_crate
/// use callboard::prelude::*;
///
/// pub struct Playback { playing: bool }
///
/// #[actor_part]
/// impl Playback {
///     pub fn play(&mut self) { self.playing = true; }
///     pub fn is_playing(&self) -> bool { self.playing }
/// }
///
/// pub struct Player { playback: Playback }
///
/// #[actor(nested(playback: Playback))]
/// impl Player {
///     pub fn new() -> Self { Self { playback: Playback { playing: false } } }
/// }
///
/// #[callboard::main]
/// async fn main() -> callboard::Result<()> {
///     let player = Player::spawn().await?;
///     player.playback().play().await?;
///     assert!(player.playback().is_playing().await?);
///     player.shutdown().await
/// }
/// ```
#[proc_macro_attribute]
pub fn actor_part(options: TokenStream, item: TokenStream) -> TokenStream {
    part::expand(options.into(), &item.into()).into()
}

/// Makes a struct or enum a message: something that can be an argument, a result or an error.
///
/// Derives rkyv's `Archive`, `Serialize` and `Deserialize` and nothing else; rkyv's own attributes
/// (`#[rkyv(..)]`) work on the type and its fields, and rkyv need not be a dependency of yours.
///
/// For `?` an error that a method returns also implements [`std::error::Error`], by `thiserror` for
/// instance.
///
/// A field that only means something where it was made, such as a cache or an open file, does not
/// travel if it is marked by `#[rkyv(with = callboard::Skip)]`: nothing of it is written, and the
/// other side has the type's `Default` in its place. It need not be a message itself.
///
/// A type may contain itself, by `Box`, `Vec`, `Option` or a map. Of types that contain each other
/// one says so by `#[message(recursive)]`; without it the compiler sees no end (`overflow
/// evaluating the requirement`). A type with bounds of its own (`#[rkyv(serialize_bounds(..))]` and
/// the like) gives all of them, and marks the fields that close a circle by `#[rkyv(omit_bounds)]`.
///
/// # Examples
///
/// ```
/// use callboard::message;
///
/// #[message]
/// #[derive(Clone, Debug)]
/// pub struct Job { pub id: u64, pub text: String }
///
/// #[message(recursive)]
/// pub struct Folder { pub entries: Vec<Entry> }
///
/// #[message]
/// pub enum Entry { File(String), Folder(Folder) }
///
/// #[message]
/// pub struct Page {
///     pub text: String,
///     #[rkyv(with = callboard::Skip)]
///     pub opened: Option<std::time::Instant>,
/// }
///
/// fn is_message<M: callboard::Message>() {}
/// is_message::<(Job, Entry, Page)>();
/// ```
#[proc_macro_attribute]
pub fn message(options: TokenStream, item: TokenStream) -> TokenStream {
    message::expand(options.into(), &item.into()).into()
}

/// Starts the runtime around an `async fn main`.
///
/// Before anything of yours runs, a process that was started for an actor turns into that actor
/// here. The options are tokio's: `flavor = "multi_thread"` (the default) or `"current_thread"`,
/// and `worker_threads = 4`. They are for this process; an actor's has one thread.
///
/// When `main` has returned, actors that still live are ended, the youngest first, as by
/// `callboard::shutdown_all`.
///
/// # Signals
///
/// SIGINT (Ctrl-C), SIGTERM and SIGHUP end the program in order: `main` does not go on, the actors
/// are ended as above, `main` is dropped where it waits, and the exit code is 128 and the signal's
/// number. A second one ends it at once. Ctrl-C does not reach the actors themselves: their
/// processes are not in the terminal's foreground group. A signal that is ignored when the program
/// starts stays ignored, as `nohup` wants it. With `signals = false` nothing of this happens, for a
/// `main` that handles them itself.
///
/// A `main` that blocks its thread does not notice the first signal until it awaits again; with
/// `flavor = "current_thread"` it does not notice the second one either.
///
/// # Panics
///
/// The function does, when the system gives no runtime.
///
/// # Examples
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// #[callboard::main(worker_threads = 2)]
/// async fn main() -> callboard::Result<()> {
///     tokio::time::sleep(Duration::from_millis(1)).await;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(entry::Kind::Main, options.into(), &item.into()).into()
}

/// An async test whose actors are real processes.
///
/// A test program has a `main` of its own, so each such test brings a hook that the loader runs
/// before it, in which a process that was started for an actor turns into that actor. The options
/// are those of `#[callboard::main]`; the default flavour is `"current_thread"`. Actors that a test
/// leaves alive end with it.
///
/// # Examples
///
/// ```standalone_crate
/// # use callboard::prelude::*;
/// # pub struct Counter(u64);
/// # #[actor]
/// # impl Counter {
/// #     pub fn new(start: u64) -> Self { Self(start) }
/// #     pub fn get(&self) -> u64 { self.0 }
/// # }
/// #[callboard::test]
/// async fn counts() -> callboard::Result<()> {
///     let counter = Counter::spawn(10).await?;
///     assert_eq!(counter.get().await?, 10);
///     counter.shutdown().await
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(entry::Kind::Test, options.into(), &item.into()).into()
}

/// The block as it was written, then both sides of the actor or all refusals at once.
fn expand_actor(
    options: proc_macro2::TokenStream,
    item: &proc_macro2::TokenStream,
) -> proc_macro2::TokenStream {
    let (item, read) = interface::Interface::read(options, item);
    match read {
        Ok(interface) => {
            let proxy = expand_proxy::expand(&interface);
            let server = expand_server::expand(&interface);
            // What travels is owned, what is called goes by its signature, and an actor is made by
            // a process: lints that ask for another shape would ask in vain.
            quote::quote! {
                #[allow(
                    clippy::needless_pass_by_ref_mut,
                    clippy::needless_pass_by_value,
                    clippy::new_without_default,
                    clippy::unused_async,
                    clippy::unused_self,
                    reason = "the shape of an actor's methods is its interface"
                )]
                #item
                #proxy
                #server
            }
        }
        Err(refused) => {
            let refused = refused.to_compile_error();
            quote::quote! { #item #refused }
        }
    }
}

#[cfg(test)]
mod tests;
