//! How a method is called with JSON: in the table of each, if callboard's feature `json` is on.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Ident, ext::IdentExt};

use crate::{
    expand_hooks,
    function::{Answer, Function},
};

/// `.json(..)` behind the entry of a method. Which of its types are serde's is asked there.
pub(crate) fn expand(function: &Function) -> TokenStream {
    let names = function
        .arguments
        .iter()
        .map(|argument| argument.name.unraw().to_string());
    let readers = function.arguments.iter().map(|argument| {
        let reader = ask(&argument.ty);
        quote!(#reader.reader()?)
    });
    let places = 0..function.arguments.len();
    let values = places.map(|place| {
        let index = syn::Index::from(place);
        quote!(given.read(#index, readers.#index)?)
    });
    let (ok, failure) = match &function.answer {
        Answer::Value(value) => (value, quote!(::callboard::__private::json::never_fails)),
        Answer::Result { ok, error } => (ok, failure(error)),
    };
    let (result, all) = (ask(ok), ask(&function.arguments_type()));
    let (reads, writes) = (
        traits(&["Archives", "Reads", "Writes"]),
        traits(&["Writes"]),
    );
    let (readers, given) = if function.arguments.is_empty() {
        (quote!(), quote!(()))
    } else {
        (
            quote!(let readers = (#(#readers,)*);),
            quote!((#(#values,)*)),
        )
    };
    quote! {
        .json(::callboard::__private::json::Json {
            names: &[#(#names),*],
            arguments: |given| {
                #reads
                #result.writable()?;
                #readers
                #all.archive(given, #given)
            },
            reply: |archive| {
                #writes
                #result.write(archive)
            },
            failure: #failure,
        })
    }
}

fn failure(error: &TokenStream) -> TokenStream {
    let text = expand_hooks::text(&quote!(error));
    quote! {
        |archive| {
            #[allow(unused_imports, reason = "the error's type decides which of them is used")]
            use ::callboard::__private::json::{
                FailsByText as _, FailsByValue as _, FailsNot as _,
            };
            (&&&::callboard::__private::json::Typed::<#error>::NEW)
                .failure(archive, |error| #text)
        }
    }
}

fn ask(ty: &TokenStream) -> TokenStream {
    quote!((&&::callboard::__private::json::Typed::<#ty>::NEW))
}

fn traits(names: &[&str]) -> TokenStream {
    let names = names.iter().flat_map(|name| {
        let name = Ident::new(name, proc_macro2::Span::call_site());
        let not = quote::format_ident!("{name}Not");
        [name, not]
    });
    quote! {
        #[allow(unused_imports, reason = "the types decide which of them are used")]
        use ::callboard::__private::json::{#(#names as _),*};
    }
}
