//! `#[message]`: rkyv's three traits by way of callboard's copy of rkyv.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Field, Item, parse_quote, parse2};

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
    let recursive = recursive(item);
    let (bounds, item) = match &recursive {
        Some(marked) => (Some(bounds()), marked),
        None => (None, item),
    };
    quote! {
        #[derive(
            ::callboard::__private::rkyv::Archive,
            ::callboard::__private::rkyv::Serialize,
            ::callboard::__private::rkyv::Deserialize,
        )]
        #[rkyv(crate = ::callboard::__private::rkyv, attr(#quiet))]
        #bounds
        #item
    }
}

/// The item with its fields marked that contain the type itself; none if there are no such fields,
/// or the user has marked them.
///
/// The derives ask that each field's type can be archived. Of a field that contains the type itself
/// the compiler could tell only by asking the same again, without end.
fn recursive(item: &TokenStream) -> Option<TokenStream> {
    let mut item = parse2(item.clone()).ok()?;
    let (name, fields) = match &mut item {
        Item::Struct(item) => (&item.ident, item.fields.iter_mut().collect::<Vec<_>>()),
        Item::Enum(item) => {
            let variants = item.variants.iter_mut();
            let fields = variants.flat_map(|variant| variant.fields.iter_mut());
            (&item.ident, fields.collect())
        }
        _ => return None,
    };
    if fields.iter().any(|field| is_marked(field)) {
        return None;
    }
    let mut found = false;
    for field in fields {
        if names(field.ty.to_token_stream(), name) {
            field.attrs.push(parse_quote!(#[rkyv(omit_bounds)]));
            found = true;
        }
    }
    found.then(|| quote!(#item))
}

/// What is asked instead: what the collections that a type can contain itself by need.
fn bounds() -> TokenStream {
    quote! {
        #[rkyv(
            serialize_bounds(
                __S: ::callboard::__private::rkyv::ser::Writer
                    + ::callboard::__private::rkyv::ser::Allocator,
                __S::Error: ::callboard::__private::rkyv::rancor::Source,
            ),
            deserialize_bounds(__D::Error: ::callboard::__private::rkyv::rancor::Source),
            bytecheck(bounds(
                __C: ::callboard::__private::rkyv::validation::ArchiveContext,
                __C::Error: ::callboard::__private::rkyv::rancor::Source,
            )),
        )]
    }
}

fn is_marked(field: &Field) -> bool {
    let rkyv = |attribute: &&Attribute| attribute.path().is_ident("rkyv");
    let omits = Ident::new("omit_bounds", Span::call_site());
    let mut marks = field.attrs.iter().filter(rkyv);
    marks.any(|attribute| names(attribute.to_token_stream(), &omits))
}

/// Whether `tokens` have the word `name`, or `Self`.
fn names(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == *name || word == "Self",
        TokenTree::Group(group) => names(group.stream(), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
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
