//! `#[callboard::main]` and `#[callboard::test]`: a plain function around an async one.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Item, ItemFn, parse2};

use crate::{
    options::{EntryOptions, Flavor},
    refusals::Refusals,
};

/// Which of the two entry points is expanded.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Main,
    Test,
}

impl Kind {
    fn attribute(self) -> &'static str {
        match self {
            Self::Main => "#[callboard::main]",
            Self::Test => "#[callboard::test]",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Main => &["flavor", "worker_threads", "signals"],
            Self::Test => &["flavor", "worker_threads"],
        }
    }

    fn default_flavor(self) -> Flavor {
        match self {
            Self::Main => Flavor::MultiThread,
            Self::Test => Flavor::CurrentThread,
        }
    }
}

/// The user's async function goes inside a plain one of the same name and attributes.
pub(crate) fn expand(kind: Kind, options: TokenStream, item: &TokenStream) -> TokenStream {
    let read = function_of(kind, item.clone())
        .and_then(|function| Ok((check(kind, options, &function)?, function)));
    match read {
        Ok((options, function)) => write(kind, &options, &function),
        Err(refused) => {
            let refused = refused.to_compile_error();
            // An async `main` left standing would add the compiler's own refusal to ours.
            let is_main = parse2::<ItemFn>(item.clone()).is_ok_and(|item| item.sig.ident == "main");
            let left = if is_main {
                &quote! { fn main() {} }
            } else {
                item
            };
            quote! { #left #refused }
        }
    }
}

fn function_of(kind: Kind, item: TokenStream) -> syn::Result<ItemFn> {
    match parse2(item)? {
        Item::Fn(function) => Ok(function),
        other => {
            let text = format!("`{}` stands on an `async fn`", kind.attribute());
            Err(Error::new_spanned(other, text))
        }
    }
}

fn check(kind: Kind, options: TokenStream, function: &ItemFn) -> syn::Result<EntryOptions> {
    let attribute = kind.attribute();
    let mut refusals = Refusals::default();
    let default = kind.default_flavor();
    let options = EntryOptions::read(attribute, kind.options(), default, options, &mut refusals);
    if function.sig.asyncness.is_none() {
        let text = format!("`{attribute}` stands on an `async fn`");
        refusals.at(function.sig.fn_token, &text);
    }
    if !function.sig.inputs.is_empty() {
        let text = format!("the function of `{attribute}` takes no arguments");
        refusals.at(&function.sig.inputs, &text);
    }
    let second = function
        .attrs
        .iter()
        .find(|attribute| attribute.path().is_ident("test"));
    if let (Kind::Test, Some(second)) = (kind, second) {
        refusals.at(
            second,
            "`#[callboard::test]` makes the function a test by itself",
        );
    }
    refusals.or(options)
}

/// An inner async function, not an async block: the types of `?` are then known to the compiler.
fn write(kind: Kind, options: &EntryOptions, function: &ItemFn) -> TokenStream {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
        ..
    } = function;
    let name = &sig.ident;
    let mut outer = sig.clone();
    outer.asyncness = None;
    let flavor = match options.flavor {
        Flavor::CurrentThread => quote!(CurrentThread),
        Flavor::MultiThread => quote!(MultiThread),
    };
    let worker_threads = match &options.worker_threads {
        Some(count) => quote!(::core::option::Option::Some(#count)),
        None => quote!(::core::option::Option::None),
    };
    let signals = match (kind, &options.signals) {
        (Kind::Test, _) => quote!(false),
        (Kind::Main, None) => quote!(true),
        (Kind::Main, Some(set)) => quote!(#set),
    };
    let test = match kind {
        Kind::Main => None,
        Kind::Test => Some(quote!(#[::core::prelude::v1::test])),
    };
    let child_entry = match kind {
        Kind::Main => quote!(::callboard::init();),
        Kind::Test => quote! {
            #[used]
            #[unsafe(link_section = ".init_array")]
            static HOOK: extern "C" fn() = ::callboard::__private::hook;
        },
    };
    quote! {
        #test
        #(#attrs)*
        #vis #outer {
            #[allow(clippy::unused_async, reason = "an entry point is async, also without `await`")]
            #sig #block
            #child_entry
            ::callboard::__private::block_on(
                ::callboard::__private::RuntimeOptions {
                    flavor: ::callboard::__private::Flavor::#flavor,
                    worker_threads: #worker_threads,
                    signals: #signals,
                },
                #name(),
            )
        }
    }
}
