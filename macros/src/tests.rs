//! Whole expansions, formatted, against the snapshots in `snapshots/`.
//!
//! `INSTA_UPDATE=always cargo test -p callboard-macros` writes them anew; read the difference. With
//! the feature `json` the tables of methods say more, and one snapshot shows it.

use proc_macro2::TokenStream;
use quote::quote;

use crate::{entry, expand_actor, message};
#[cfg(not(feature = "json"))]
use crate::{expand_trait, part};

fn pretty(expansion: TokenStream) -> String {
    let file = syn::parse2(expansion).expect("an expansion is a list of items");
    prettyplease::unparse(&file)
}

#[cfg(not(feature = "json"))]
#[test]
fn counter_becomes_both_sides() {
    let block = quote! {
        impl Counter {
            pub fn new(start: u64) -> Self { Self { n: start } }
            pub async fn add(&mut self, by: u64) -> u64 { self.n += by; self.n }
            pub fn get(&self) -> u64 { self.n }
            pub fn pid(&self) -> u32 { std::process::id() }
            fn private(&self) {}
        }
    };
    insta::assert_snapshot!("counter", pretty(expand_actor(TokenStream::new(), &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn attributes_results_and_patterns_reach_the_proxy() {
    let block = quote! {
        impl Store {
            /// Opens the store.
            pub(crate) async fn open(path: String) -> io::Result<Self> { body() }
            /// Finds one.
            #[must_use = "a search costs time"]
            #[deprecated]
            pub fn find(&self, (low, high): (u64, u64), _: u8) -> Result<Vec<Self::Item>, Lost> {
                body()
            }
            #[cfg(unix)]
            #[cfg(feature = "x")]
            #[must_use]
            #[expect(clippy::unused_self, reason = "a sample")]
            pub fn r#type(&self, mut r#ref: u8, _unused: u8) -> fmt::Result { body() }
            pub fn is_store(text: &str) -> bool { body() }
        }
    };
    let options = quote!(name = "test.store", vis = "pub(crate)");
    insta::assert_snapshot!("store", pretty(expand_actor(options, &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn helpers_are_taken_out_of_the_block() {
    let block = quote! {
        impl Counter {
            #[name = "new.v1"]
            pub fn new() -> Self { body() }
            #[skip]
            pub fn helper(&self) {}
            #[name = "count"]
            #[version(2)]
            #[priority(high)]
            pub fn get(&self) -> u64 { body() }
        }
    };
    insta::assert_snapshot!("helpers", pretty(expand_actor(TokenStream::new(), &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn settings_are_told_to_every_start() {
    let block = quote! {
        impl Printer {
            pub fn new() -> Self { body() }
            pub fn open(path: String) -> Result<Self, Lost> { body() }
        }
    };
    let options = quote! {
        mailbox = Mailbox::messages(64).overflow(Overflow::Fail),
        grace = "1.5s",
        idle = Idle::Park,
        process_name = "printer",
        stderr = Output::Tail(4096),
    };
    insta::assert_snapshot!("settings", pretty(expand_actor(options, &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn a_part_becomes_a_proxy_and_runs() {
    let block = quote! {
        impl Mixer {
            pub fn with(level: u8) -> Self { body() }
            pub fn swap(&mut self) { body() }
            pub async fn find(&self, record: &str) -> Result<u8, Lost> { body() }
        }
    };
    let options = quote!(nested(left: audio::Deck), get_set(volume: u8), vis = "pub(crate)");
    insta::assert_snapshot!("part", pretty(part::expand(options, &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn an_actor_has_parts() {
    let block = quote! {
        impl Player {
            pub fn new() -> Self { body() }
            pub fn stop(&mut self) { body() }
        }
    };
    let options = quote!(Loud, nested(mixer: Mixer, /** Beside it. */ pub(crate) spare: Deck));
    insta::assert_snapshot!("nested", pretty(expand_actor(options, &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn batches_are_single_calls_on_the_proxy() {
    let block = quote! {
        impl Ledger {
            pub fn new() -> Self { body() }
            #[batch(max = 64)]
            pub fn enter(&mut self, entries: Vec<Entry>, by: Vec<u64>) -> Vec<u64> { body() }
            #[batch]
            pub async fn find(&self, places: Vec<usize>) -> Vec<Result<Entry, Lost>> { body() }
            #[batch]
            pub fn strike(&mut self, places: Vec<usize>) { body() }
        }
    };
    insta::assert_snapshot!("batch", pretty(expand_actor(TokenStream::new(), &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn borrowed_arguments_stay_in_the_message() {
    let block = quote! {
        impl Stats {
            pub fn open(path: &str) -> Result<Self, Lost> { body() }
            pub fn mean(&self, xs: &Archived<Vec<f64>>, scale: f64) -> f64 { body() }
            pub async fn put(&mut self, bytes: &[u8], kind: Self::Kind) -> Result<(), Lost> {
                body()
            }
        }
    };
    insta::assert_snapshot!("borrowed", pretty(expand_actor(TokenStream::new(), &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn a_trait_becomes_a_proxy_and_calls() {
    let item = quote! {
        /// What a feline does.
        pub trait Feline: Animal + Send {
            fn name(&self) -> String;
            async fn greet(&mut self, by: u8) -> io::Result<()> { body() }
            #[skip]
            fn is_larger(&self, other: &Self) -> bool { body() }
            fn new() -> Self;
        }
    };
    let options = quote!(Animal);
    insta::assert_snapshot!("trait", pretty(expand_trait::expand(options, &item)));
}

#[cfg(not(feature = "json"))]
#[test]
fn a_generic_actor_offers_traits() {
    let block = quote! {
        impl<T: Message, const N: usize> Cell<T, N> where T: Clone {
            pub fn new(value: T) -> Self { body() }
            pub fn get(&self) -> [T; N] { body() }
        }
    };
    let options = quote!(zoo::Feline, Animal, get_set(pub(crate) size: u32));
    insta::assert_snapshot!("cell", pretty(expand_actor(options, &block)));
}

/// How methods are called with JSON stands in their table, and not in that of constructors.
#[cfg(feature = "json")]
#[test]
fn methods_are_called_with_json() {
    let block = quote! {
        impl Store {
            pub fn new(path: &str) -> Self { body() }
            pub fn get(&self) -> u64 { body() }
            #[name = "put.v1"]
            pub fn put(&mut self, key: &str, r#type: u8, context: &Context) -> io::Result<Old> {
                body()
            }
            #[cfg(unix)]
            pub fn clear(&mut self, _: bool) {}
        }
    };
    insta::assert_snapshot!("json", pretty(expand_actor(TokenStream::new(), &block)));
}

#[cfg(not(feature = "json"))]
#[test]
fn streams_go_both_ways() {
    let block = quote! {
        impl Log {
            pub fn new() -> Self { Self }
            pub fn lines(&self, from: &str) -> impl Stream<Item = String> { body() }
            pub async fn own(&mut self) -> Result<impl Stream<Item = u64> + 'static, Closed> {
                body()
            }
            pub async fn extend(&mut self, lines: Streamed<String>) -> u64 { body() }
            pub fn both(&self, feeds: Streamed<u8>) -> impl Stream<Item = Result<u8, Closed>> {
                body()
            }
        }
    };
    insta::assert_snapshot!("streams", pretty(expand_actor(TokenStream::new(), &block)));
}

#[test]
fn entry_points_wrap_the_async_function() {
    let function = quote! {
        #[allow(unused)]
        async fn main() -> callboard::Result<()> { run().await?; Ok(()) }
    };
    let options = quote!(worker_threads = 2);
    insta::assert_snapshot!(
        "main",
        pretty(entry::expand(entry::Kind::Main, options, &function))
    );

    let function = quote! {
        #[should_panic]
        async fn counts() { body() }
    };
    let options = TokenStream::new();
    insta::assert_snapshot!(
        "test",
        pretty(entry::expand(entry::Kind::Test, options, &function))
    );
}

#[test]
fn message_derives_by_way_of_callboard() {
    let item = quote! {
        #[derive(Debug)]
        pub struct Job { id: u64 }
    };
    insta::assert_snapshot!(
        "message",
        pretty(message::expand(TokenStream::new(), &item))
    );
}

#[test]
fn messages_that_contain_themselves_are_bounded() {
    let item = quote! {
        pub enum Tree {
            Leaf(u64),
            Node { name: String, inner: Vec<Self> },
            Pair(Box<(Tree, Tree)>),
            Told { by: Plain, again: Vec<Plain>, #[cfg(unix)] id: Plain },
        }
    };
    insta::assert_snapshot!(
        "message_recursive",
        pretty(message::expand(TokenStream::new(), &item))
    );
}

#[test]
fn messages_that_contain_each_other_are_bounded() {
    let item = quote! {
        pub struct Branch<T> { twigs: Vec<Twig<T>>, plain: Plain, name: String }
    };
    insta::assert_snapshot!(
        "message_circle",
        pretty(message::expand(quote!(recursive), &item))
    );
}
