//! The type of a proxy, and what it has whatever its methods are.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Generics, Ident, Path, Visibility};

/// A proxy's type.
pub(crate) struct ProxyType<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) vis: &'a Visibility,
    pub(crate) doc: &'a str,
    pub(crate) generics: &'a Generics,
    /// What it stands for, a `Face`.
    pub(crate) face: &'a TokenStream,
    /// The traits whose proxies it becomes.
    pub(crate) traits: &'a [Path],
}

impl ProxyType<'_> {
    /// The type and its impls; `methods` are those of an impl block of it.
    pub(crate) fn expand(&self, methods: &TokenStream) -> TokenStream {
        let Self {
            ident,
            vis,
            doc,
            generics,
            face,
            ..
        } = self;
        let (impls, parameters, bounds) = generics.split_for_impl();
        let own_name = ident.to_string();
        let types = generics.type_params().map(|parameter| &parameter.ident);
        let mark = (!generics.params.is_empty())
            .then(|| quote!(actor: ::core::marker::PhantomData<fn() -> (#(#types,)*)>,));
        let marked = mark
            .is_some()
            .then(|| quote!(, actor: ::core::marker::PhantomData));
        let names = generics.params.iter().map(without_bounds);
        let declared = mark.is_some().then(|| quote!(<#(#names),*>));
        let shutdown = shutdown();
        let allowances = allowances();
        let values = values(
            &quote!(#impls),
            &quote!(#ident #parameters),
            &quote!(#bounds),
        );
        let archive = archive(
            self.generics,
            &quote!(#ident #parameters),
            &quote!(#bounds),
            Travels::AsActor,
        );
        let conversions = self.conversions();
        quote! {
            #[doc = #doc]
            #allowances
            #vis struct #ident #declared {
                handle: ::callboard::__private::Handle,
                #mark
            }

            #allowances
            impl #impls #ident #parameters #bounds {
                #methods
                #shutdown
            }

            impl #impls ::callboard::Proxy for #ident #parameters #bounds {
                const __FACE: ::callboard::__private::Face = #face;

                fn __from_handle(handle: ::callboard::__private::Handle) -> Self {
                    Self { handle #marked }
                }

                fn __handle(&self) -> &::callboard::__private::Handle {
                    &self.handle
                }
            }

            #values

            #archive

            impl #impls ::core::fmt::Debug for #ident #parameters #bounds {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    self.handle.debug(#own_name, f)
                }
            }

            #conversions
        }
    }

    /// `From` this proxy for those of its traits and for the one of any actor, by value and not.
    fn conversions(&self) -> TokenStream {
        let (impls, parameters, bounds) = self.generics.split_for_impl();
        let ident = self.ident;
        let from = quote!(#ident #parameters);
        let to_traits = self.traits.iter().map(|path| {
            let to = proxy_of(path);
            quote! {
                impl #impls ::core::convert::From<#from> for #to #bounds {
                    fn from(proxy: #from) -> Self {
                        ::core::convert::From::from(&proxy)
                    }
                }

                impl #impls ::core::convert::From<&#from> for #to #bounds {
                    fn from(proxy: &#from) -> Self {
                        ::callboard::__private::as_trait::<#from, #to>(proxy)
                    }
                }
            }
        });
        quote! {
            #(#to_traits)*

            impl #impls ::core::convert::From<#from> for ::callboard::AnyProxy #bounds {
                fn from(proxy: #from) -> Self {
                    ::callboard::Proxy::__from_handle(proxy.handle)
                }
            }

            impl #impls ::core::convert::From<&#from> for ::callboard::AnyProxy #bounds {
                fn from(proxy: &#from) -> Self {
                    ::core::convert::From::from(::core::clone::Clone::clone(proxy))
                }
            }
        }
    }
}

/// What makes a proxy a value: all by its handle, so that a parameter need be none.
fn values(impls: &TokenStream, ty: &TokenStream, bounds: &TokenStream) -> TokenStream {
    quote! {
        impl #impls ::core::clone::Clone for #ty #bounds {
            fn clone(&self) -> Self {
                ::callboard::Proxy::__from_handle(::core::clone::Clone::clone(&self.handle))
            }
        }

        impl #impls ::core::cmp::PartialEq for #ty #bounds {
            fn eq(&self, other: &Self) -> bool {
                self.handle == other.handle
            }
        }

        impl #impls ::core::cmp::Eq for #ty #bounds {}

        impl #impls ::core::hash::Hash for #ty #bounds {
            fn hash<__H: ::core::hash::Hasher>(&self, state: &mut __H) {
                ::core::hash::Hash::hash(&self.handle, state);
            }
        }

        impl #impls ::core::fmt::Display for #ty #bounds {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&self.handle, f)
            }
        }
    }
}

