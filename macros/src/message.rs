//! `#[message]`: rkyv's three traits by way of callboard's copy of rkyv.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Item, parse2};

use crate::refusals::Refusals;

/// Puts the derives before the item, which stays as it was written.
pub(crate) fn expand(options: &TokenStream, item: &TokenStream) -> TokenStream {
    if let Err(refused) = check(options, item.clone()) {
        let refused = refused.to_compile_error();
        return quote! { #item #refused };
    }
    // The archived type is as exhaustive as the message: its author has judged that there.
    let quiet = quote! {
        allow(
            clippy::exhaustive_enums,
            clippy::exhaustive_structs,
            reason = "the archived type follows the message"
        )
    };
    quote! {
        #[derive(
            ::callboard::__private::rkyv::Archive,
            ::callboard::__private::rkyv::Serialize,
            ::callboard::__private::rkyv::Deserialize,
        )]
        #[rkyv(crate = ::callboard::__private::rkyv, attr(#quiet))]
        #item
    }
}

fn check(options: &TokenStream, item: TokenStream) -> syn::Result<()> {
    let mut refusals = Refusals::default();
    if !options.is_empty() {
        refusals.at(options, "`#[message]` takes no options");
    }
    match parse2(item)? {
        Item::Struct(_) | Item::Enum(_) => {}
        Item::Union(item) => refusals.at(
            item.union_token,
            "a message is a struct or an enum: nobody could tell which field of a union to read",
        ),
        other => refusals.at(other, "`#[message]` stands on a struct or an enum"),
    }
    refusals.or(())
}
