//! Streams in a signature: a result that is one, and arguments that are.
//!
//! They are known by their names, as results are: `Stream` behind `impl` or `dyn`, `BoxStream`,
//! and `Streamed` among the arguments. Whether they are what they are called is the compiler's to
//! say.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    GenericArgument, Lifetime, PathArguments, PathSegment, Type, TypeParamBound,
    punctuated::Punctuated, token::Plus,
};

use crate::{
    function::{Answer, Kind},
    refusals::Refusals,
    types::{Place, as_result, last_segment, refuse_unowned, replace_self},
};

/// A result that is a stream.
pub(crate) struct StreamAnswer {
    /// What writes its items.
    pub(crate) put: TokenStream,
    /// It has nothing of the actor's.
    pub(crate) is_apart: bool,
    /// The method may fail before there is a stream: the error's type.
    pub(crate) failure: Option<TokenStream>,
}

impl StreamAnswer {
    /// What a method returns, if that is a stream or a `Result` of one: with what its call gives,
    /// item by item.
    pub(crate) fn read(
        kind: Kind,
        ty: &Type,
        actor: &Type,
        refusals: &mut Refusals,
    ) -> Option<(Self, Answer)> {
        let result = as_result(ty);
        let stream = match &result {
            Some(result) => result.ok?,
            None => ty,
        };
        let Written { item, is_owned } = written(stream)?;
        refuse_unowned(item, Place::Result, refusals);
        if kind == Kind::Constructor {
            refusals.at(ty, "a constructor gives an actor, and no stream");
        }
        if kind == Kind::Exclusive && !is_owned {
            let text = "nothing runs beside a method of `&mut self`, so its stream cannot borrow \
                        the actor: write `+ 'static`, or take `&self`";
            refusals.at(stream, text);
        }
        let owned = |ty: &dyn ToTokens| replace_self(ty.to_token_stream(), actor);
        let failure = result.map(|result| match result.error {
            Some(error) => owned(error),
            None => part(&owned(ty), "Err"),
        });
        let whole = owned(item);
        let (put, answer) = match as_result(item) {
            None => {
                let put = quote!(::callboard::__private::put_value::<#whole>);
                let answer = match &failure {
                    None => Answer::Value(whole),
                    Some(error) => Answer::Result {
                        ok: whole,
                        error: error.clone(),
                    },
                };
                (put, answer)
            }
            Some(parts) => {
                let ok = parts.ok.map_or_else(|| part(&whole, "Ok"), |ok| owned(ok));
                let own = parts.error.map(|error| owned(error));
                let error = failure.clone().or(own);
                let error = error.unwrap_or_else(|| part(&whole, "Err"));
                let put = quote!(::callboard::__private::put_result::<#ok, #error>);
                (put, Answer::Result { ok, error })
            }
        };
        let answered = Self {
            put,
            is_apart: is_owned,
            failure,
        };
        Some((answered, answer))
    }
}

/// The `T` of an argument `Streamed<T>`.
pub(crate) fn streamed(ty: &Type) -> Option<&Type> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Streamed")?;
    types_of(segment).next()
}

fn part(result: &TokenStream, name: &str) -> TokenStream {
    let name = format_ident!("{name}");
    quote!(<#result as ::callboard::__private::IsResult>::#name)
}

/// A stream's type, as far as it is written.
struct Written<'a> {
    item: &'a Type,
    /// It borrows nothing.
    is_owned: bool,
}

fn written(ty: &Type) -> Option<Written<'_>> {
    match ty {
        Type::ImplTrait(ty) => {
            let item = item_of(&ty.bounds)?;
            let is_owned = ty.bounds.iter().any(|bound| match bound {
                TypeParamBound::Lifetime(lifetime) => lifetime.ident == "static",
                TypeParamBound::PreciseCapture(capture) => capture.params.is_empty(),
                _ => false,
            });
            Some(Written { item, is_owned })
        }
        // Without a word of it, what is behind a box borrows nothing.
        Type::TraitObject(ty) => {
            let item = item_of(&ty.bounds)?;
            let is_owned = !ty.bounds.iter().any(|bound| match bound {
                TypeParamBound::Lifetime(lifetime) => lifetime.ident != "static",
                _ => false,
            });
            Some(Written { item, is_owned })
        }
        Type::Paren(inner) => written(&inner.elem),
        Type::Group(inner) => written(&inner.elem),
        other => {
            let segment = last_segment(other)?;
            let inner = types_of(segment).next()?;
            match segment.ident.to_string().as_str() {
                "Pin" | "Box" => written(inner),
                "BoxStream" | "LocalBoxStream" => Some(Written {
                    item: inner,
                    is_owned: lifetimes_of(segment).all(|lifetime| lifetime.ident == "static"),
                }),
                _ => None,
            }
        }
    }
}

/// The `T` of `Stream<Item = T>` among bounds.
fn item_of(bounds: &Punctuated<TypeParamBound, Plus>) -> Option<&Type> {
    bounds.iter().find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else {
            return None;
        };
        let last = bound.path.segments.last()?;
        if last.ident != "Stream" {
            return None;
        }
        arguments_of(last).find_map(|argument| match argument {
            GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
            _ => None,
        })
    })
}

fn arguments_of(segment: &PathSegment) -> impl Iterator<Item = &GenericArgument> {
    let arguments = match &segment.arguments {
        PathArguments::AngleBracketed(written) => Some(written.args.iter()),
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    };
    arguments.into_iter().flatten()
}

fn types_of(segment: &PathSegment) -> impl Iterator<Item = &Type> {
    arguments_of(segment).filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn lifetimes_of(segment: &PathSegment) -> impl Iterator<Item = &Lifetime> {
    arguments_of(segment).filter_map(|argument| match argument {
        GenericArgument::Lifetime(lifetime) => Some(lifetime),
        _ => None,
    })
}