/// What a proxy is in a message.
#[derive(Clone, Copy)]
pub(crate) enum Travels {
    AsActor,
    AsPart,
}

/// What lets a proxy travel in a message.
pub(crate) fn archive(
    generics: &Generics,
    ty: &TokenStream,
    bounds: &TokenStream,
    travels: Travels,
) -> TokenStream {
    let (archived, resolver, serialized) = match travels {
        Travels::AsActor => (
            quote!(ArchivedPassport),
            quote!(ProxyResolver),
            quote!(serialize(serializer)),
        ),
        Travels::AsPart => (
            quote!(ArchivedPartCard),
            quote!(PartProxyResolver),
            quote!(serialize_part::<Self, __S>(serializer)),
        ),
    };
    let (impls, _, _) = generics.split_for_impl();
    let mut with_serializer = generics.clone();
    with_serializer.params.push(syn::parse_quote!(__S));
    let (serializing, _, _) = with_serializer.split_for_impl();
    let wheres = generics
        .where_clause
        .as_ref()
        .map(|clause| &clause.predicates);
    quote! {
        impl #impls ::callboard::__private::rkyv::Archive for #ty #bounds {
            type Archived = ::callboard::__private::#archived;
            type Resolver = ::callboard::__private::#resolver;

            fn resolve(
                &self,
                resolver: Self::Resolver,
                out: ::callboard::__private::rkyv::Place<Self::Archived>,
            ) {
                resolver.resolve(out);
            }
        }

        impl #serializing ::callboard::__private::rkyv::Serialize<__S> for #ty
        where
            __S: ::callboard::__private::Serializes + ?::core::marker::Sized,
            #wheres
        {
            fn serialize(
                &self,
                serializer: &mut __S,
            ) -> ::core::result::Result<
                Self::Resolver,
                <__S as ::callboard::__private::rkyv::rancor::Fallible>::Error,
            > {
                self.handle.#serialized
            }
        }
    }
}

/// A parameter as a type declares it that has no bounds.
fn without_bounds(parameter: &syn::GenericParam) -> TokenStream {
    match parameter {
        syn::GenericParam::Type(parameter) => {
            let ident = &parameter.ident;
            quote!(#ident)
        }
        syn::GenericParam::Const(parameter) => {
            let (ident, ty) = (&parameter.ident, &parameter.ty);
            quote!(const #ident: #ty)
        }
        syn::GenericParam::Lifetime(parameter) => quote!(#parameter),
    }
}

/// `zoo::FelineProxy` for `zoo::Feline`.
pub(crate) fn proxy_of(path: &Path) -> Path {
    let mut path = path.clone();
    if let Some(last) = path.segments.last_mut() {
        last.ident = quote::format_ident!("{}Proxy", last.ident, span = last.ident.span());
    }
    path
}

/// Lints that the user answers in the block itself, and that would say the same twice here.
pub(crate) fn allowances() -> TokenStream {
    quote! {
        #[allow(
            dead_code,
            deprecated,
            private_bounds,
            private_interfaces,
            clippy::same_name_method,
            reason = "the proxy repeats the signatures of the actor"
        )]
    }
}

fn shutdown() -> TokenStream {
    quote! {
        /// Ends the actor, and returns when its process has ended.
        ///
        /// # Errors
        ///
        /// If the actor did not end in order.
        ///
        /// # Cancel safety
        ///
        /// Dropping the future stops the waiting, not the ending.
        pub async fn shutdown(&self) -> ::callboard::Result<()> {
            ::core::result::Result::map_err(
                self.handle.shutdown().await,
                ::core::convert::Into::into,
            )
        }
    }
}
