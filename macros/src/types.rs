//! Questions about the types in a signature: is it owned, is it a `Result`, whom does `Self` mean.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Expr, GenericArgument, Lifetime, PathArguments, PathSegment, Type, TypeImplTrait,
    TypeReference, visit::Visit,
};

use crate::refusals::Refusals;

/// Where in a signature a type stands; the words of a refusal depend on it.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Argument,
    Result,
}

/// Refuses what cannot travel whatever the types mean: borrows and `impl Trait`.
///
/// All else is the compiler's to judge, by the `Message` bounds in the expansion.
pub(crate) fn refuse_unowned(ty: &Type, place: Place, refusals: &mut Refusals) {
    Unowned { place, refusals }.visit_type(ty);
}

struct Unowned<'a> {
    place: Place,
    refusals: &'a mut Refusals,
}

impl Visit<'_> for Unowned<'_> {
    fn visit_type_reference(&mut self, i: &TypeReference) {
        let (owned, borrowed) = (owned_form(&i.elem), compact(i));
        let text = match self.place {
            Place::Argument => format!(
                "only a whole argument can be borrowed from its message: \
                 take `{owned}` instead of `{borrowed}` here"
            ),
            Place::Result => format!(
                "a result travels out of the actor's process, so it cannot borrow: \
                 return `{owned}` instead of `{borrowed}`"
            ),
        };
        self.refusals.at(i, &text);
    }

    fn visit_lifetime(&mut self, i: &Lifetime) {
        if i.ident != "static" {
            self.refusals
                .at(i, "what travels between processes cannot borrow");
        }
    }

    fn visit_type_impl_trait(&mut self, i: &TypeImplTrait) {
        let text = match self.place {
            Place::Argument => "an argument needs a type that can be named, not `impl Trait`",
            Place::Result => {
                "a result needs a type that can be named, not `impl Trait` \
                 (for a future, write `async fn`)"
            }
        };
        self.refusals.at(i, text);
    }

    /// The length of an array is no type: `&` means something else there.
    fn visit_expr(&mut self, _: &Expr) {}
}

/// What to write instead of a reference to `referent`.
fn owned_form(referent: &Type) -> String {
    match referent {
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        Type::Slice(slice) => format!("Vec<{}>", compact(&slice.elem)),
        other => compact(other),
    }
}

/// The arguments of a type whose last path segment is `Result`, as far as they are written.
pub(crate) struct ResultArguments<'a> {
    pub(crate) ok: Option<&'a Type>,
    pub(crate) error: Option<&'a Type>,
}

/// `Some` for `Result<..>`, `io::Result<..>` and the like: it goes by the name alone.
pub(crate) fn as_result(ty: &Type) -> Option<ResultArguments<'_>> {
    let segment = last_segment(ty).filter(|segment| segment.ident == "Result")?;
    let mut types = match &segment.arguments {
        PathArguments::AngleBracketed(written) => Some(written.args.iter()),
        PathArguments::None | PathArguments::Parenthesized(_) => None,
    }
    .into_iter()
    .flatten()
    .filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some(ResultArguments {
        ok: types.next(),
        error: types.next(),
    })
}

/// The `c::D<E>` of `a::b::c::D<E>`'s end: its last segment.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

/// Writes the actor's type for `Self`, which means another type inside the proxy.
pub(crate) fn replace_self(tokens: TokenStream, actor: &Type) -> TokenStream {
    let mut replaced = TokenStream::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(word) if word == "Self" => {
                // `Self::LEN` becomes `<Counter>::LEN`, which is right wherever a path can stand.
                let path_goes_on =
                    matches!(rest.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
                replaced.extend(if path_goes_on {
                    quote!(<#actor>)
                } else {
                    quote!(#actor)
                });
            }
            TokenTree::Group(group) => {
                let inside = replace_self(group.stream(), actor);
                let mut copy = Group::new(group.delimiter(), inside);
                copy.set_span(group.span());
                replaced.extend([TokenTree::Group(copy)]);
            }
            other => replaced.extend([other]),
        }
    }
    replaced
}

/// The source text without the spaces that mean nothing: those depend on the compiler.
pub(crate) fn compact(tokens: impl ToTokens) -> String {
    let spaced = tokens.to_token_stream().to_string();
    let is_word = |text: &str| text.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    let mut compact = String::with_capacity(spaced.len());
    for word in spaced.split_whitespace() {
        let begins_word = word.starts_with(|first: char| first.is_alphanumeric() || first == '_');
        if compact.ends_with("mut") || (begins_word && is_word(&compact)) {
            compact.push(' ');
        }
        compact.push_str(word);
    }
    compact
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::{Type, parse_quote};

    use super::{as_result, compact, replace_self};

    #[test]
    fn compact_text_keeps_only_the_spaces_between_words() {
        for (tokens, text) in [
            (quote!(Vec<(u8, String,)>), "Vec<(u8,String,)>"),
            (quote!(&'a mut [u8; 4]), "&'a mut [u8;4]"),
            (
                quote!(Box<dyn Fn(u8) -> u16 + Send>),
                "Box<dyn Fn(u8)->u16+Send>",
            ),
            (
                quote!(<io::Result<u8> as IsResult>::Err),
                "<io::Result<u8>as IsResult>::Err",
            ),
        ] {
            assert_eq!(compact(tokens), text);
        }
    }

    #[test]
    fn self_means_the_actor_also_deep_inside() {
        let actor: Type = parse_quote!(inner::Counter);
        for (tokens, text) in [
            (quote!(Self), "inner::Counter"),
            (quote!(Vec<(Self, u8)>), "Vec<(inner::Counter,u8)>"),
            (quote!([u8; Self::LEN]), "[u8;<inner::Counter>::LEN]"),
            (quote!(Selfish), "Selfish"),
        ] {
            assert_eq!(compact(replace_self(tokens, &actor)), text);
        }
    }

    #[test]
    fn a_result_goes_by_its_last_word() {
        for (ty, ok, error) in [
            (parse_quote!(Result<u8, String>), Some("u8"), Some("String")),
            (parse_quote!(std::io::Result<u8>), Some("u8"), None),
            (parse_quote!(fmt::Result), None, None),
        ] {
            let ty: Type = ty;
            let result = as_result(&ty).expect("it is one");
            assert_eq!(result.ok.map(compact).as_deref(), ok);
            assert_eq!(result.error.map(compact).as_deref(), error);
        }
        assert!(as_result(&parse_quote!(Option<Result<u8, u8>>)).is_none());
        assert!(as_result(&parse_quote!((Result<u8, u8>,))).is_none());
    }
}
