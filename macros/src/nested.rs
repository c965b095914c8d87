//! The parts of an actor, or of a part: fields whose methods are called through it.
//!
//! A part has the numbers behind those of its owner, and its methods' names behind its own name.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Field, Ident, Type, Visibility, ext::IdentExt, parse_quote, spanned::Spanned,
};

use crate::{expand_server::Phase, function::Function, refusals::Refusals};

/// One part.
pub(crate) struct Nested {
    docs: Vec<Attribute>,
    vis: Visibility,
    pub(crate) ident: Ident,
    ty: Type,
}

impl Nested {
    pub(crate) fn read(field: Field, refusals: &mut Refusals) -> Option<Self> {
        for attribute in &field.attrs {
            if !attribute.path().is_ident("doc") {
                let text = "a part has documentation and no attributes: it is always there";
                refusals.at(attribute, text);
            }
        }
        if !matches!(field.ty, Type::Path(_)) {
            let text = "a part is a field whose type has an impl block with `#[actor_part]`";
            refusals.at(&field.ty, text);
            return None;
        }
        Some(Self {
            docs: field.attrs,
            vis: match field.vis {
                Visibility::Inherited => parse_quote!(pub),
                given => given,
            },
            ident: field.ident?,
            ty: field.ty,
        })
    }
}

/// The parts of one type.
pub(crate) struct Parts<'a> {
    pub(crate) nested: &'a [Nested],
    /// The type itself.
    pub(crate) owner: TokenStream,
    /// Its name on the wire.
    pub(crate) name: TokenStream,
    /// How many methods it has itself.
    pub(crate) own: usize,
    /// The tables between those methods and its parts'.
    pub(crate) before: Vec<TokenStream>,
}

impl Parts<'_> {
    /// The constants of its inherent impl in which its parts' methods have their names and numbers.
    pub(crate) fn constants(&self) -> TokenStream {
        let Self {
            name, own, before, ..
        } = self;
        let parts = self.nested.iter().enumerate().map(|(place, nested)| {
            let [names, table, first, face] = constants(place);
            let earlier = self.tables().take(place);
            let part = nested.ident.unraw().to_string();
            let methods = nested.methods();
            quote_spanned! {nested.ty.span()=>
                #[doc(hidden)]
                const #names: &'static [u8] = &::callboard::__private::names::<
                    { ::callboard::__private::names_len(#part, #methods) },
                >(#part, #methods);

                #[doc(hidden)]
                const #table: &'static [::callboard::__private::Method] =
                    &::callboard::__private::within::<{ #methods.len() }>(
                        #part,
                        #methods,
                        Self::#names,
                    );

                #[doc(hidden)]
                const #first: u16 =
                    ::callboard::__private::first(#own, &[#(#before,)* #(#earlier),*]);

                #[doc(hidden)]
                const #face: ::callboard::__private::Interface =
                    ::callboard::__private::Interface {
                        name: #name,
                        instance: ::core::option::Option::None,
                        constructors: &[],
                        methods: Self::#table,
                        parts: &[],
                    };
            }
        });
        quote!(#(#parts)*)
    }

    /// The tables of the parts, as expressions within its impls.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TokenStream> {
        (0..self.nested.len()).map(|place| {
            let [_, table, ..] = constants(place);
            quote!(Self::#table)
        })
    }

    /// The whole table of methods, of which these are the type's own.
    pub(crate) fn joined(&self, own: &[TokenStream]) -> TokenStream {
        if self.nested.is_empty() {
            return quote!(&[#(#own),*]);
        }
        let (count, tables) = (own.len(), self.tables());
        let methods = self.nested.iter().map(Nested::methods);
        quote! {
            &::callboard::__private::joined::<{ #count #(+ #methods.len())* }>(
                &[#(#own),*],
                &[#(#tables),*],
            )
        }
    }

    /// The proxy's ways to the parts' proxies.
    pub(crate) fn accessors(&self) -> TokenStream {
        let owner = &self.owner;
        let accessors = self.nested.iter().enumerate().map(|(place, nested)| {
            let Nested {
                docs, vis, ident, ..
            } = nested;
            let proxy = nested.of_part(&format_ident!("Proxy"));
            let [.., first, face] = constants(place);
            let made = quote!(self.handle.part(<#owner>::#first, const { &<#owner>::#face }));
            let made = quote_spanned! {nested.ty.span()=>
                ::callboard::__private::PartProxy::from_handle(#made)
            };
            let doc = format!(
                " The part `{}`, whose methods are called by it.",
                ident.unraw()
            );
            let doc = docs.is_empty().then(|| quote!(#[doc = #doc]));
            quote! {
                #doc
                #(#docs)*
                #[must_use]
                #vis fn #ident(&self) -> #proxy {
                    #made
                }
            }
        });
        quote!(#(#accessors)*)
    }

    /// What runs the parts' methods of one kind, if `number` is that of one.
    pub(crate) fn runs(&self, phase: Phase, number: &TokenStream) -> TokenStream {
        let (name, wait, exclusive) = (phase.name(""), phase.wait(), phase.is_exclusive());
        let runs = self.nested.iter().enumerate().map(|(place, nested)| {
            let (ident, run) = (&nested.ident, nested.of_part(&name));
            let [_, table, first, _] = constants(place);
            let span = nested.ty.span();
            // Where the compiler points if it is no part.
            let wait = wait.as_ref().map(|_| quote_spanned!(span=> .await));
            quote_spanned! {span=>
                if let ::core::option::Option::Some(place) = ::callboard::__private::place_in(
                    #number,
                    Self::#first,
                    Self::#table.len(),
                ) {
                    return #run(
                        & #exclusive self.#ident,
                        place,
                        call,
                    ) #wait;
                }
            }
        });
        quote!(#(#runs)*)
    }
}

impl Nested {
    /// Something that each part has. The compiler points at its type if it is none.
    fn of_part(&self, what: &Ident) -> TokenStream {
        let (ty, mut what) = (&self.ty, what.clone());
        what.set_span(ty.span());
        quote_spanned!(ty.span()=> <#ty as ::callboard::__private::ActorPart>::#what)
    }

    fn methods(&self) -> TokenStream {
        self.of_part(&format_ident!("METHODS"))
    }
}

/// The names of a part's methods, their table, the number of the first one, and the interface by
/// which its proxy calls them.
fn constants(place: usize) -> [Ident; 4] {
    ["NAMES", "METHODS", "FIRST", "FACE"].map(|what| format_ident!("__PART_{place}_{what}"))
}

/// Refuses a part that is given twice, and a method with the name of a part: the proxy has both.
pub(crate) fn refuse_namesakes(nested: &[Nested], methods: &[Function], refusals: &mut Refusals) {
    for (place, Nested { ident, .. }) in nested.iter().enumerate() {
        if nested[..place].iter().any(|part| part.ident == *ident) {
            refusals.at(ident, &format!("the part `{ident}` is given twice"));
        }
    }
    for function in methods {
        let Function {
            ident, wire_name, ..
        } = function;
        let is_within = |part: &Nested| {
            let rest = wire_name.strip_prefix(&part.ident.unraw().to_string());
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        if nested.iter().any(|part| part.ident == *ident) {
            let text = format!("`{ident}` is also a part, and the proxy has both: rename one");
            refusals.at(ident, &text);
        } else if nested.iter().any(is_within) {
            let text = format!("\"{wire_name}\" is how methods of a part are called on the wire");
            refusals.at(ident, &text);
        }
    }
}
