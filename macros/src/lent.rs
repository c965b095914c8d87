//! Arguments that a method borrows from its message: `&str`, `&[u8]`, `&Archived<T>`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericArgument, PathArguments, Type, TypeReference};

use crate::{
    refusals::Refusals,
    types::{Place, compact, last_segment, refuse_unowned, replace_self},
};

/// What stands behind the `&` of an argument.
pub(crate) struct Lent {
    /// As the proxy borrows it: `str`, `[u8]`, and `T` for `Archived<T>`.
    pub(crate) referent: TokenStream,
    /// What is owned and has the same archive, as a type.
    pub(crate) owned: TokenStream,
    /// The same as written in signatures: `String`, `Vec<u8>`, `T`.
    pub(crate) text: String,
}

impl Lent {
    /// Reads the type of an argument; none if it is owned, or refused.
    pub(crate) fn read(ty: &Type, actor: &Type, refusals: &mut Refusals) -> Option<Self> {
        let Type::Reference(reference) = ty else {
            refuse_unowned(ty, Place::Argument, refusals);
            return None;
        };
        if let Some(refused) = refusal(reference) {
            refusals.at(reference, &refused);
            return None;
        }
        let referent = match behind(&reference.elem) {
            Behind::Archived(inner) => inner,
            Behind::Text | Behind::Slice(_) | Behind::Other => &reference.elem,
        };
        let inside = match referent {
            Type::Slice(slice) => &slice.elem,
            other => other,
        };
        refuse_unowned(inside, Place::Argument, refusals);
        let tokens = replace_self(quote!(#referent), actor);
        let (owned, text) = match behind(&reference.elem) {
            Behind::Text => ("String".to_owned(), true),
            Behind::Slice(element) => {
                let element = replace_self(quote!(#element), actor);
                (format!("Vec<{}>", compact(element)), true)
            }
            Behind::Archived(_) | Behind::Other => (compact(&tokens), false),
        };
        Some(Self {
            owned: if text {
                quote!(<#tokens as ::callboard::__private::Lend>::Owned)
            } else {
                tokens.clone()
            },
            referent: tokens,
            text: owned,
        })
    }
}

/// The kinds of types that stand behind an `&`.
enum Behind<'a> {
    Text,
    Slice(&'a Type),
    Archived(&'a Type),
    Other,
}

fn behind(ty: &Type) -> Behind<'_> {
    match ty {
        Type::Paren(inner) => behind(&inner.elem),
        Type::Group(inner) => behind(&inner.elem),
        Type::Slice(slice) => Behind::Slice(&slice.elem),
        Type::Path(path) if path.path.is_ident("str") => Behind::Text,
        other => archived(other).map_or(Behind::Other, Behind::Archived),
    }
}

/// The `T` of `Archived<T>`: it goes by the name alone.
fn archived(ty: &Type) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Archived")?;
    let PathArguments::AngleBracketed(written) = &segment.arguments else {
        return None;
    };
    match written.args.first() {
        Some(GenericArgument::Type(inner)) if written.args.len() == 1 => Some(inner),
        _ => None,
    }
}

/// Why an argument cannot be borrowed as it is written, and what to write.
fn refusal(reference: &TypeReference) -> Option<String> {
    let written = compact(reference);
    let elem = &reference.elem;
    let owned = match behind(elem) {
        Behind::Text => "String".to_owned(),
        Behind::Slice(element) => format!("Vec<{}>", compact(element)),
        Behind::Archived(inner) => compact(inner),
        Behind::Other => compact(elem),
    };
    if reference.mutability.is_some() {
        return Some(format!(
            "a message is read where it lies and never written: take `{owned}` instead of \
             `{written}`"
        ));
    }
    if reference.lifetime.is_some() {
        return Some(format!(
            "an argument is borrowed for one call, so its lifetime has no name: take `&{}` \
             instead of `{written}`",
            compact(elem)
        ));
    }
    match behind(elem) {
        Behind::Text | Behind::Archived(_) => None,
        Behind::Slice(element) if is_kept_otherwise(element) => Some(format!(
            "the bytes of a message are not those of a `{}`: take `&Archived<{owned}>` or \
             `{owned}` instead of `{written}`",
            compact(element)
        )),
        Behind::Slice(_) => None,
        Behind::Other if owned == "String" => {
            Some(format!("take `&str` or `String` instead of `{written}`"))
        }
        Behind::Other => Some(format!(
            "an argument is owned, or borrowed from the message, where its archive lies: take \
             `{owned}` or `&Archived<{owned}>` instead of `{written}`"
        )),
    }
}

/// Whether a well-known type lies in a message in another form than in memory.
fn is_kept_otherwise(element: &Type) -> bool {
    const NAMES: &[&str] = &[
        "u16", "u32", "u64", "u128", "usize", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
        "char", "String",
    ];
    last_segment(element).is_some_and(|last| NAMES.iter().any(|name| last.ident == name))
}
