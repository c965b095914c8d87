//! `#[message]`: rkyv's three traits by way of callboard's copy of rkyv.
//!
//! The derives ask of each field's type that it can be archived, each for itself. The same is asked
//! here instead, at the words of the user: what the compiler says twice about the same words, it
//! says once; and before that it is asked in callboard's words. Of a field that contains the type
//! itself the compiler could tell only by asking the same again, without end: the derives do not
//! ask.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Field, Generics, Item, Meta, Token, Type, parse::Parser, parse_quote, parse2,
    punctuated::Punctuated, visit::Visit,
};

use crate::{
    options::unknown,
    refusals::{Refusals, refuse_second},
    types::compact,
};

/// Puts the derives before the item, which stays as it was written.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    let message = match Message::read(options, item.clone()) {
        Ok(message) => message,
        Err(refused) => {
            let refused = refused.to_compile_error();
            return quote! { #item #refused };
        }
    };
    // The archived type is as exhaustive as the message: its author has judged that there.
    let quiet = quote! {
        allow(
            clippy::exhaustive_enums,
            clippy::exhaustive_structs,
            reason = "the archived type follows the message"
        )
    };
    let (check, bounds, item) = (message.asked.check(), message.asked.bounds(), &message.item);
    quote! {
        #check

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

/// A type that can be a message.
struct Message {
    /// With the fields marked of which rkyv shall ask nothing.
    item: Item,
    asked: Asked,
}

/// What is asked of the fields.
#[derive(Default)]
struct Asked {
    /// The types, each once, of which callboard asks what rkyv would.
    types: Vec<Type>,
    /// The types of fields by which the type may contain itself, where they can be named outside.
    circles: Vec<Type>,
    /// Whether there are such fields: rkyv's traits are not asked of them.
    has_circle: bool,
    /// The parameters that stand in such fields.
    circling: Vec<Ident>,
}

impl Message {
    fn read(options: TokenStream, item: TokenStream) -> syn::Result<Self> {
        let mut refusals = Refusals::default();
        let recursive = recursive(options, &mut refusals);
        let mut item = parse2(item)?;
        let asked = match &mut item {
            Item::Struct(item) => {
                let fields = item.fields.iter_mut().map(|field| (false, field)).collect();
                let names = Names::new(&item.ident, &item.generics, recursive);
                names.read(&item.attrs, fields, &mut refusals)
            }
            Item::Enum(item) => {
                let fields = item.variants.iter_mut().flat_map(|variant| {
                    let is_conditional = variant.attrs.iter().any(is_condition);
                    let fields = variant.fields.iter_mut();
                    fields.map(move |field| (is_conditional, field))
                });
                let names = Names::new(&item.ident, &item.generics, recursive);
                names.read(&item.attrs, fields.collect(), &mut refusals)
            }
            Item::Union(item) => {
                let text = "a message is a struct or an enum: nobody could tell which field of a \
                            union to read";
                refusals.at(item.union_token, text);
                Asked::default()
            }
            other => {
                refusals.at(other, "`#[message]` stands on a struct or an enum");
                Asked::default()
            }
        };
        refusals.or(Self { item, asked })
    }
}

impl Asked {
    fn add(&mut self, ty: &Type) {
        let text = compact(ty);
        if self.types.iter().all(|asked| compact(asked) != text) {
            self.types.push(ty.clone());
        }
    }

    /// Asks in callboard's words.
    fn check(&self) -> Option<TokenStream> {
        let types = self.types.iter().chain(&self.circles);
        let message = quote!(::callboard::Message);
        let asked = types.map(|ty| {
            let message = instead_of(ty, &message);
            quote!(#ty: #message)
        });
        let asked: Vec<_> = asked.collect();
        (!asked.is_empty()).then(|| {
            quote! {
                const _: () = {
                    #[allow(dead_code, reason = "its bounds say what they say")]
                    struct __Fields
                    where
                        #(#asked),*;
                };
            }
        })
    }

    /// What is asked of its fields instead of what rkyv would.
    fn bounds(&self) -> Option<TokenStream> {
        if !self.has_circle && self.types.is_empty() {
            return None;
        }
        let all = || {
            let parameters = self.circling.iter().map(|of| parse_quote!(#of));
            self.types.iter().cloned().chain(parameters)
        };
        let archived = |of: &Type| quote!(<#of as ::callboard::__private::rkyv::Archive>::Archived);
        let archive = all().map(|of| {
            let archive = instead_of(&of, &quote!(::callboard::__private::rkyv::Archive));
            quote!(#of: #archive,)
        });
        let serialize = all().map(|of| {
            let path = quote!(::callboard::__private::rkyv::Serialize<__S>);
            let serialize = instead_of(&of, &path);
            quote!(#of: #serialize,)
        });
        let deserialize = all().map(|of| {
            let archived = archived(&of);
            quote!(#archived: ::callboard::__private::rkyv::Deserialize<#of, __D>,)
        });
        let check = all().map(|of| {
            let archived = archived(&of);
            quote!(#archived: ::callboard::__private::rkyv::bytecheck::CheckBytes<__C>,)
        });
        // What the collections need that a type can contain itself by.
        let (serializer, deserializer, checker) = if self.has_circle {
            (
                quote! {
                    __S: ::callboard::__private::rkyv::ser::Writer
                        + ::callboard::__private::rkyv::ser::Allocator,
                    __S::Error: ::callboard::__private::rkyv::rancor::Source,
                },
                quote!(__D::Error: ::callboard::__private::rkyv::rancor::Source,),
                quote! {
                    __C: ::callboard::__private::rkyv::validation::ArchiveContext,
                    __C::Error: ::callboard::__private::rkyv::rancor::Source,
                },
            )
        } else {
            Default::default()
        };
        Some(quote! {
            #[rkyv(
                archive_bounds(#(#archive)*),
                serialize_bounds(#(#serialize)* #serializer),
                deserialize_bounds(#(#deserialize)* #deserializer),
                bytecheck(bounds(#(#check)* #checker)),
            )]
        })
    }
}

/// `path`, as if it stood where `ty` does: the compiler points at all of the type.
fn instead_of(ty: &Type, path: &TokenStream) -> TokenStream {
    let mut spans = Vec::new();
    spans_of(ty.to_token_stream(), &mut spans);
    let begin = spans.first().copied().unwrap_or_else(Span::call_site);
    let end = spans.last().copied().unwrap_or(begin);
    let mut tokens: Vec<_> = path.clone().into_iter().collect();
    let last = tokens.len().saturating_sub(1);
    for (place, token) in tokens.iter_mut().enumerate() {
        token.set_span(if place == last { end } else { begin });
    }
    tokens.into_iter().collect()
}

fn spans_of(tokens: TokenStream, spans: &mut Vec<Span>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                spans.push(group.span_open());
                spans_of(group.stream(), spans);
                spans.push(group.span_close());
            }
            other => spans.push(other.span()),
        }
    }
}

/// The words that mean something in a type: its own name, and its parameters.
struct Names<'a> {
    name: &'a Ident,
    generics: &'a Generics,
    /// Whether other messages may contain this one.
    recursive: bool,
}

impl<'a> Names<'a> {
    fn new(name: &'a Ident, generics: &'a Generics, recursive: bool) -> Self {
        Self {
            name,
            generics,
            recursive,
        }
    }

    /// Marks the fields of which rkyv shall ask nothing. Of each is known whether its variant may
    /// not be there.
    fn read(
        &self,
        attributes: &[Attribute],
        fields: Vec<(bool, &mut Field)>,
        refusals: &mut Refusals,
    ) -> Asked {
        let mut asked = Asked::default();
        refuse_second(attributes, &["message"], refusals);
        for attribute in attributes {
            refuse_derives(attribute, refusals);
        }
        if let Some(lifetime) = self.generics.lifetimes().next() {
            let text = "a message borrows nothing: it goes from one process to another";
            refusals.at(lifetime, text);
        }
        if let Some(bounds) = attributes.iter().find(|one| gives_bounds(one)) {
            if self.recursive {
                let text = "a type with bounds of its own marks the fields of a circle itself: \
                            `#[rkyv(omit_bounds)]`";
                refusals.at(bounds, text);
            }
            return asked;
        }
        for (is_conditional, field) in fields {
            if field.attrs.iter().any(|one| one.path().is_ident("rkyv")) {
                continue;
            }
            // Of a type that may not be there nothing can be asked from outside.
            let is_conditional = is_conditional || field.attrs.iter().any(is_condition);
            if self.is_circle(field) || (self.recursive && self.may_be(field)) {
                asked.has_circle = true;
                asked.circling.extend(self.parameters(&field.ty));
                if !is_conditional && !self.is_generic(&field.ty) && !says_self(&field.ty) {
                    asked.circles.push(field.ty.clone());
                }
            } else if is_conditional || self.is_generic(&field.ty) || !self.may_be(field) {
                continue;
            } else {
                asked.add(&field.ty);
            }
            field.attrs.push(parse_quote!(#[rkyv(omit_bounds)]));
        }
        asked
    }

    /// Whether a field contains the type itself.
    fn is_circle(&self, field: &Field) -> bool {
        let mut words = words(field.ty.to_token_stream()).into_iter();
        words.any(|word| word == *self.name || word == "Self")
    }

    fn is_generic(&self, ty: &Type) -> bool {
        let words = words(ty.to_token_stream());
        let mut params = self.generics.params.iter();
        params.any(|param| match param {
            syn::GenericParam::Type(param) => words.contains(&param.ident),
            syn::GenericParam::Const(param) => words.contains(&param.ident),
            syn::GenericParam::Lifetime(_) => false,
        })
    }

    /// The parameters in a type.
    fn parameters(&self, ty: &Type) -> Vec<Ident> {
        let words = words(ty.to_token_stream());
        let params = self.generics.type_params();
        let params = params.filter(|param| words.contains(&param.ident));
        params.map(|param| param.ident.clone()).collect()
    }

    /// Whether a field may contain another message, and by it the type itself; or what is none.
    fn may_be(&self, field: &Field) -> bool {
        struct Unknown<'a>(&'a Names<'a>, bool);
        impl Visit<'_> for Unknown<'_> {
            fn visit_type(&mut self, i: &Type) {
                self.1 |= !matches!(
                    i,
                    Type::Path(_)
                        | Type::Tuple(_)
                        | Type::Array(_)
                        | Type::Paren(_)
                        | Type::Group(_)
                );
                syn::visit::visit_type(self, i);
            }

            fn visit_path(&mut self, i: &syn::Path) {
                let parameter = |last: &Ident| {
                    let mut params = self.0.generics.type_params();
                    params.any(|param| param.ident == *last)
                };
                self.1 |= i.segments.last().is_some_and(|last| {
                    let is_known = KNOWN.iter().any(|known| last.ident == known);
                    !is_known && !parameter(&last.ident)
                });
                syn::visit::visit_path(self, i);
            }
        }
        let mut unknown = Unknown(self, false);
        unknown.visit_type(&field.ty);
        unknown.1
    }
}

/// Types that are messages, and contain none but those which they name.
const KNOWN: [&str; 27] = [
    "bool", "char", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128",
    "isize", "f32", "f64", "String", "Duration", "Box", "Vec", "VecDeque", "Option", "Result",
    "HashMap", "HashSet", "BTreeMap", "BTreeSet",
];

fn says_self(ty: &Type) -> bool {
    words(ty.to_token_stream())
        .iter()
        .any(|word| word == "Self")
}

/// All identifiers, also deep inside.
fn words(tokens: TokenStream) -> Vec<Ident> {
    let mut words = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) => words.push(word),
            TokenTree::Group(group) => words.extend(self::words(group.stream())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    words
}

fn is_condition(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr")
}

/// Whether a type says itself what is asked of its fields.
fn gives_bounds(attribute: &Attribute) -> bool {
    const GIVEN: [&str; 4] = [
        "archive_bounds",
        "serialize_bounds",
        "deserialize_bounds",
        "bytecheck",
    ];
    let words = || words(attribute.meta.to_token_stream());
    attribute.path().is_ident("rkyv")
        && words()
            .iter()
            .any(|word| GIVEN.iter().any(|given| word == given))
}

/// Refuses to derive again what `#[message]` derives.
fn refuse_derives(attribute: &Attribute, refusals: &mut Refusals) {
    if !attribute.path().is_ident("derive") {
        return;
    }
    let parser = Punctuated::<syn::Path, Token![,]>::parse_terminated;
    let derives = attribute.parse_args_with(parser).unwrap_or_default();
    for path in derives {
        let text = compact(&path);
        if text.starts_with("rkyv::") || text.starts_with("::rkyv::") || text == "Archive" {
            let text = format!("`#[message]` derives `{text}` already");
            refusals.at(path, &text);
        }
    }
}

/// Whether the word `recursive` is there.
fn recursive(options: TokenStream, refusals: &mut Refusals) -> bool {
    let parsed = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(options);
    let mut recursive = false;
    for meta in refusals.take(parsed).into_iter().flatten() {
        if !meta.path().is_ident("recursive") {
            let text = unknown("#[message]", meta.path(), &["recursive"], false);
            refusals.at(meta.path(), &text);
        } else if !matches!(meta, Meta::Path(_)) {
            refusals.at(meta, "`recursive` takes no value");
        } else if recursive {
            refusals.at(meta, "`recursive` is given twice");
        } else {
            recursive = true;
        }
    }
    recursive
}
